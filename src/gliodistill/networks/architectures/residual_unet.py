"""The residual U-Net that Lachinov, Shipunova and Turlapov distil an ensemble into (BrainLes 2019,
arXiv 2002.03688).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks.architectures.unet import ConvBlock
from gliodistill.networks.base import check_option
from gliodistill.networks.layers.encoder_decoder import EncoderDecoder, check_shape
from gliodistill.networks.layers.norms import normalisation
from gliodistill.networks.layers.parts import SLOPE
from gliodistill.networks.registry import register


class ResidualBlock(nn.Module):
    """x + f(f(x)), f: convolution 3³ → norm → LeakyReLU. No activation after the sum."""

    def __init__(self, channels: int, *, norm: str) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *(ConvBlock(channels, channels, stride=1, norm=norm) for _ in range(2))
        )

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B C X Y Z"]:
        """The sum of the input and its branch."""
        return x + self.branch(x)  # type: ignore[no-any-return]


class ResidualDecoder(nn.Module):
    """Double the grid by trilinear interpolation, join the encoder's features by a 1³ convolution,
    residual blocks.
    """

    def __init__(self, coarse: int, fine: int, *, blocks: int, norm: str) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="trilinear"),
            nn.Conv3d(coarse, fine, 1, bias=False),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        self.join = nn.Conv3d(2 * fine, fine, 1, bias=False)
        self.blocks = nn.Sequential(*(ResidualBlock(fine, norm=norm) for _ in range(blocks)))

    def forward(
        self, x: Float[Tensor, "B C _ _ _"], skip: Float[Tensor, "B D X Y Z"]
    ) -> Float[Tensor, "B D X Y Z"]:
        """Features of the finer level."""
        return self.blocks(self.join(torch.cat((skip, self.up(x)), dim=1)))  # type: ignore[no-any-return]


@register("residual_unet")
class ResidualUNet(EncoderDecoder):
    """The distilled student of Lachinov et al. 2019: a residual U-Net, 4.5 M parameters, 299 GFLOP
    at 4×128³.

    Layer for layer the authors' public code (github.com/lachinov/brats2019), without a 128-wide
    decoder block that it builds but never runs (918 016 parameters). Ours are the options: a folded
    grid (see :class:`~gliodistill.networks.UNet`), heads for deep supervision and other norms.

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        widths: channels of each level, finest first; every level after the first halves the grid.
        encoder_blocks: residual blocks of each encoder level.
        decoder_blocks: residual blocks of every decoder level.
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
        widths: Sequence[int] = (16, 32, 64, 128),
        encoder_blocks: Sequence[int] = (1, 2, 2, 4),
        decoder_blocks: int = 1,
        stem_stride: int = 1,
        norm: str = "group",
        deep_supervision: int = 0,
    ) -> None:
        check_shape(in_channels, out_channels, widths, stem_stride, deep_supervision)
        fits = len(encoder_blocks) == len(widths) and min(encoder_blocks) >= 1
        check_option(
            "encoder_blocks",
            encoder_blocks,
            fits,
            f"{len(widths)} positive numbers, one for each width",
        )
        check_option("decoder_blocks", decoder_blocks, decoder_blocks >= 1, "at least 1")
        stem = nn.Conv3d(in_channels * stem_stride**3, widths[0], 3, padding=1, bias=False)
        starts = [nn.Sequential(stem, normalisation(norm, widths[0]))]
        starts += [
            nn.Sequential(nn.Conv3d(fine, coarse, 2, stride=2, bias=False))
            for fine, coarse in pairwise(widths)
        ]
        super().__init__(
            (
                nn.Sequential(*start, *(ResidualBlock(width, norm=norm) for _ in range(blocks)))
                for start, width, blocks in zip(starts, widths, encoder_blocks, strict=True)
            ),
            (
                ResidualDecoder(coarse, fine, blocks=decoder_blocks, norm=norm)
                for fine, coarse in pairwise(widths)
            ),
            widths=widths,
            out_channels=out_channels,
            stem_stride=stem_stride,
            head=3,
            deep_supervision=deep_supervision,
        )
