"""What every registered network keeps to, whoever wrote it: one interface, a documented size, a
graph that agrees.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import gliodistill
from gliodistill.distillation import FeatureTaps
from gliodistill.models.telemetry import import_openvino
from gliodistill.networks import build, count_parameters, describe, flops, names
from gliodistill.networks.architectures.papers import PAPERS

NAMES = [name for name in names() if not name.startswith("test_")]
COMPACT: dict[str, dict[str, object]] = {
    "attention_fused": {"widths": (4, 6, 8), "embedding": 8, "heads": 2, "layers": 2},
    "attention_fused_third": {},
    "attention_unet": {"widths": (4, 6, 8)},
    "cascaded_unet": {"widths": (2, 4, 6), "scales": 2},
    "deepmedic": {"widths": (4, 4, 6, 6), "hidden": (8, 8), "factor": 2},
    "fast": {},
    "nnunet": {},
    "nnunet_third": {},
    "no_new_net": {"widths": (4, 6, 8)},
    "residual_unet": {"widths": (4, 6, 8), "encoder_blocks": (1, 1, 2)},
    "s3d_unet": {"widths": (6, 12, 18), "blocks": 1},
    "segresnet": {"width": 8},
    "segresnet_vae": {"width": 8, "patch": (16, 16, 16)},
    "trans_bts": {"widths": (4, 6, 8, 10), "embedding": 8, "heads": 2, "hidden": 12, "layers": 2},
    "unet": {"widths": (4, 6, 8)},
    "unet_plus_plus": {"widths": (4, 4, 6, 6, 8)},
    "zero_filled": {"options": {"widths": (4, 6, 8)}},
}
SMALL = [name for name in NAMES if COMPACT.get(name)]
"""The others have no options of size: they are one of these with other widths."""


def compact(name):
    torch.manual_seed(0)
    return build(name, **COMPACT[name])


def patch(name, network, batch=2, sides=(2, 1, 1)):
    channels = describe(name).options["in_channels"]
    least = -(-16 // network.divisor) * network.divisor
    return torch.randn(
        batch,
        channels,
        *(least * side for side in sides),
        generator=torch.Generator().manual_seed(1),
    )


def test_every_network_has_a_paper_and_a_compact_version():
    assert list(PAPERS) == NAMES
    assert sorted(COMPACT) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_size_is_the_published_one(name):
    described, paper = describe(name), PAPERS[name]
    assert list(described.options)[:2] == ["in_channels", "out_channels"]
    assert len(described.summary) > 20
    with torch.device("meta"):
        network = build(name)
    network.strip()
    if paper.parameters is not None:
        assert count_parameters(network) / 1e6 == pytest.approx(paper.parameters, rel=0.01)
    if paper.gflops is not None:
        assert flops(network, (1, 4, 128, 128, 128)) / 1e9 == pytest.approx(paper.gflops, rel=0.01)


@pytest.mark.parametrize("name", SMALL)
def test_one_map_in_use_and_every_tap_is_reached(name):
    network = compact(name)
    x = patch(name, network)
    assert "bottleneck" in network.taps or name == "deepmedic"
    network.train()(patch(name, network, 2, (1, 1, 1)))
    with FeatureTaps(network.eval(), list(network.taps)) as taps, torch.no_grad():
        (logits,) = network(x)
        assert logits.shape == (2, 3, *x.shape[2:])
        assert all(
            features.ndim == 5 and features.shape[0] == 2 and features.isfinite().all()
            for features in taps.values()
        )
    assert network.penalty is None


@pytest.mark.parametrize("name", SMALL)
def test_weights_round_trip_and_initialisation_follows_the_seed(name):
    network, twin = compact(name), compact(name)
    for (key, value), (_, other) in zip(
        network.state_dict().items(), twin.state_dict().items(), strict=True
    ):
        assert torch.equal(value, other), key
    torch.manual_seed(1)
    other = build(name, **COMPACT[name])
    other.load_state_dict(network.state_dict())
    x = patch(name, network)
    with torch.no_grad():
        assert torch.equal(other.eval()(x)[0], network.eval()(x)[0])


@pytest.mark.parametrize("name", SMALL)
def test_openvino_computes_the_same_on_another_grid(name):
    network, openvino = compact(name).eval(), import_openvino()
    network.strip()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shape = openvino.PartialShape([-1, describe(name).options["in_channels"], -1, -1, -1])
        graph = openvino.convert_model(
            network, example_input=patch(name, network, 1, (1, 1, 1)), input=[shape]
        )
    run = openvino.Core().compile_model(
        graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    )
    x = patch(name, network, 2, (1, 2, 1))
    with torch.no_grad():
        expected = network(x)[0].numpy()
    assert len(graph.outputs) == 1
    np.testing.assert_allclose(
        run(x.numpy())[0], expected, atol=2e-3 * max(1, np.abs(expected).max())
    )


def test_the_page_says_what_the_code_counts():
    """docs/networks.md: a row of counts and a row of whose settings they are for every network."""
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("| `")
    ]
    counts, settings = cells[: len(NAMES)], cells[len(NAMES) :]
    assert (
        [row[0] for row in counts]
        == [row[0] for row in settings]
        == [f"`{name}`" for name in NAMES]
    )
    for name, (_, file, citation, stated, parameters, stated_gflops, gflops) in zip(
        NAMES, counts, strict=True
    ):
        paper = PAPERS[name]
        with torch.device("meta"):
            network = build(name)
        network.strip()
        side = -(-128 // network.divisor) * network.divisor
        counted = (
            flops(network, (1, describe(name).options["in_channels"], side, side, side))
            * (128 / side) ** 3
            / 1e9
        )
        assert (
            f'@register("{name}")'
            in (Path(gliodistill.__file__).parent / file.strip("`")).read_text()
        )
        assert citation == paper.citation
        assert stated == ("–" if paper.parameters is None else f"{paper.parameters:g} M")
        assert stated_gflops == ("–" if paper.gflops is None else f"{paper.gflops:g}")
        assert (parameters, gflops) == (f"{count_parameters(network):,}", f"{counted:,.0f}")
