"""No New-Net: the plain U-Net that came second in BraTS 2018 and became nnU-Net."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks.architectures.unet import ConvBlock
from gliodistill.networks.layers.encoder_decoder import EncoderDecoder, check_shape
from gliodistill.networks.registry import register


class Decoder(nn.Module):
    """Double the grid trilinearly, join the encoder's features, convolve twice."""

    def __init__(self, joined: int, widths: Sequence[int], *, norm: str) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
        self.stage = nn.Sequential(*_blocks(joined, widths, norm))

    def forward(
        self, x: Float[Tensor, "B D _ _ _"], skip: Float[Tensor, "B D X Y Z"]
    ) -> Float[Tensor, "B E X Y Z"]:
        """Features of the finer level."""
        features: Tensor = self.stage(torch.cat((self.up(x), skip), dim=1))
        return features


@register("no_new_net")
class NoNewNet(EncoderDecoder):
    """Plain U-Net with max-pooling and trilinear up-sampling: "No New-Net", Isensee et al. 2018.

    F. Isensee et al., *No New-Net*, BrainLes 2018, arXiv 1809.10483: five levels of two padded 3³
    convolutions, 30 channels at the finest, instance norm, LeakyReLU, features narrowed before they
    are doubled in size without learned
    weights. Our reading: slope 0.01, no biases before a norm, He initialisation, and that the
    second convolution of a stage is the one that narrows (as in NiftyNet's port). Ours: the folded
    grid.

    Taps as in ``unet``; ``bottleneck`` and ``decoder…`` are already narrowed for the next level.

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        widths: channels of each level, finest first; every level after the first halves the grid.
        stem_stride: voxels of the input per voxel of the finest level along an axis: 1, 2 or 4, as
            in ``unet``.
        norm: ``instance``, ``group``, ``batch`` or ``subset``.

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
        check_shape(in_channels, out_channels, widths, stem_stride, 0)
        *fine, coarsest = widths
        first = nn.Sequential(*_blocks(in_channels * stem_stride**3, (fine[0], fine[0]), norm))
        down = [(i, (o, o)) for i, o in pairwise(fine)] + [(fine[-1], (coarsest, fine[-1]))]
        up = [(2 * width, (width, finer)) for finer, width in pairwise((fine[0], *fine))]
        super().__init__(
            [
                first,
                *(
                    nn.Sequential(nn.MaxPool3d(2), *_blocks(joined, pair, norm))
                    for joined, pair in down
                ),
            ],
            [Decoder(joined, pair, norm=norm) for joined, pair in up],
            widths=widths,
            out_channels=out_channels,
            stem_stride=stem_stride,
            head=1,
            deep_supervision=0,
        )


def _blocks(in_channels: int, widths: Sequence[int], norm: str) -> list[ConvBlock]:
    return [ConvBlock(i, o, stride=1, norm=norm) for i, o in pairwise((in_channels, *widths))]
