"""The 3-D U-Net in nnU-Net's shape: teacher, width/3 student and fast student in one class."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks.base import check_option
from gliodistill.networks.layers.encoder_decoder import EncoderDecoder, check_shape
from gliodistill.networks.layers.norms import normalisation
from gliodistill.networks.layers.parts import SLOPE
from gliodistill.networks.layers.refinement import Refinement
from gliodistill.networks.layers.subset_norm import SEQUENCES
from gliodistill.networks.registry import register


class ConvBlock(nn.Sequential):
    """Convolution 3³ (no bias: the norm has one) → norm → LeakyReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, norm: str) -> None:
        super().__init__(
            nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            normalisation(norm, out_channels),
            nn.LeakyReLU(SLOPE, inplace=True),
        )


class Stage(nn.Sequential):
    """Several :class:`ConvBlock` of one width; the first may halve the grid."""

    def __init__(
        self, in_channels: int, out_channels: int, *, convs: int, stride: int, norm: str
    ) -> None:
        super().__init__(
            ConvBlock(in_channels, out_channels, stride=stride, norm=norm),
            *(ConvBlock(out_channels, out_channels, stride=1, norm=norm) for _ in range(convs - 1)),
        )


class Decoder(nn.Module):
    """Double the grid by a transposed 2³ convolution, join the encoder's features, convolve."""

    def __init__(self, coarse: int, fine: int, *, convs: int, norm: str) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(coarse, fine, 2, stride=2, bias=False)
        self.stage = Stage(2 * fine, fine, convs=convs, stride=1, norm=norm)

    def forward(
        self, x: Float[Tensor, "B C _ _ _"], skip: Float[Tensor, "B D X Y Z"]
    ) -> Float[Tensor, "B D X Y Z"]:
        """Features of the finer level."""
        joined: Tensor = self.stage(torch.cat((self.up(x), skip), dim=1))
        return joined


@register("unet")
class UNet(EncoderDecoder):
    """A plain 3-D U-Net of any widths, at full resolution or folded 2³ or 4³ for speed.

    Çiçek et al. 2016 in the shape of nnU-Net (Isensee et al. 2021): 3³ convolutions, stride-2
    convolutions down, transposed 2³ convolutions up, norm, LeakyReLU 0.01, He initialisation. With
    the instance norm and ``stem_stride=1`` it is MONAI's ``DynUNet`` weight for weight.

    With ``stem_stride=s`` the same trunk works on a grid s times coarser: each block of s³ voxels
    is folded into channels before the first convolution, and the last 1³ convolution writes K·s³
    channels that are unfolded into full-resolution logits (sub-pixel convolution, Shi et al. 2016).
    The s³ filters of a class start equal (Aitken et al. 2017), so the untrained network has no
    checkerboard artefacts.

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        widths: channels of each level, finest first; every level after the first halves the grid.
        stem_stride: voxels of the input per trunk voxel along an axis: 1, 2 or 4.
        convs_per_stage: 3³ convolutions of each encoder and decoder stage.
        norm: ``instance``, ``group``, ``batch``, or ``subset`` (batch norm with statistics for each
            subset of at most four sequences).
        deep_supervision: how many coarser decoder levels also give logits while training, at most
            ``len(widths) - 2``.

    Raises:
        RecipeError: an option out of range.
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 3,
        widths: Sequence[int] = (32, 64, 128, 256, 320, 320),
        stem_stride: int = 1,
        convs_per_stage: int = 2,
        norm: str = "instance",
        deep_supervision: int = 0,
        refine: int = 0,
    ) -> None:
        check_shape(in_channels, out_channels, widths, stem_stride, deep_supervision)
        check_option(
            "in_channels",
            in_channels,
            norm != "subset" or in_channels <= SEQUENCES,
            f"at most {SEQUENCES} with this norm",
        )
        check_option("convs_per_stage", convs_per_stage, convs_per_stage >= 1, "at least 1")
        check_option("refine", refine, refine >= 0, "a number of channels, or 0 for none")
        ins = (in_channels * stem_stride**3, *widths[:-1])
        super().__init__(
            (
                Stage(i, o, convs=convs_per_stage, stride=2 if level else 1, norm=norm)
                for level, (i, o) in enumerate(zip(ins, widths, strict=True))
            ),
            (
                Decoder(coarse, fine, convs=convs_per_stage, norm=norm)
                for fine, coarse in pairwise(widths)
            ),
            widths=widths,
            out_channels=out_channels,
            stem_stride=stem_stride,
            head=1,
            deep_supervision=deep_supervision,
            refinement=Refinement(
                in_channels,
                out_channels,
                refine,
                lambda i, o: Stage(i, o, convs=convs_per_stage, stride=1, norm=norm),
            )
            if refine
            else None,
        )


@register("nnunet")
def nnunet(
    in_channels: int = 4, out_channels: int = 3, norm: str = "instance", deep_supervision: int = 0
) -> UNet:
    """The U-Net nnU-Net plans for BraTS: widths 32 … 320 on six levels, 31.2 M parameters."""
    return UNet(
        in_channels,
        out_channels,
        (32, 64, 128, 256, 320, 320),
        norm=norm,
        deep_supervision=deep_supervision,
    )


@register("nnunet_third")
def nnunet_third(
    in_channels: int = 4, out_channels: int = 3, norm: str = "instance", deep_supervision: int = 0
) -> UNet:
    """``nnunet`` with all widths divided by 3: 3.48 M parameters, 11.1 % (Xu et al. 2022)."""
    return UNet(
        in_channels,
        out_channels,
        (11, 21, 43, 85, 107, 107),
        norm=norm,
        deep_supervision=deep_supervision,
    )


@register("fast")
def fast(
    in_channels: int = 4, out_channels: int = 3, norm: str = "instance", deep_supervision: int = 0
) -> UNet:
    """For two-core processors: a U-Net of widths 32, 64, 128, 160 on a grid folded 2³."""
    return UNet(
        in_channels,
        out_channels,
        (32, 64, 128, 160),
        stem_stride=2,
        norm=norm,
        deep_supervision=deep_supervision,
    )
