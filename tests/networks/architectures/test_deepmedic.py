"""DeepMedic: its size, its residual connections, what either path sees."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from gliodistill.errors import RecipeError
from gliodistill.networks import build, count_parameters
from gliodistill.networks.architectures.deepmedic import Path
from network_checks import check_channels_last, check_interface, check_learning, check_openvino

TINY = {"widths": (6, 6, 8, 8), "hidden": (10, 10), "norm": "instance", "dropout": 0.0}


@pytest.mark.parametrize("residual", [False, True])
def test_its_parameters_by_hand(residual):
    widths = (30, 30, 40, 40, 40, 40, 50, 50)
    path = 27 * 4 * 30 + sum(
        27 * a * b + 3 * a for a, b in pairwise(widths)
    )  # a norm has two, a PReLU one
    hidden = 100 * 150 + 3 * 100 + 150 * 150 + 3 * 150
    by_hand = 2 * path + hidden + 3 * 150 + 150 * 3 + 3
    network = build("deepmedic", residual=residual)
    assert count_parameters(network) == by_hand
    assert by_hand / 1e6 == pytest.approx(0.66, abs=0.005)
    assert network.divisor == 3


def test_golden_values_of_a_residual_path():
    """Layers 4 and 6 add the input of the layer before, padded with empty channels."""
    torch.manual_seed(0)
    path = Path(2, (3, 3, 4, 5, 5, 6), residual=True, norm="instance").double()
    for parameter in path.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3)

    def layer(x, parts):
        norm, prelu, _, convolution = parts
        mean, variance = (
            x.mean((2, 3, 4), keepdim=True),
            x.var((2, 3, 4), correction=0, keepdim=True),
        )
        x = (x - mean) / (variance + 1e-5).sqrt() * norm.weight.view(
            1, -1, 1, 1, 1
        ) + norm.bias.view(1, -1, 1, 1, 1)
        x = torch.where(x > 0, x, prelu.weight.view(1, -1, 1, 1, 1) * x)
        return functional.conv3d(x, convolution.weight, padding=1)

    x = torch.randn(1, 2, 4, 5, 3, dtype=torch.float64)
    second = layer(functional.conv3d(x, path.layers[0].weight, padding=1), path.layers[1])
    fourth = layer(layer(second, path.layers[2]), path.layers[3])
    fourth[:, :3] += second
    sixth = layer(layer(fourth, path.layers[4]), path.layers[5])
    sixth[:, :5] += fourth
    torch.testing.assert_close(path(x), sixth)


def test_residual_connections_change_what_is_computed():
    plain, residual = (
        Path(4, (6, 6, 8, 8), residual=residual, norm="instance") for residual in (False, True)
    )
    residual.load_state_dict(plain.state_dict())
    x = torch.randn(1, 4, 6, 6, 6)
    assert not torch.allclose(plain(x), residual(x))


def test_the_low_resolution_path_sees_averages_of_blocks():
    torch.manual_seed(0)
    network = build("deepmedic", **TINY).eval()
    seen = []
    network.coarse.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    x = torch.randn(1, 4, 12, 9, 15)
    with torch.no_grad():
        network(x)
    torch.testing.assert_close(seen[0], x.reshape(1, 4, 4, 3, 3, 3, 5, 3).mean((3, 5, 7)))


@pytest.mark.parametrize("residual", [False, True])
def test_interface(residual):
    check_interface("deepmedic", [(12, 12, 12), (9, 12, 15)], (1,), residual=residual, **TINY)


def test_interface_of_the_folded_grid():
    check_interface("deepmedic", [(16, 16, 16), (16, 8, 24)], (1,), stem_stride=2, factor=4, **TINY)


def test_dropout_and_batch_norm_as_published_only_while_training():
    torch.manual_seed(0)
    network, x = build("deepmedic", widths=(4, 4), hidden=(6, 6)), torch.randn(2, 4, 6, 6, 6)
    with torch.no_grad():
        assert not torch.equal(network(x)[0], network(x)[0])
        network.eval()
        assert torch.equal(network(x)[0], network(x)[0])


def test_either_memory_format():
    check_channels_last("deepmedic", 12, residual=True, **TINY)


def test_openvino():
    check_openvino("deepmedic", residual=True, stem_stride=2, **TINY)


def test_learns():
    check_learning("deepmedic", 15, residual=True, **TINY)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"factor": 1}, ["field factor", "at least 2"]),
        ({"widths": (8, 8, 4, 4), "residual": True}, ["field widths", "none smaller"]),
        ({"hidden": (0,)}, ["field hidden", "positive"]),
        ({"dropout": -0.1}, ["field dropout", "from 0 to below 1"]),
        ({"stem_stride": 3}, ["field stem_stride"]),
    ],
)
def test_a_bad_option_is_named(options, parts):
    with pytest.raises(RecipeError) as error:
        build("deepmedic", **options)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_sides_must_suit_the_factor():
    with pytest.raises(RecipeError, match="multiples of 3"):
        build("deepmedic")(torch.zeros(1, 4, 32, 33, 33))
