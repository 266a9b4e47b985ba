"""No New-Net: the well-trained plain U-Net that came second in BraTS 2018, before it grew into nnU-Net."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks.base import Network, check_option
from gliodistill.networks.folding import space_to_depth
from gliodistill.networks.parts import Head, initialise
from gliodistill.networks.registry import register
from gliodistill.networks.unet import ConvBlock, Stage


class Decoder(nn.Module):
    """Double the grid trilinearly, join the encoder's features, convolve, and already narrow for the next doubling."""

    def __init__(self, fine: int, finer: int, *, norm: str) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
        self.stage = nn.Sequential(ConvBlock(2 * fine, fine, stride=1, norm=norm), ConvBlock(fine, finer, stride=1, norm=norm))

    def forward(self, x: Float[Tensor, "B D _ _ _"], skip: Float[Tensor, "B D X Y Z"]) -> Float[Tensor, "B E X Y Z"]:
        """Features of the finer level."""
        features: Tensor = self.stage(torch.cat((self.up(x), skip), dim=1))
        return features


@register("no_new_net")
class NoNewNet(Network):
    """Plain U-Net with max-pooling down and trilinear doubling up: "No New-Net", Isensee et al. 2018.

    F. Isensee et al., *No New-Net*, BrainLes 2018, arXiv 1809.10483: five levels of two padded 3³ convolutions, 30
    channels at the finest, instance norm, LeakyReLU, features narrowed before they are doubled in size without learned
    weights. Ours, as the paper leaves them open: slope 0.01, no biases before a norm, He initialisation, and that the
    second convolution of a stage is the one that narrows (as in NiftyNet's port).

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        widths: channels of each level, finest first; every level after the first halves the grid.
        stem_stride: voxels of the input per voxel of the finest level along an axis: 1, 2 or 4, as in ``unet``.
        norm: ``instance``, ``group`` or ``batch``.

    Raises:
        RecipeError: an option out of range.
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 3,
        widths: Sequence[int] = (30, 60, 120, 240, 480),
        stem_stride: int = 1,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        check_option("in_channels", in_channels, in_channels >= 1, "at least 1")
        check_option("out_channels", out_channels, out_channels >= 1, "at least 1")
        check_option("widths", widths, len(widths) >= 2 and min(widths) >= 1, "two or more positive numbers")
        check_option("stem_stride", stem_stride, stem_stride in (1, 2, 4), "1, 2 or 4")
        self.stem_stride = stem_stride
        self.divisor = stem_stride * 2 ** (len(widths) - 1)
        *fine, coarsest = widths
        ins = (in_channels * stem_stride**3, *fine)
        self.encoders = nn.ModuleList(Stage(i, o, convs=2, stride=1, norm=norm) for i, o in pairwise(ins))
        self.pool = nn.MaxPool3d(2)
        self.bottleneck = nn.Sequential(
            ConvBlock(fine[-1], coarsest, stride=1, norm=norm), ConvBlock(coarsest, fine[-1], stride=1, norm=norm)
        )
        self.decoders = nn.ModuleList(Decoder(width, finer, norm=norm) for finer, width in pairwise((fine[0], *fine)))
        self.head = Head(fine[0], out_channels, stride=stem_stride)
        self.apply(initialise)

    @property
    def taps(self) -> dict[str, nn.Module]:
        """``encoder0`` (finest) …, ``bottleneck``, …, ``decoder0`` (finest); the last two kinds already narrowed."""
        named: dict[str, nn.Module] = {f"encoder{level}": stage for level, stage in enumerate(self.encoders)}
        named["bottleneck"] = self.bottleneck
        return named | {f"decoder{level}": self.decoders[level] for level in reversed(range(len(self.decoders)))}

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K X Y Z"], ...]:
        """Logits on the grid of the input."""
        self.check_sides(x)
        if self.stem_stride > 1:
            x = space_to_depth(x, self.stem_stride)
        skips = []
        for encoder in self.encoders:
            x = encoder(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottleneck(x)
        for decoder, skip in zip(reversed(self.decoders), reversed(skips), strict=True):
            x = decoder(x, skip)
        return (self.head(x),)
