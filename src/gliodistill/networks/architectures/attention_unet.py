"""The 3-D attention U-Net: channel and spatial attention on the input of decoder stages."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks.base import check_option
from gliodistill.networks.layers.attention import ChannelSpatialAttention
from gliodistill.networks.layers.encoder_decoder import EncoderDecoder, check_shape
from gliodistill.networks.layers.norms import normalisation
from gliodistill.networks.registry import register


class DoubleConv(nn.Sequential):
    """Twice: convolution 3³ (no bias) → ReLU → norm; after max-pooling if ``pool``."""

    def __init__(
        self, in_channels: int, between: int, out_channels: int, *, norm: str, pool: bool = False
    ) -> None:
        layers: list[nn.Module] = [nn.MaxPool3d(2)] if pool else []
        for i, o in pairwise((in_channels, between, out_channels)):
            layers += [
                nn.Conv3d(i, o, 3, padding=1, bias=False),
                nn.ReLU(inplace=True),
                normalisation(norm, o),
            ]
        super().__init__(*layers)


class Decoder(nn.Module):
    """Double the grid, join the encoder's features, attend, convolve."""

    def __init__(self, coarse: int, fine: int, *, norm: str, reduction: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.attention = ChannelSpatialAttention(coarse + fine, reduction)
        self.stage = DoubleConv(coarse + fine, fine, fine, norm=norm)

    def forward(
        self, x: Float[Tensor, "B C _ _ _"], skip: Float[Tensor, "B D X Y Z"]
    ) -> Float[Tensor, "B D X Y Z"]:
        """Features of the finer level."""
        features: Tensor = self.stage(self.attention(torch.cat((skip, self.up(x)), dim=1)))
        return features


@register("attention_unet")
class AttentionUNet(EncoderDecoder):
    """U-Net with channel and spatial attention in the decoder: the 3-D attention U-Net of Islam et
    al. 2020.

    M. Islam et al., *Brain Tumor Segmentation and Survival Prediction Using 3D Attention UNet*,
    BrainLes 2019, arXiv
    2104.00985. The paper says "channel and spatial attention with the decoder network"; sizes and
    order are those of the authors' public code: six levels of 16 to 512 channels, convolution →
    ReLU → group norm (8 groups), the first convolution of an encoder stage half as wide,
    max-pooling down, nearest-neighbour doubling up, skip and features joined, then attended, then
    convolved. Ours: He initialisation, LeakyReLU 0.01 inside channel attention where theirs is
    ReLU, the folded grid, heads for deep supervision. (MONAI's ``AttentionUnet`` is Oktay's,
    another design.)

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        widths: channels of each level, finest first; every level after the first halves the grid.
        stem_stride: voxels of the input per voxel of the finest level along an axis: 1, 2 or 4, as
            in ``unet``.
        norm: ``instance``, ``group``, ``batch`` or ``subset``.
        reduction: reduction of the hidden layer of channel attention.
        deep_supervision: how many coarser decoder levels also give logits while training, at most
            ``len(widths) - 2``.

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
        deep_supervision: int = 0,
    ) -> None:
        check_shape(in_channels, out_channels, widths, stem_stride, deep_supervision)
        check_option("reduction", reduction, reduction >= 1, "at least 1")
        ins = (in_channels * stem_stride**3, *widths)
        super().__init__(
            [
                DoubleConv(i, max(i, o // 2), o, norm=norm, pool=level > 0)
                for level, (i, o) in enumerate(pairwise(ins))
            ],
            [
                Decoder(coarse, fine, norm=norm, reduction=reduction)
                for fine, coarse in pairwise(widths)
            ],
            widths=widths,
            out_channels=out_channels,
            stem_stride=stem_stride,
            head=1,
            deep_supervision=deep_supervision,
        )
