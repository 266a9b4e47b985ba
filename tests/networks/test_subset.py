"""Networks around networks: zero-filled and selecting."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tiny_model
from gliodistill.errors import RecipeError
from gliodistill.inference.runtimes import open_runtime
from gliodistill.models import NetworkSpec
from gliodistill.models.export import export_package
from gliodistill.networks import Network, build, register
from gliodistill.networks.subset import Selecting
from gliodistill.preparation import Preparation, dequantise
from gliodistill.studies.sequence import MRSequence

SMALL = {"widths": [4, 6, 8], "deep_supervision": 1}


def draw(channels, side=8):
    return torch.randn(2, channels, side, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [[1, 3], [0], [0, 1, 2, 3], [2, 3]])
@pytest.mark.parametrize("training", [True, False])
def test_zero_filled_is_the_network_inside_on_zero_filled_input(channels, training):
    network = build(
        "zero_filled", in_channels=len(channels), network="unet", options=SMALL, channels=channels
    ).train(training)
    x = draw(len(channels))
    filled = torch.zeros(2, 4, 8, 8, 8)
    filled[:, channels] = x
    heads, expected = network(x), network.network(filled)
    assert len(heads) == len(expected) == (2 if training else 1)
    for head, other in zip(heads, expected, strict=True):
        torch.testing.assert_close(head, other)
    assert network.divisor == network.network.divisor == 4
    assert list(network.taps) == list(network.network.taps)


@pytest.mark.parametrize(
    "options",
    [
        {"channels": [1, 3], "in_channels": 3},
        {"channels": [3, 1]},
        {"channels": [1, 1]},
        {"channels": [1, 4]},
        {"channels": [-1, 3]},
        {"channels": [0, 1], "of": 1},
    ],
)
def test_channels_that_do_not_fit(options):
    with pytest.raises(RecipeError) as caught:
        build("zero_filled", network="unet", options=SMALL, **options)
    assert caught.value.field == "channels"
    assert "ascending" in str(caught.value)


def test_mistakes_inside_are_named():
    with pytest.raises(RecipeError, match="did you mean unet"):
        build("zero_filled", network="unett")
    with pytest.raises(RecipeError, match="did you mean widths"):
        build("zero_filled", options={"width": [4, 8]})


def test_selecting_shows_only_its_own_channels():
    inner = build("unet", in_channels=2, **SMALL).eval()
    network, x = Selecting(inner, [1, 3]), draw(4)
    torch.testing.assert_close(network(x)[0], inner(x[:, [1, 3]])[0])
    other = x.clone()
    other[:, [0, 2]] = 7.0
    assert torch.equal(network(x)[0], network(other)[0])


def test_a_zero_filled_network_is_exported_and_runs(tmp_path: Path) -> None:
    options = {
        "in_channels": 2,
        "network": "unet",
        "options": {"widths": [4, 8]},
        "channels": [1, 3],
    }
    torch.manual_seed(0)
    network = build("zero_filled", **options).eval()
    pair = Preparation(sequences=(MRSequence.T1CE, MRSequence.FLAIR))
    package = export_package(
        network,
        tiny_model.spec(preparation=pair, network=NetworkSpec("zero_filled", options)),
        tmp_path / "model",
    )
    levels = np.random.default_rng(0).integers(0, 256, (1, 2, 10, 6, 8), dtype=np.uint8)
    filled = np.zeros((1, 4, 10, 6, 8), dtype=np.float32)
    filled[:, [1, 3]] = dequantise(levels)
    with torch.no_grad():
        expected = network.network(torch.from_numpy(filled))[0].numpy()
    for runtime in ("openvino", "torch"):
        np.testing.assert_allclose(
            open_runtime(runtime, package, 1)(levels),
            expected,
            atol=0.02 * max(1, np.abs(expected).max()),
        )


@register("test_penalised")
class Penalised(Network):
    """A network with a penalty and a part that only training needs."""

    def __init__(self, in_channels: int = 4, out_channels: int = 3) -> None:
        super().__init__()
        self.conv, self.branch = (
            nn.Conv3d(in_channels, out_channels, 1),
            nn.Conv3d(in_channels, 1, 1),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.penalty = self.branch(x).square().mean() if self.training else None
        return (self.conv(x),)

    def strip(self) -> None:
        del self.branch


def test_what_only_training_needs_is_that_of_the_network_inside():
    network = build("zero_filled", network="test_penalised").train()
    network(draw(2))
    assert network.penalty > 0
    assert torch.equal(network.penalty, network.network.penalty)
    network.eval()(draw(2))
    assert network.penalty is None
    network.strip()
    assert {name for name, _ in network.named_parameters()} == {
        "network.conv.weight",
        "network.conv.bias",
    }
