"""The 3-D attention U-Net: channel and spatial attention on what enters a decoder stage."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks.attention import ChannelSpatialAttention
from gliodistill.networks.base import Network, check_option
from gliodistill.networks.folding import space_to_depth
from gliodistill.networks.norms import normalisation
from gliodistill.networks.parts import Head, initialise
from gliodistill.networks.registry import register


class DoubleConv(nn.Sequential):
    """Twice: convolution 3³ (no bias) → ReLU → norm, in this order."""

    def __init__(self, in_channels: int, between: int, out_channels: int, *, norm: str) -> None:
        layers: list[nn.Module] = []
        for i, o in pairwise((in_channels, between, out_channels)):
            layers += [nn.Conv3d(i, o, 3, padding=1, bias=False), nn.ReLU(inplace=True), normalisation(norm, o)]
        super().__init__(*layers)


class Decoder(nn.Module):
    """Double the grid, join the encoder's features, attend, convolve."""

    def __init__(self, coarse: int, fine: int, *, norm: str, reduction: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.attention = ChannelSpatialAttention(coarse + fine, reduction)
        self.stage = DoubleConv(coarse + fine, fine, fine, norm=norm)

    def forward(self, x: Float[Tensor, "B C _ _ _"], skip: Float[Tensor, "B D X Y Z"]) -> Float[Tensor, "B D X Y Z"]:
        """Features of the finer level."""
        features: Tensor = self.stage(self.attention(torch.cat((skip, self.up(x)), dim=1)))
        return features


@register("attention_unet")
class AttentionUNet(Network):
    """U-Net with channel and spatial attention in the decoder: the 3-D attention U-Net of Islam et al. 2020.

    M. Islam et al., *Brain Tumor Segmentation and Survival Prediction Using 3D Attention UNet*, BrainLes 2019, arXiv
    2104.00985. The paper says "channel and spatial attention with the decoder network"; sizes and order are those of the
    authors' public code: six levels of 16 to 512 channels, convolution → ReLU → group norm (8 groups), the first
    convolution of an encoder stage half as wide, max-pooling down, nearest-neighbour doubling up, skip and features
    joined, then attended, then convolved. Ours: He initialisation, and LeakyReLU 0.01 inside channel attention, where
    theirs is ReLU. (MONAI's ``AttentionUnet`` is Oktay's, another design.)

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        widths: channels of each level, finest first; every level after the first halves the grid.
        stem_stride: voxels of the input per voxel of the finest level along an axis: 1, 2 or 4, as in ``unet``.
        norm: ``instance``, ``group`` or ``batch``.
        reduction: how much narrower the hidden layer of channel attention is.

    Raises:
        RecipeError: an option out of range.
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 3,
        widths: Sequence[int] = (16, 32, 64, 128, 256, 512),
        stem_stride: int = 1,
        norm: str = "group",
        reduction: int = 16,
    ) -> None:
        super().__init__()
        check_option("in_channels", in_channels, in_channels >= 1, "at least 1")
        check_option("out_channels", out_channels, out_channels >= 1, "at least 1")
        check_option("widths", widths, len(widths) >= 2 and min(widths) >= 1, "two or more positive numbers")
        check_option("stem_stride", stem_stride, stem_stride in (1, 2, 4), "1, 2 or 4")
        check_option("reduction", reduction, reduction >= 1, "at least 1")
        self.stem_stride = stem_stride
        self.divisor = stem_stride * 2 ** (len(widths) - 1)
        ins = (in_channels * stem_stride**3, *widths)
        self.encoders = nn.ModuleList(DoubleConv(i, max(i, o // 2), o, norm=norm) for i, o in pairwise(ins))
        self.pool = nn.MaxPool3d(2)
        self.decoders = nn.ModuleList(Decoder(coarse, fine, norm=norm, reduction=reduction) for fine, coarse in pairwise(widths))
        self.head = Head(widths[0], out_channels, stride=stem_stride)
        self.apply(initialise)

    @property
    def taps(self) -> dict[str, nn.Module]:
        """``encoder0`` (finest) …, ``bottleneck``, …, ``decoder0`` (finest): features after the last norm of a stage."""
        *encoders, bottleneck = self.encoders
        named: dict[str, nn.Module] = {f"encoder{level}": stage for level, stage in enumerate(encoders)}
        named["bottleneck"] = bottleneck
        return named | {f"decoder{level}": self.decoders[level] for level in reversed(range(len(self.decoders)))}

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K X Y Z"], ...]:
        """Logits on the grid of the input."""
        self.check_sides(x)
        if self.stem_stride > 1:
            x = space_to_depth(x, self.stem_stride)
        features: list[Tensor] = []
        for encoder in self.encoders:
            x = encoder(self.pool(x) if features else x)
            features.append(x)
        for decoder, skip in zip(reversed(self.decoders), reversed(features[:-1]), strict=True):
            x = decoder(x, skip)
        return (self.head(x),)
