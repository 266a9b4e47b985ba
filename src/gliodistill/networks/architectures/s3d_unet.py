"""S3D-UNet: a U-Net of separable 3-D convolutions (Chen, Liu, Peng, Sun, Qiao, BrainLes 2018, doi
10.1007/978-3-030-11726-9_32).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks.base import check_option
from gliodistill.networks.layers.encoder_decoder import EncoderDecoder, check_shape
from gliodistill.networks.layers.norms import normalisation
from gliodistill.networks.layers.parts import SLOPE
from gliodistill.networks.registry import register

Kernel = tuple[int, int, int]
VIEWS: tuple[tuple[Kernel, Kernel], ...] = (
    ((3, 3, 1), (1, 1, 3)),
    ((3, 1, 3), (1, 3, 1)),
    ((1, 3, 3), (3, 1, 1)),
)
"""Kernels in and through the plane of axial, coronal and sagittal slices."""


class SeparableConv(nn.Sequential):
    """3² in the plane → norm → LeakyReLU → 3 through the plane → norm → LeakyReLU: a 3³ convolution
    in two factors.
    """

    def __init__(self, in_channels: int, out_channels: int, *, view: int, norm: str) -> None:
        layers: list[nn.Module] = []
        for channels, (x, y, z) in zip((in_channels, out_channels), VIEWS[view], strict=True):
            layers += [
                nn.Conv3d(
                    channels, out_channels, (x, y, z), padding=(x // 2, y // 2, z // 2), bias=False
                ),
                normalisation(norm, out_channels),
                nn.LeakyReLU(SLOPE, inplace=True),
            ]
        super().__init__(*layers)


class SeparableBlock(nn.Module):
    """Residual inception block: separable convolutions along several axes, mixed, and added to the
    input.

    Args:
        channels: in and out, divided among the views as evenly as possible.
        views: 1: axial slices; 2: coronal beside; 3: sagittal, too.
        norm: ``instance``, ``group``, ``batch`` or ``subset``.
    """

    def __init__(self, in_channels: int, channels: int, *, views: int, norm: str) -> None:
        super().__init__()
        shares = [(channels + view) // views for view in range(views)]
        self.views = nn.ModuleList(
            SeparableConv(in_channels, share, view=view, norm=norm)
            for view, share in enumerate(shares)
        )
        self.mix = nn.Sequential(
            nn.Conv3d(channels, channels, 1, bias=False), normalisation(norm, channels)
        )
        self.shortcut = (
            nn.Identity()
            if in_channels == channels
            else nn.Conv3d(in_channels, channels, 1, bias=False)
        )
        self.activation = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B D X Y Z"]:
        """Features after the activation that follows the sum."""
        seen = self.mix(torch.cat([view(x) for view in self.views], dim=1))
        return self.activation(seen + self.shortcut(x))  # type: ignore[no-any-return]


class SeparableDecoder(nn.Module):
    """Double the grid by a transposed 2³ convolution, join the encoder's features, separable
    blocks.
    """

    def __init__(self, coarse: int, fine: int, *, blocks: int, views: int, norm: str) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(coarse, fine, 2, stride=2, bias=False)
        self.blocks = nn.Sequential(*_blocks(2 * fine, fine, blocks, views, norm))

    def forward(
        self, x: Float[Tensor, "B C _ _ _"], skip: Float[Tensor, "B D X Y Z"]
    ) -> Float[Tensor, "B D X Y Z"]:
        """Features of the finer level."""
        return self.blocks(torch.cat((self.up(x), skip), dim=1))  # type: ignore[no-any-return]


@register("s3d_unet")
class S3DUNet(EncoderDecoder):
    """S3D-UNet of Chen et al. 2018: every 3³ convolution factorised into 3² in a plane and 3
    through it, 3.3 M parameters.

    From the paper, of which we have abstract and introduction: a U-Net whose 3³
    convolutions are replaced by 1×3×3 and 3×1×1 ones, after the separable inception blocks that S3D
    (Xie et al. 2018) uses for video. All else is our
    reading: five levels of widths 16 … 256 as in the U-Net of Isensee et al. 2017, from which BraTS
    entries of that year started; residual inception blocks whose branches take the slices axial,
    coronal and sagittal, so that all axes are treated alike, and a 1³ convolution to mix them; two
    blocks per level; 2³ convolutions of stride 2 down, transposed ones up; instance norm and
    LeakyReLU. ``views=1`` has only axial slices, as in video.

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        widths: channels of each level, finest first; every level after the first halves the grid.
        blocks: separable blocks of each encoder and decoder level.
        views: planes of a block: 1 axial, 2 also coronal, 3 also sagittal.
        stem_stride: voxels of the input per trunk voxel along an axis: 1, 2 or 4.
        norm: ``instance``, ``group``, ``batch`` or ``subset``.
        deep_supervision: how many coarser decoder levels also give logits while training, at most
            ``len(widths) - 2``.

    Raises:
        RecipeError: an option out of range.
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 3,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        blocks: int = 2,
        views: int = 3,
        stem_stride: int = 1,
        norm: str = "instance",
        deep_supervision: int = 0,
    ) -> None:
        check_shape(in_channels, out_channels, widths, stem_stride, deep_supervision)
        check_option("blocks", blocks, blocks >= 1, "at least 1")
        check_option("views", views, views in (1, 2, 3), "1, 2 or 3")
        check_option(
            "widths", widths, min(widths) >= views, f"at least {views}, a channel for every view"
        )
        stem = nn.Conv3d(in_channels * stem_stride**3, widths[0], 3, padding=1, bias=False)
        downs = (
            nn.Conv3d(fine, coarse, 2, stride=2, bias=False) for fine, coarse in pairwise(widths)
        )
        super().__init__(
            (
                nn.Sequential(start, *_blocks(width, width, blocks, views, norm))
                for start, width in zip((stem, *downs), widths, strict=True)
            ),
            (
                SeparableDecoder(coarse, fine, blocks=blocks, views=views, norm=norm)
                for fine, coarse in pairwise(widths)
            ),
            widths=widths,
            out_channels=out_channels,
            stem_stride=stem_stride,
            head=1,
            deep_supervision=deep_supervision,
        )


def _blocks(
    in_channels: int, channels: int, count: int, views: int, norm: str
) -> list[SeparableBlock]:
    return [
        SeparableBlock(channels if i else in_channels, channels, views=views, norm=norm)
        for i in range(count)
    ]
