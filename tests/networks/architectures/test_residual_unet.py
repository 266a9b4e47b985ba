"""The distilled student of Lachinov et al. 2019: its size, its block, its behaviour."""

import pytest
import torch
from torch.nn import functional

from gliodistill.errors import RecipeError
from gliodistill.networks import build, count_parameters, flops
from gliodistill.networks.architectures.residual_unet import ResidualBlock, ResidualDecoder
from network_checks import check_channels_last, check_interface, check_learning, check_openvino

TINY = {"widths": (8, 16, 16), "encoder_blocks": (1, 1, 2)}


def test_the_published_size_and_cost():
    with torch.device("meta"):
        network = build("residual_unet")
    assert count_parameters(network) / 1e6 == pytest.approx(4.51, abs=0.005)
    assert flops(network, (1, 4, 128, 128, 128)) / 1e9 == pytest.approx(299, abs=0.5)


def test_its_parameters_by_hand():
    widths, blocks = (16, 32, 64, 128), (1, 2, 2, 4)
    block = [2 * 27 * w * w + 4 * w for w in widths]  # two convolutions, two norms
    by_hand = 27 * 4 * 16 + 2 * 16 + sum(n * b for n, b in zip(blocks, block, strict=True))
    by_hand += sum(8 * fine * coarse for fine, coarse in ((16, 32), (32, 64), (64, 128)))  # down
    by_hand += sum(
        fine * coarse + 2 * fine * fine for fine, coarse in ((16, 32), (32, 64), (64, 128))
    ) + sum(block[:3])  # up, join
    by_hand += 27 * 16 * 3 + 3  # head
    assert count_parameters(build("residual_unet")) == by_hand


def group_norm(x, groups, weight, bias):
    rows = x.reshape(x.shape[0], groups, -1)
    normal = (rows - rows.mean(-1, keepdim=True)) / (
        rows.var(-1, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    return normal.reshape(x.shape) * weight.view(1, -1, 1, 1, 1) + bias.view(1, -1, 1, 1, 1)


def test_golden_values_of_a_residual_block():
    torch.manual_seed(0)
    block = ResidualBlock(16, norm="group").double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3)
    x = torch.randn(2, 16, 4, 5, 3, dtype=torch.float64)
    expected = x
    for convolution, norm, _ in block.branch:
        expected = functional.conv3d(expected, convolution.weight, padding=1)
        expected = group_norm(expected, 8, norm.weight, norm.bias)
        expected = torch.where(expected > 0, expected, 0.01 * expected)
    torch.testing.assert_close(block(x), x + expected)


def test_golden_values_of_a_step_up():
    torch.manual_seed(0)
    decoder = ResidualDecoder(4, 8, blocks=1, norm="group").double()
    x, skip = (
        torch.randn(1, 4, 2, 3, 2, dtype=torch.float64),
        torch.randn(1, 8, 4, 6, 4, dtype=torch.float64),
    )
    finer = functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
    finer = functional.leaky_relu(
        torch.einsum("oi,bixyz->boxyz", decoder.up[1].weight[:, :, 0, 0, 0], finer), 0.01
    )
    joined = torch.einsum(
        "oi,bixyz->boxyz", decoder.join.weight[:, :, 0, 0, 0], torch.cat((skip, finer), dim=1)
    )
    torch.testing.assert_close(decoder(x, skip), decoder.blocks(joined))


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_interface(stem_stride):
    sides = [(8 * stem_stride, 16, 16), (16, 8, 24)]
    check_interface(
        "residual_unet",
        sides,
        (1, 2 * stem_stride),
        stem_stride=stem_stride,
        deep_supervision=1,
        **TINY,
    )


@pytest.mark.parametrize("norm", ["group", "instance"])
def test_either_memory_format(norm):
    check_channels_last("residual_unet", 16, norm=norm, **TINY)


def test_openvino():
    check_openvino("residual_unet", stem_stride=2, **TINY)


def test_learns():
    check_learning("residual_unet", 16, deep_supervision=1, **TINY)


def test_the_untrained_folded_network_shows_no_checkerboard():
    torch.manual_seed(0)
    network = build("residual_unet", stem_stride=2, **TINY).eval()
    with torch.no_grad():
        (logits,) = network(torch.randn(1, 4, 16, 16, 16))
    blocks = logits.reshape(1, 3, 8, 2, 8, 2, 8, 2)
    torch.testing.assert_close(blocks[:, :, :, 0, :, 0, :, 0], blocks[:, :, :, 1, :, 0, :, 1])
    assert logits.std() > 0.1


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"encoder_blocks": (1, 2, 2)}, ["field encoder_blocks", "4 positive numbers"]),
        ({"decoder_blocks": 0}, ["field decoder_blocks", "at least 1"]),
        ({"widths": (8,)}, ["field widths", "two or more"]),
        ({"stem_stride": 3}, ["field stem_stride", "1, 2 or 4"]),
        ({"deep_supervision": 3}, ["field deep_supervision", "expected 0 to 2"]),
        ({"norm": "layer"}, ["field norm"]),
    ],
)
def test_a_bad_option_is_named(options, parts):
    with pytest.raises(RecipeError) as error:
        build("residual_unet", **options)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_sides_must_suit_the_depth():
    with pytest.raises(RecipeError, match="multiples of 16"):
        build("residual_unet", stem_stride=2)(torch.zeros(1, 4, 32, 32, 24))
