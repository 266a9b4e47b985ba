"""The attention-fused U-Net: sizes by hand, near a plain U-Net's cost, the same network on every
grid.
"""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from gliodistill.errors import RecipeError
from gliodistill.models.telemetry import import_openvino
from gliodistill.networks import build, count_parameters, flops

LAST = torch.channels_last_3d
PLACES = ("bottleneck", "skips")


def tiny(**options):
    torch.manual_seed(0)
    return build(
        "attention_fused",
        **{"widths": (4, 6, 8), "embedding": 8, "heads": 2, "layers": 2, **options},
    )


def connection_parameters(channels, embedding, layers):
    layer = (
        2 * 2 * embedding
        + 3 * embedding**2
        + (embedding**2 + embedding)
        + 2 * 4 * embedding**2
        + 5 * embedding
    )
    projections = channels * embedding + embedding + 2 * embedding + embedding * channels + channels
    return 4**3 * embedding + layers * layer + projections


def connection_flops(channels, embedding, layers, tokens):
    layer = tokens * (3 + 1 + 4 + 4) * embedding**2 + 2 * tokens**2 * embedding
    return 2 * (layers * layer + 2 * tokens * channels * embedding)


@pytest.mark.parametrize("connection", PLACES)
def test_parameters_and_operations_by_hand(connection):
    widths, e, layers = (4, 6, 8), 8, 2
    network, plain = tiny(connection=connection), build("unet", widths=widths)
    connected = widths if connection == "skips" else widths[-1:]
    hidden = [max(1, c // 4) for c in widths[:-1]]
    gates = sum(2 * c * h + h + c + c for c, h in zip(widths[:-1], hidden, strict=True))
    expected = (
        count_parameters(plain)
        + sum(connection_parameters(c, e, layers) for c in connected)
        + gates
    )
    assert count_parameters(network) == expected
    shape = (1, 4, 16, 24, 32)
    gating = sum(
        2 * 2 * c * h + 2 * c * 16 * 24 * 32 // 8**level
        for level, (c, h) in enumerate(zip(widths, hidden, strict=False))
    )
    counted = (
        flops(plain, shape)
        + sum(connection_flops(c, e, layers, 4 * 6 * 8) for c in connected)
        + gating
    )
    assert flops(network, shape) == counted


@pytest.mark.parametrize("connection", PLACES)
def test_the_third_has_eleven_percent_of_the_parameters(connection):
    with torch.device("meta"):
        whole, third = (
            count_parameters(build(name, connection=connection))
            for name in ("attention_fused", "attention_fused_third")
        )
    assert 0.11 <= third / whole <= 0.115  # Xu et al. 2022: "about 11 %"


def test_attention_costs_little_beside_the_convolutions():
    shape = (1, 4, 128, 128, 128)
    with torch.device("meta"):
        plain, *fused = (
            build("nnunet"),
            *(build("attention_fused", connection=connection) for connection in PLACES),
        )
    assert all(flops(network, shape) < 1.01 * flops(plain, shape) for network in fused)


@pytest.mark.parametrize("connection", PLACES)
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_logits_on_two_grids_and_taps_after_attention(connection, stem_stride):
    network = tiny(connection=connection, stem_stride=stem_stride, deep_supervision=1)
    assert network.divisor == 4 * stem_stride
    assert list(network.taps) == ["encoder0", "encoder1", "bottleneck", "decoder1", "decoder0"]
    for sides in ((16, 16, 16), (8, 24, 16)):
        x = torch.randn(2, 4, *sides)
        coarse = tuple(side // (2 * stem_stride) for side in sides)
        assert [tuple(logits.shape) for logits in network.train()(x)] == [
            (2, 3, *sides),
            (2, 3, *coarse),
        ]
        with torch.no_grad():
            assert [tuple(logits.shape) for logits in network.eval()(x)] == [(2, 3, *sides)]
    seen = {}
    for name, stage in network.taps.items():
        stage.register_forward_hook(
            lambda _stage, _inputs, output, name=name: seen.update({name: output})
        )
    network.decoders[0].attention.register_forward_hook(
        lambda _stage, _inputs, output: seen.update(attended=output)
    )
    network.encoders[-1][-1].register_forward_hook(
        lambda _stage, _inputs, output: seen.update(connected=output)
    )
    network(x)
    assert seen["decoder0"] is seen["attended"]
    assert seen["bottleneck"] is seen["connected"]


@pytest.mark.parametrize("connection", PLACES)
def test_the_connections_start_near_the_identity(connection):
    network, moved = tiny(connection=connection, widths=(8, 16, 24), embedding=48), []

    def measure(_module, inputs, output):
        moved.append(((output - inputs[0]).std() / inputs[0].std()).item())

    for module in network.modules():
        if type(module).__name__ == "TransformerConnection":
            module.register_forward_hook(measure)
    network(torch.randn(2, 4, 16, 16, 16))
    assert len(moved) == (3 if connection == "skips" else 1)
    assert 0 < max(moved) < 0.15


@pytest.mark.parametrize("connection", PLACES)
def test_every_parameter_gets_a_gradient_at_the_first_step(connection):
    network = tiny(connection=connection, deep_supervision=1)
    sum(logits.square().mean() for logits in network(torch.randn(2, 4, 16, 16, 16))).backward()
    dead = [
        name
        for name, p in network.named_parameters()
        if p.grad is None or not p.grad.abs().max() > 0
    ]
    assert dead == []


@pytest.mark.parametrize("connection", PLACES)
def test_sees_the_whole_volume(connection):
    """One changed voxel in a corner moves the logits in the far corner, which a U-Net without norms
    and transformers could not.
    """
    network = tiny(connection=connection, norm="batch").eval()
    plain = build("unet", widths=(4, 6, 8), norm="batch").eval()
    x = torch.randn(1, 4, 64, 8, 8)
    y = x.clone()
    y[..., 0, 0, 0] += 10
    far = [(net(x)[0] - net(y)[0])[..., -1, -1, -1].abs().max().item() for net in (network, plain)]
    assert far[0] > 0 and far[1] == 0


def test_evaluation_is_deterministic_and_the_state_round_trips():
    network, x = tiny(connection="skips").eval(), torch.randn(1, 4, 8, 16, 12)
    twin = tiny(connection="skips").eval()
    other = copy.deepcopy(twin).apply(
        lambda m: nn.init.ones_(m.weight) if isinstance(m, nn.Linear) else None
    )
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        (first,), (again,), (same_seed,), (loaded,) = network(x), network(x), twin(x), other(x)
    assert (
        torch.equal(first, again) and torch.equal(first, same_seed) and torch.equal(first, loaded)
    )


@pytest.mark.parametrize("connection", PLACES)
@pytest.mark.parametrize("norm", ["instance", "group", "batch"])
def test_stages_stay_channels_last(connection, norm):
    network, kept = (
        tiny(widths=(8, 16, 24), connection=connection, norm=norm).to(memory_format=LAST),
        {},
    )
    for name, stage in network.taps.items():
        for part, module in stage.named_modules():
            if (
                isinstance(module, nn.Conv3d | nn.ConvTranspose3d)
                or not part
                or part in ("attention", "connection")
            ):
                module.register_forward_hook(
                    lambda _m, _i, output, name=f"{name}.{part}": kept.update(
                        {name: output.is_contiguous(memory_format=LAST)}
                    )
                )
    network(torch.randn(2, 4, 16, 16, 16).to(memory_format=LAST))
    assert {"decoder0.attention", "decoder0.connection", "decoder0.", "bottleneck."} <= kept.keys()
    assert all(kept.values()), kept


def test_runs_in_bfloat16_under_autocast():
    network, x = tiny(connection="skips"), torch.randn(2, 4, 16, 16, 16)
    (plain,) = network(x)
    with torch.autocast("cpu", torch.bfloat16):
        (half,) = network(x)
    assert half.dtype == torch.bfloat16
    assert (half - plain).abs().mean() < 0.05 * plain.std()


def test_overfits_a_tiny_random_patch():
    network = tiny(widths=(8, 16), out_channels=1, stem_stride=2)
    x, truth = torch.randn(1, 4, 8, 8, 8), (torch.rand(1, 1, 8, 8, 8) > 0.5).float()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(150):
        loss = nn.functional.binary_cross_entropy_with_logits(network(x)[0], truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.2


def test_openvino_computes_the_same_on_another_grid():
    network, openvino = tiny(connection="skips", layers=1).eval(), import_openvino()
    for name, parameter in network.named_parameters():
        if name.endswith("positions"):
            nn.init.normal_(parameter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every shape that Python reads
        shape = openvino.PartialShape([-1, 4, -1, -1, -1])
        graph = openvino.convert_model(
            network, example_input=torch.randn(1, 4, 8, 8, 8), input=[shape]
        )
    x = torch.randn(1, 4, 12, 8, 20)
    got = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(
        x.numpy()
    )[0]
    with torch.no_grad():
        np.testing.assert_allclose(got, network(x)[0].numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"connection": "stem"}, ["field connection", "got stem", "bottleneck or skips"]),
        ({"heads": 3}, ["field heads", "got 3", "a divisor of the embedding, 8"]),
        ({"layers": 0}, ["field layers", "at least 1"]),
        ({"widths": (4,)}, ["field widths", "two or more"]),
    ],
)
def test_options_out_of_range_are_named(options, parts):
    with pytest.raises(RecipeError) as error:
        tiny(**options)
    for part in parts:
        assert part in str(error.value)
