"""The 3-D U-Net in the shape nnU-Net gives it: teacher, width/3 student and fast student in one class."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks.base import Network, check_option
from gliodistill.networks.folding import depth_to_space, space_to_depth
from gliodistill.networks.norms import normalisation
from gliodistill.networks.parts import SLOPE, initialise
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

    def __init__(self, in_channels: int, out_channels: int, *, convs: int, stride: int, norm: str) -> None:
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

    def forward(self, x: Float[Tensor, "B C _ _ _"], skip: Float[Tensor, "B D X Y Z"]) -> Float[Tensor, "B D X Y Z"]:
        """Features of the finer level."""
        joined: Tensor = self.stage(torch.cat((self.up(x), skip), dim=1))
        return joined


@register("unet")
class UNet(Network):
    """A plain 3-D U-Net of any widths, at full resolution or folded 2³ or 4³ for speed.

    Çiçek et al. 2016 in the shape of nnU-Net (Isensee et al. 2021): 3³ convolutions, stride-2 convolutions
    down, transposed 2³ convolutions up, norm, LeakyReLU 0.01, He initialisation. With the instance norm and
    ``stem_stride=1`` it is MONAI's ``DynUNet`` weight for weight.

    With ``stem_stride=s`` the same trunk works on a grid s times coarser: each block of s³ voxels is folded
    into channels before the first convolution, and the last 1³ convolution writes K·s³ channels that are
    unfolded into full-resolution logits (sub-pixel convolution, Shi et al. 2016). The s³ filters of a class
    start equal (Aitken et al. 2017), so the untrained network shows no checkerboard.

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        widths: channels of each level, finest first; every level after the first halves the grid.
        stem_stride: voxels of the input per trunk voxel along an axis: 1, 2 or 4.
        convs_per_stage: 3³ convolutions of each encoder and decoder stage.
        norm: ``instance``, ``group`` or ``batch``.
        deep_supervision: how many coarser decoder levels also give logits while training, at most ``len(widths) - 2``.

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
    ) -> None:
        super().__init__()
        check_option("in_channels", in_channels, in_channels >= 1, "at least 1")
        check_option("out_channels", out_channels, out_channels >= 1, "at least 1")
        check_option("widths", widths, len(widths) >= 2 and min(widths) >= 1, "two or more positive numbers")
        check_option("stem_stride", stem_stride, stem_stride in (1, 2, 4), "1, 2 or 4")
        check_option("convs_per_stage", convs_per_stage, convs_per_stage >= 1, "at least 1")
        check_option("deep_supervision", deep_supervision, 0 <= deep_supervision <= len(widths) - 2, f"0 to {len(widths) - 2}")
        self.stem_stride = stem_stride
        self.divisor = stem_stride * 2 ** (len(widths) - 1)
        fold = stem_stride**3
        ins = (in_channels * fold, *widths[:-1])
        self.encoders = nn.ModuleList(
            Stage(i, o, convs=convs_per_stage, stride=2 if level else 1, norm=norm)
            for level, (i, o) in enumerate(zip(ins, widths, strict=True))
        )
        self.decoders = nn.ModuleList(Decoder(coarse, fine, convs=convs_per_stage, norm=norm) for fine, coarse in pairwise(widths))
        self.head = nn.Conv3d(widths[0], out_channels * fold, 1)
        self.coarse_heads = nn.ModuleList(nn.Conv3d(width, out_channels, 1) for width in widths[1 : 1 + deep_supervision])
        self.apply(initialise)
        with torch.no_grad():
            self.head.weight.copy_(self.head.weight[::fold].repeat_interleave(fold, dim=0))

    @property
    def taps(self) -> dict[str, nn.Module]:
        """``encoder0`` (finest) …, ``bottleneck``, …, ``decoder0`` (finest): features after the last activation of a stage."""
        *encoders, bottleneck = self.encoders
        named: dict[str, nn.Module] = {f"encoder{level}": stage for level, stage in enumerate(encoders)}
        named["bottleneck"] = bottleneck
        named.update({f"decoder{level}": self.decoders[level] for level in reversed(range(len(self.decoders)))})
        return named

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K _ _ _"], ...]:
        """Logits on the input's grid; while training with deep supervision also on grids 2·s, 4·s, … times coarser (s: stem_stride)."""
        self.check_sides(x)
        if self.stem_stride > 1:
            x = space_to_depth(x, self.stem_stride)
        features = []
        for encoder in self.encoders:
            x = encoder(x)
            features.append(x)
        for level in reversed(range(len(self.decoders))):
            x = features[level] = self.decoders[level](x, features[level])
        logits = self.head(x)
        if self.stem_stride > 1:
            logits = depth_to_space(logits, self.stem_stride)
        if not self.training:
            return (logits,)
        return (logits, *(head(features[level]) for level, head in enumerate(self.coarse_heads, start=1)))


@register("nnunet")
def nnunet(in_channels: int = 4, out_channels: int = 3, norm: str = "instance", deep_supervision: int = 0) -> UNet:
    """The U-Net nnU-Net plans for BraTS: widths 32 … 320 on six levels, 31.2 M parameters."""
    return UNet(in_channels, out_channels, (32, 64, 128, 256, 320, 320), norm=norm, deep_supervision=deep_supervision)


@register("nnunet_third")
def nnunet_third(in_channels: int = 4, out_channels: int = 3, norm: str = "instance", deep_supervision: int = 0) -> UNet:
    """``nnunet`` with every width divided by 3: 3.48 M parameters, 11.1 % of it (Xu et al. 2022)."""
    return UNet(in_channels, out_channels, (11, 21, 43, 85, 107, 107), norm=norm, deep_supervision=deep_supervision)


@register("fast")
def fast(in_channels: int = 4, out_channels: int = 3, norm: str = "instance", deep_supervision: int = 0) -> UNet:
    """For two-core processors: a U-Net of widths 32, 64, 128, 160 on a grid folded 2³."""
    return UNet(in_channels, out_channels, (32, 64, 128, 160), stem_stride=2, norm=norm, deep_supervision=deep_supervision)
