"""TransBTS: every published parameter accounted for, the same network on every grid."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from gliodistill.errors import RecipeError
from gliodistill.models.telemetry import import_openvino
from gliodistill.networks import build, count_parameters, flops

PUBLISHED = 32.99e6  # Wang et al. 2021
UNUSED = (
    512 * 512 + 512 + 2 * 512
)  # what the authors' code builds and never calls: a linear embedding and a last LayerNorm


def tiny(**options):
    torch.manual_seed(0)
    return build(
        "trans_bts",
        **{
            "widths": (4, 6, 8, 10),
            "embedding": 8,
            "heads": 2,
            "hidden": 12,
            "layers": 2,
            **options,
        },
    )


def convolution(ins, outs, kernel):
    return ins * outs * kernel**3 + outs


def parameters_by_hand(classes):
    """Layer by layer from the paper and the authors' code."""
    count = (
        convolution(4, 16, 3)
        + convolution(16, 32, 3)
        + convolution(32, 64, 3)
        + convolution(64, 128, 3)
    )
    for width, blocks in ((16, 1), (32, 2), (64, 2), (128, 4)):
        count += blocks * 2 * (2 * width + convolution(width, width, 3))
    count += 2 * 128 + convolution(128, 512, 3) + 4096 * 512
    count += 4 * (
        2 * 2 * 512 + 512 * 1536 + (512 * 512 + 512) + (512 * 4096 + 4096) + (4096 * 512 + 512)
    )
    count += convolution(512, 128, 3) + 3 * convolution(128, 128, 3) + 4 * 2 * 128
    for coarse, fine in ((128, 64), (64, 32), (32, 16)):
        count += (
            convolution(coarse, fine, 1)
            + convolution(fine, fine, 2)
            + convolution(2 * fine, fine, 1)
        )
        count += 2 * (2 * fine + convolution(fine, fine, 3))
    return count + convolution(16, classes, 1)


