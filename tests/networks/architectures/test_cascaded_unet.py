"""The cascaded U-Net of Lachinov et al. 2018: its size, encoders that never meet, maps that come
from coarser grids.
"""

import pytest
import torch
from torch.nn import functional

from gliodistill.errors import RecipeError
from gliodistill.networks import build, count_parameters, flops
from gliodistill.networks.architectures.cascaded_unet import Fusion, PreactivatedBlock
from network_checks import check_channels_last, check_interface, check_learning, check_openvino

TINY = {"widths": (2, 4, 6), "scales": 2}


def test_the_published_size_and_cost():
    """38.192 M and 409.996 GFLOP: Intel's Open Model Zoo of the authors' model; it also counts
    norms and activations.
    """
    with torch.device("meta"):
        network = build("cascaded_unet", out_channels=4, maps="softmax")
    assert count_parameters(network) / 1e6 == pytest.approx(38.192, abs=0.0005)
    assert flops(network, (1, 4, 128, 128, 128)) / 1e9 == pytest.approx(409.996, rel=0.01)
    with torch.device("meta"):
        assert count_parameters(build("cascaded_unet")) / 1e6 == pytest.approx(38, rel=0.02)


@pytest.mark.parametrize("groups", [1, 4])
def test_golden_values_of_a_block(groups):
    torch.manual_seed(0)
    block = PreactivatedBlock(8, groups=groups, norm="instance").double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3)
    x = torch.randn(2, 8, 4, 5, 3, dtype=torch.float64)
    expected = x
    for norm, convolution in (
        (block.branch[0], block.branch[2]),
        (block.branch[3], block.branch[5]),
    ):
        mean, variance = (
            expected.mean((2, 3, 4), keepdim=True),
            expected.var((2, 3, 4), correction=0, keepdim=True),
        )
        normal = (expected - mean) / (variance + 1e-5).sqrt()
        normal = normal * norm.weight.view(1, -1, 1, 1, 1) + norm.bias.view(1, -1, 1, 1, 1)
        expected = functional.conv3d(
            normal.clamp(min=0), convolution.weight, convolution.bias, padding=1, groups=groups
        )
    torch.testing.assert_close(block(x), x + expected)


def test_fusion_is_the_largest_response_of_any_sequence():
    x = torch.randn(2, 12, 3, 4, 5)
    assert torch.equal(Fusion(4)(x), x.reshape(2, 4, 3, 3, 4, 5).amax(dim=1))


def test_no_sequence_is_read_by_the_encoder_of_another():
    torch.manual_seed(0)
    finest = build("cascaded_unet", **TINY).eval().unets[0]
    x = torch.randn(1, 4, 8, 8, 8)
    changed = x.clone()
    changed[:, 2] += 1
    for encoder in finest.encoders:
        x, changed = encoder(x), encoder(changed)
        same = [
            torch.equal(a, b)
            for a, b in zip(x.chunk(4, dim=1), changed.chunk(4, dim=1), strict=True)
        ]
        assert same == [True, True, False, True]


def test_sequences_may_come_in_any_order_if_their_encoders_come_along():
    torch.manual_seed(0)
    network = build("cascaded_unet", stem_stride=2, **TINY).eval()
    order = torch.tensor([2, 0, 3, 1])
    x = torch.randn(1, 4, 32, 16, 16)
    with torch.no_grad():
        (expected,) = network(x)
        for unet in network.unets:
            for parameter in unet.encoders.parameters():
                groups = parameter.reshape(4, -1, *parameter.shape[1:])
                parameter.copy_(groups[order].reshape(parameter.shape))
        (got,) = network(x[:, order])
        (unlike,) = network(x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert (unlike - expected).abs().max() > 0.01


def test_coarser_maps_enter_the_decoder_on_their_own_grid():
    """Published: the 1/4 map joins level 2 of the finest U-Net and level 1 of the next; the 1/2 map
    joins level 1.
    """
    with torch.device("meta"):
        network = build("cascaded_unet", out_channels=3)
    joined = [[decoder.join.in_channels for decoder in unet.decoders] for unet in network.unets]
    without = [
        [(2 + 1) * 8 * 2 ** (scale + level) for level in range(3)] for scale in range(3)
    ]  # up: 2 × width, skip: width
    extra = [
        [a - b for a, b in zip(*both, strict=True)] for both in zip(joined, without, strict=True)
    ]
    assert extra == [[0, 3, 3], [0, 3, 0], [0, 0, 0]]


def test_the_finest_loss_teaches_the_coarser_u_nets():
    torch.manual_seed(0)
    network = build("cascaded_unet", **TINY)
    network(torch.randn(2, 4, 16, 16, 16))[0].square().mean().backward()
    assert all(
        parameter.grad is not None and parameter.grad.any() for parameter in network.parameters()
    )


def test_maps_are_probabilities_of_regions_or_classes():
    torch.manual_seed(0)
    x = torch.randn(1, 4, 16, 16, 16)
    for maps, total in (("sigmoid", None), ("softmax", 1.0)):
        seen = []
        network = build("cascaded_unet", maps=maps, **TINY).eval()
        network.unets[0].decoders[1].register_forward_pre_hook(
            lambda _module, inputs, seen=seen: seen.append(inputs[2])
        )
        with torch.no_grad():
            network(x)
        (probabilities,) = seen
        assert probabilities.shape == (1, 3, 8, 8, 8)
        assert probabilities.min() >= 0 and probabilities.max() <= 1
        if total is not None:
            torch.testing.assert_close(probabilities.sum(dim=1), torch.full((1, 8, 8, 8), total))


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_interface(stem_stride):
    sides = [(16 * stem_stride, 16, 16), (16, 32, 16)]
    check_interface(
        "cascaded_unet", sides, (1, 2 * stem_stride), stem_stride=stem_stride, dropout=0.0, **TINY
    )


def test_three_scales():
    check_interface("cascaded_unet", [(64, 32, 32)], (1, 2, 4), widths=(1, 2, 3, 4), dropout=0.0)


def test_dropout_only_while_training():
    torch.manual_seed(0)
    network, x = build("cascaded_unet", dropout=0.5, **TINY), torch.randn(1, 4, 16, 16, 16)
    with torch.no_grad():
        assert not torch.equal(network(x)[0], network(x)[0])
        network.eval()
        assert torch.equal(network(x)[0], network(x)[0])


def test_either_memory_format():
    check_channels_last("cascaded_unet", 16, **TINY)


def test_openvino():
    check_openvino("cascaded_unet", stem_stride=2, **TINY)


def test_learns():
    check_learning("cascaded_unet", 16, dropout=0.0, **TINY)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"scales": 4}, ["field scales", "expected 1 to 3"]),
        ({"maps": "argmax"}, ["field maps", "sigmoid or softmax"]),
        ({"dropout": 1.0}, ["field dropout", "from 0 to below 1"]),
        ({"widths": (8,)}, ["field widths", "two or more"]),
        ({"stem_stride": 3}, ["field stem_stride"]),
    ],
)
def test_a_bad_option_is_named(options, parts):
    with pytest.raises(RecipeError) as error:
        build("cascaded_unet", **options)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_sides_must_suit_the_depth_of_the_coarsest():
    with pytest.raises(RecipeError, match="multiples of 32"):
        build("cascaded_unet")(torch.zeros(1, 4, 32, 32, 48))
