"""TransBTS (Wang et al. 2021): a CNN encoder, a transformer over its 1/8 grid, a CNN decoder."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks.base import check_option
from gliodistill.networks.layers.encoder_decoder import EncoderDecoder, check_shape
from gliodistill.networks.layers.norms import normalisation
from gliodistill.networks.layers.pointwise import Pointwise
from gliodistill.networks.layers.transformer import VolumetricTransformer
from gliodistill.networks.registry import register

BLOCKS = (1, 2, 2, 4)  # residual blocks of each encoder level
POSITIONS = 16  # side of the reference grid of positions: 128³ voxels at 1/8
STEM_DROPOUT = 0.2  # share of the stem's channels dropped while training


class Residual(nn.Module):
    """Layers with a residual connection."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B C X Y Z"]:
        """Features of the same shape."""
        branch: Tensor = self.branch(x)
        return x + branch


class EncoderHalf(nn.Sequential):
    """GroupNorm → ReLU → 3³ convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            normalisation("group", channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(channels, channels, 3, padding=1),
        )


class DecoderHalf(nn.Sequential):
    """3³ convolution → BatchNorm → ReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(
            nn.Conv3d(in_channels, channels, 3, padding=1),
            normalisation("batch", channels),
            nn.ReLU(inplace=True),
        )


class UpStage(nn.Module):
    """Narrow by a 1³ convolution, double the grid, join the encoder's features by a 1³ convolution,
    convolve.
    """

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            Pointwise(coarse, fine), nn.ConvTranspose3d(fine, fine, 2, stride=2)
        )
        self.join = nn.Sequential(
            Pointwise(2 * fine, fine), Residual(DecoderHalf(fine, fine), DecoderHalf(fine, fine))
        )

    def forward(
        self, x: Float[Tensor, "B C _ _ _"], skip: Float[Tensor, "B D X Y Z"]
    ) -> Float[Tensor, "B D X Y Z"]:
        """Features of the finer level."""
        joined: Tensor = self.join(torch.cat((skip, self.up(x)), dim=1))
        return joined


class Bottleneck(nn.Module):
    """Convolution to the embedding, transformer, convolutions back to the encoder's width."""

    def __init__(self, channels: int, embedding: int, transformer: VolumetricTransformer) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            normalisation("batch", channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(channels, embedding, 3, padding=1),
        )
        self.transformer = transformer
        self.back = nn.Sequential(
            DecoderHalf(embedding, channels),
            DecoderHalf(channels, channels),
            Residual(DecoderHalf(channels, channels), DecoderHalf(channels, channels)),
        )

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B C X Y Z"]:
        """Features of the same shape with global context."""
        tokens = self.transformer(self.embed(x).permute(0, 2, 3, 4, 1))
        seen: Tensor = self.back(tokens.permute(0, 4, 1, 2, 3))
        return seen


@register("trans_bts")
class TransBTS(EncoderDecoder):
    """TransBTS: four residual levels, four transformer layers over the 1/8 grid, three stages up.

    Wang et al. 2021 (arXiv 2103.04430), layer by layer as in the authors' public code, which counts
    32 987 588 parameters, the published 32.99 M. We omit what that code builds but never uses:
    a linear embedding (262 656) and a last LayerNorm (1 024). Further differences: K logits instead
    of four classes under a softmax; the stem's dropout is off in evaluation (theirs is not);
    positions fit any grid (:class:`VolumetricTransformer`); He's initialisation of the head;
    ``stem_stride`` and ``deep_supervision``, ours as in ``unet``.

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        widths: channels of the four levels, finest first; every level after the first halves the
            grid.
        stem_stride: voxels of the input per voxel of the finest level along an axis: 1, 2 or 4.
        embedding: numbers per token.
        layers: of the transformer.
        heads: of each layer; must divide the embedding.
        hidden: width of each feed-forward's inner layer.
        dropout: of the transformer, while training.
        deep_supervision: how many coarser decoder levels also give logits while training, at most
            2.

    Raises:
        RecipeError: an option out of range.
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 3,
        widths: Sequence[int] = (16, 32, 64, 128),
        stem_stride: int = 1,
        embedding: int = 512,
        layers: int = 4,
        heads: int = 8,
        hidden: int = 4096,
        dropout: float = 0.1,
        deep_supervision: int = 0,
    ) -> None:
        check_shape(in_channels, out_channels, widths, stem_stride, deep_supervision)
        check_option("widths", widths, len(widths) == len(BLOCKS), f"{len(BLOCKS)} numbers")
        transformer = VolumetricTransformer(
            embedding, layers=layers, heads=heads, hidden=hidden, grid=POSITIONS, dropout=dropout
        )
        stem = nn.Sequential(
            nn.Conv3d(in_channels * stem_stride**3, widths[0], 3, padding=1),
            nn.Dropout3d(STEM_DROPOUT),
        )
        downs = (
            nn.Conv3d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairwise(widths)
        )
        encoders = [
            nn.Sequential(
                entry, *(Residual(EncoderHalf(width), EncoderHalf(width)) for _ in range(blocks))
            )
            for entry, width, blocks in zip((stem, *downs), widths, BLOCKS, strict=True)
        ]
        encoders[-1].append(Bottleneck(widths[-1], embedding, transformer))
        super().__init__(
            encoders,
            (UpStage(coarse, fine) for fine, coarse in pairwise(widths)),
            widths=widths,
            out_channels=out_channels,
            stem_stride=stem_stride,
            head=1,
            deep_supervision=deep_supervision,
        )
        self.encoders.apply(_redraw)
        self.decoders.apply(_redraw)


def _redraw(module: nn.Module) -> None:
    """Initialise as the authors' code, by torch's default: He's grows along the residual sums,
    which have no norm.
    """
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        module.reset_parameters()