def operations_by_hand(sides):
    """Multiplications of one pass with three logits."""
    voxels, count = int(np.prod(sides)), 0
    for level, (ins, width, blocks) in enumerate(
        ((4, 16, 1), (16, 32, 2), (32, 64, 2), (64, 128, 4))
    ):
        count += (27 * ins * width + blocks * 2 * 27 * width**2) * voxels // 8**level
    tokens = voxels // 512
    count += tokens * (27 * 128 * 512 * 2 + 3 * 27 * 128**2)
    count += 4 * (tokens * (4 * 512**2 + 2 * 512 * 4096) + 2 * tokens**2 * 512)
    for level, (coarse, fine) in enumerate(((32, 16), (64, 32), (128, 64))):
        count += (
            ((coarse * fine + 8 * fine**2) // 8 + 2 * fine**2 + 2 * 27 * fine**2)
            * voxels
            // 8**level
        )
    return count + 16 * 3 * voxels


def test_parameters_are_the_published_ones_without_the_unused():
    with torch.device("meta"):
        network = build("trans_bts")
    assert count_parameters(network) == parameters_by_hand(classes=3)
    assert parameters_by_hand(classes=4) + UNUSED == pytest.approx(PUBLISHED, abs=5e3)
    assert count_parameters(network) == pytest.approx(PUBLISHED, rel=0.01)


def test_operations_by_hand():
    with torch.device("meta"):
        network = build("trans_bts")
    for sides in ((128, 128, 128), (32, 48, 64)):
        assert flops(network, (1, 4, *sides)) == 2 * operations_by_hand(sides)


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_logits_on_two_grids(stem_stride):
    network = tiny(stem_stride=stem_stride, deep_supervision=1)
    assert network.divisor == 8 * stem_stride
    assert list(network.taps) == [
        "encoder0",
        "encoder1",
        "encoder2",
        "bottleneck",
        "decoder2",
        "decoder1",
        "decoder0",
    ]
    for sides in ((32, 32, 32), (16, 48, 32)):
        x, coarse = torch.randn(2, 4, *sides), tuple(side // (2 * stem_stride) for side in sides)
        assert [tuple(logits.shape) for logits in network.train()(x)] == [
            (2, 3, *sides),
            (2, 3, *coarse),
        ]
        with torch.no_grad():
            assert [tuple(logits.shape) for logits in network.eval()(x)] == [(2, 3, *sides)]


def test_the_bottleneck_comes_after_the_transformer():
    network, seen = tiny().double().eval(), {"encoder2": [], "bottleneck": []}
    for name, outputs in seen.items():
        network.taps[name].register_forward_hook(
            lambda _stage, _inputs, output, outputs=outputs: outputs.append(output)
        )
    x = torch.randn(1, 4, 24, 16, 8, dtype=torch.float64)
    with torch.no_grad():
        network(x)
        nn.init.normal_(network.get_parameter("encoders.3.5.transformer.positions"))
        network(x)
    assert torch.equal(*seen["encoder2"])
    assert seen["bottleneck"][0].shape == (1, 10, 3, 2, 1)
    assert (seen["bottleneck"][1] - seen["bottleneck"][0]).abs().max() > 1e-3


def test_every_parameter_gets_a_gradient_at_the_first_step():
    network = tiny(dropout=0.0, deep_supervision=2)
    sum(logits.square().mean() for logits in network(torch.randn(2, 4, 32, 32, 32))).backward()
    # Biases before a batch norm pass: it takes them out, but for rounding.
    dead = [
        name
        for name, p in network.named_parameters()
        if p.grad is None or not p.grad.abs().max() > 0
    ]
    assert dead == []


def test_evaluation_is_deterministic_and_training_drops_out():
    network, x = tiny(dropout=0.5), torch.randn(2, 4, 16, 16, 16)
    with torch.no_grad():
        network.eval()
        assert torch.equal(network(x)[0], network(x)[0])
        assert torch.equal(tiny(dropout=0.5).eval()(x)[0], network(x)[0])
        network.train()
        assert not torch.equal(network(x)[0], network(x)[0])


def test_features_stay_channels_last():
    network, kept = tiny(widths=(8, 16, 24, 32)).to(memory_format=torch.channels_last_3d), {}
    for name, stage in network.taps.items():
        for part, module in stage.named_modules():
            if (
                isinstance(module, nn.Conv3d | nn.ConvTranspose3d | nn.GroupNorm | nn.BatchNorm3d)
                or not part
            ):
                module.register_forward_hook(
                    lambda _m, _i, o, name=f"{name}.{part}": kept.update(
                        {name: o.is_contiguous(memory_format=torch.channels_last_3d)}
                    )
                )
    network(torch.randn(2, 4, 32, 32, 32).to(memory_format=torch.channels_last_3d))
    assert len(kept) > 40 and all(kept.values()), kept


def test_overfits_a_tiny_random_batch():
    network = tiny(widths=(8, 12, 16, 16), out_channels=1, dropout=0.0, stem_stride=2)
    x, blocks = torch.randn(2, 4, 16, 16, 16), torch.rand(2, 1, 4, 4, 4) > 0.5
    truth = nn.functional.interpolate(blocks.float(), scale_factor=4)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(50):
        loss = nn.functional.binary_cross_entropy_with_logits(network(x)[0], truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.25


def test_openvino_computes_the_same_on_another_grid():
    network, openvino = tiny(layers=1).eval(), import_openvino()
    nn.init.normal_(network.get_parameter("encoders.3.5.transformer.positions"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every shape that Python reads
        shape = openvino.PartialShape([-1, 4, -1, -1, -1])
        graph = openvino.convert_model(
            network, example_input=torch.randn(1, 4, 16, 16, 16), input=[shape]
        )
    x = torch.randn(1, 4, 24, 16, 40)
    got = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(
        x.numpy()
    )[0]
    with torch.no_grad():
        np.testing.assert_allclose(got, network(x)[0].numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("widths", (4, 8, 16), "4 numbers"),
        ("heads", 3, "a divisor of the embedding, 8"),
        ("hidden", 0, "at least 1"),
    ],
)
def test_options_out_of_range_are_named(option, value, expected):
    with pytest.raises(RecipeError, match=f"field {option}.*{expected}"):
        tiny(**{option: value})
