"""The shapes that are enumerated, and what they see."""

import pytest
import torch

from gliodistill.networks import build
from gliodistill.planner.shapes import (
    FAMILIES,
    STRIDES,
    Shape,
    enumerate_shapes,
    receptive_field,
    strides_for,
)


def seen(network: str, levels: int, stride: int) -> int:
    """Voxels along an axis that move the logits of one voxel, the most of any: from gradients,
    attention aside.
    """
    shape = Shape(network, tuple(2 for _ in range(levels)), stride, "batch")
    side = shape.divisor
    length = -(-2 * receptive_field(network, levels, stride) // side) * side + 2 * side
    net = build(network, **shape.options).eval()
    for module in net.modules():
        if type(module).__name__ in ("TransformerConnection", "ChannelSpatialAttention"):
            module.forward = lambda x: x  # they see the whole volume by design
        if isinstance(module, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
            torch.nn.init.constant_(module.weight, 0.1)  # positive, so that no two ways cancel out
    image = torch.ones(2, 4, length, side, side, requires_grad=True)
    widest = 0
    for voxel in range(length // 2, length // 2 + side):
        (gradient,) = torch.autograd.grad(net(image)[0][0, :, voxel, 0, 0].sum(), image)
        touched = gradient[0].abs().amax((0, 2, 3)).nonzero()
        widest = max(widest, int(touched.max() - touched.min()) + 1)
    return widest


@pytest.mark.parametrize(("levels", "stride"), [(2, 1), (3, 1), (2, 2), (2, 4)])
def test_the_receptive_field_is_the_networks_own(levels, stride):
    assert seen("unet", levels, stride) == receptive_field("unet", levels, stride)


def test_every_family_says_no_more_than_its_network_sees():
    for network in ("residual_unet", "attention_fused"):
        assert (
            receptive_field(network, 2, 1)
            <= seen(network, 2, 1)
            <= receptive_field(network, 2, 1) + 4
        )  # + interpolation


def test_the_order_is_fixed_and_every_shape_fits_and_sees_the_patch():
    patch = (96, 96, 64)
    shapes = list(enumerate_shapes(list(FAMILIES), STRIDES, ["batch", "group"], patch))
    assert shapes == list(enumerate_shapes(list(FAMILIES), STRIDES, ["batch", "group"], patch))
    assert len(set(shapes)) == len(shapes) > 100
    for shape in shapes:
        assert all(side % shape.divisor == 0 for side in patch)
        assert receptive_field(shape.network, len(shape.widths), shape.stem_stride) >= 96
        assert all(
            wide == min(2**level, 10) * shape.trunk for level, wide in enumerate(shape.widths)
        )
    assert {shape.norm for shape in shapes} == {"batch", "group"}
    assert [shape.norm for shape in shapes[:2]] == ["batch", "group"]


def test_every_family_builds_from_its_options():
    with torch.device("meta"):
        for network in FAMILIES:
            shape = next(enumerate_shapes([network], [2], ["batch"], (64, 64, 64)))
            assert build(network, **shape.options).divisor == shape.divisor


def test_a_small_patch_gets_the_deepest_network_it_can_take():
    shapes = list(enumerate_shapes(["unet"], [1], ["batch"], (60, 60, 60)))
    assert shapes and {len(shape.widths) for shape in shapes} == {3}
    assert list(enumerate_shapes(["unet"], [4], ["batch"], (12, 12, 12))) == []


@pytest.mark.parametrize(
    ("spacing", "strides"), [(1.0, (1, 2)), (0.8, (1, 2, 4)), (2.0, (1,)), (5.0, (1,))]
)
def test_a_trunk_voxel_is_no_larger_than_the_smallest_lesion_that_counts(spacing, strides):
    assert strides_for((spacing, spacing, min(spacing, 1.0))) == strides
