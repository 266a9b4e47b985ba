"""S3D-UNet: separable convolutions, their views, the interface."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from gliodistill.errors import RecipeError
from gliodistill.networks import build, count_parameters, flops
from gliodistill.networks.architectures.s3d_unet import SeparableBlock, SeparableConv
from network_checks import check_channels_last, check_interface, check_learning, check_openvino

TINY = {"widths": (6, 8, 12), "blocks": 1}


def test_its_parameters_by_hand():
    widths = (16, 32, 64, 128, 256)

    def block(ins, width):
        shares = [width // 3 + (width % 3 > view) for view in range(3)]
        views = sum(9 * ins * share + 3 * share * share + 4 * share for share in shares)
        return views + width * width + 2 * width + (ins * width if ins != width else 0)

    by_hand = 27 * 4 * 16 + sum(2 * block(w, w) for w in widths) + 16 * 3 + 3
    for fine, coarse in pairwise(widths):
        by_hand += (
            2 * 8 * fine * coarse + block(2 * fine, fine) + block(fine, fine)
        )  # down and up, decoder
    with torch.device("meta"):
        network = build("s3d_unet")
    assert count_parameters(network) == by_hand
    assert by_hand / 1e6 == pytest.approx(3.3, abs=0.05)


def test_far_cheaper_than_a_plain_u_net_of_its_widths():
    with torch.device("meta"):
        separable, plain = (
            build("s3d_unet"),
            build("unet", widths=(16, 32, 64, 128, 256), convs_per_stage=4),
        )
    shape = (1, 4, 64, 64, 64)
    assert flops(separable, shape) < 0.5 * flops(plain, shape)
    assert count_parameters(separable) < 0.5 * count_parameters(plain)


@pytest.mark.parametrize("view", [0, 1, 2])
def test_the_two_factors_make_a_cube_without_what_lies_between(view):
    """Without norm and activation, 3² in the plane and 3 through it are one 3³ convolution with an
    outer product for kernel.
    """
    torch.manual_seed(0)
    separable = SeparableConv(2, 3, view=view, norm="instance").double()
    plane, through = separable[0], separable[3]
    axis = 4 - view  # through axial slices runs z, the last dimension
    assert plane.kernel_size == tuple(1 if dimension == axis else 3 for dimension in (2, 3, 4))
    cube = sum(through.weight[:, middle, None] * plane.weight[None, middle] for middle in range(3))
    assert cube.shape == (3, 2, 3, 3, 3)
    x = torch.randn(1, 2, 5, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(through(plane(x)), functional.conv3d(x, cube, padding=1))


@pytest.mark.parametrize(("ins", "views"), [(6, 3), (4, 3), (6, 1)])
def test_golden_values_of_a_block(ins, views):
    torch.manual_seed(0)
    block = SeparableBlock(ins, 6, views=views, norm="instance").double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3)

    def normal(x, norm):
        mean, variance = (
            x.mean((2, 3, 4), keepdim=True),
            x.var((2, 3, 4), correction=0, keepdim=True),
        )
        return (x - mean) / (variance + 1e-5).sqrt() * norm.weight.view(
            1, -1, 1, 1, 1
        ) + norm.bias.view(1, -1, 1, 1, 1)

    def rectified(x):
        return torch.where(x > 0, x, 0.01 * x)

    x = torch.randn(2, ins, 4, 5, 3, dtype=torch.float64)
    seen = []
    for view, padding in zip(
        block.views,
        (((1, 1, 0), (0, 0, 1)), ((1, 0, 1), (0, 1, 0)), ((0, 1, 1), (1, 0, 0))),
        strict=False,
    ):
        plane = rectified(normal(functional.conv3d(x, view[0].weight, padding=padding[0]), view[1]))
        seen.append(
            rectified(normal(functional.conv3d(plane, view[3].weight, padding=padding[1]), view[4]))
        )
    assert len(seen) == views
    mixed = normal(functional.conv3d(torch.cat(seen, dim=1), block.mix[0].weight), block.mix[1])
    shortcut = x if ins == 6 else functional.conv3d(x, block.shortcut.weight)
    torch.testing.assert_close(block(x), rectified(mixed + shortcut))


def test_interface():
    check_interface("s3d_unet", [(8, 16, 16), (16, 8, 24)], (1, 2), deep_supervision=1, **TINY)


def test_interface_of_the_folded_grid():
    check_interface(
        "s3d_unet", [(16, 16, 16), (16, 8, 24)], (1,), stem_stride=2, widths=(6, 8), views=1
    )


def test_either_memory_format():
    check_channels_last("s3d_unet", 16, **TINY)


def test_openvino():
    check_openvino("s3d_unet", stem_stride=2, **TINY)


def test_learns():
    check_learning("s3d_unet", 16, deep_supervision=1, **TINY)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"views": 4}, ["field views", "1, 2 or 3"]),
        ({"blocks": 0}, ["field blocks", "at least 1"]),
        ({"widths": (2, 4)}, ["field widths", "at least 3"]),
        ({"widths": (8,)}, ["field widths", "two or more"]),
        ({"stem_stride": 3}, ["field stem_stride"]),
    ],
)
def test_a_bad_option_is_named(options, parts):
    with pytest.raises(RecipeError) as error:
        build("s3d_unet", **options)
    assert all(part in str(error.value) for part in parts), str(error.value)
