"""The cascaded U-Net of Lachinov, Vasiliev and Turlapov (BrainLes 2018, arXiv 1810.04008)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gliodistill.networks.base import Network, check_option
from gliodistill.networks.layers.folding import space_to_depth
from gliodistill.networks.layers.norms import normalisation
from gliodistill.networks.layers.parts import Head, initialise
from gliodistill.networks.registry import register


class PreactivatedBlock(nn.Module):
    """x + g(g(x)), g: norm → ReLU → convolution 3³; with separate ``groups`` of channels."""

    def __init__(self, channels: int, *, groups: int, norm: str) -> None:
        super().__init__()
        layers = (
            (
                normalisation(norm, channels),
                nn.ReLU(inplace=True),
                nn.Conv3d(channels, channels, 3, padding=1, groups=groups),
            )
            for _ in range(2)
        )
        self.branch = nn.Sequential(*(layer for three in layers for layer in three))

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B C X Y Z"]:
        """The sum of the input and its branch."""
        return x + self.branch(x)  # type: ignore[no-any-return]


class Fusion(nn.Module):
    """Element-wise maximum over ``groups`` encoders with consecutive channels."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Float[Tensor, "B G X Y Z"]) -> Float[Tensor, "B C X Y Z"]:
        """The strongest response of any sequence, channel by channel."""
        fused, *others = x.chunk(self.groups, dim=1)
        for other in others:
            fused = torch.maximum(fused, other)
        return fused


class CascadeDecoder(nn.Module):
    """Double the grid by a transposed 2³ convolution, join features and coarser maps by a 1³
    convolution, residual block.
    """

    def __init__(self, coarse: int, fine: int, *, skip: int, maps: int, norm: str) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(coarse, fine, 2, stride=2, bias=False)
        self.join = nn.Conv3d(fine + skip + maps, fine, 1)
        self.block = PreactivatedBlock(fine, groups=1, norm=norm)

    def forward(self, x: Float[Tensor, "B C _ _ _"], *beside: Tensor) -> Float[Tensor, "B D X Y Z"]:
        """Features of the finer level; ``beside``: features on its grid, ``B _ X Y Z`` each."""
        return self.block(self.join(torch.cat((self.up(x), *beside), dim=1)))  # type: ignore[no-any-return]


class MultiEncoderUNet(nn.Module):
    """One U-Net of the cascade: an encoder for each sequence, one decoder that also reads coarser
    probability maps.

    Args:
        in_channels: of the input, a multiple of ``sequences``, those of a sequence together.
        sequences: encoders.
        widths: channels of each encoder by level, finest first; the decoder is twice as wide.
        maps: channels of the probability maps joined at each decoder level.
        norm: ``instance``, ``group`` or ``batch``.
        dropout: share of features dropped after each step down, while training.
    """

    def __init__(
        self,
        in_channels: int,
        sequences: int,
        widths: Sequence[int],
        maps: Sequence[int],
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        totals = [sequences * width for width in widths]
        starts = [nn.Sequential(nn.Conv3d(in_channels, totals[0], 3, padding=1, groups=sequences))]
        for fine, coarse in pairwise(totals):
            down = nn.Conv3d(fine, coarse, 3, stride=2, padding=1, groups=sequences)
            starts.append(nn.Sequential(down, nn.Dropout(dropout)))
        self.encoders = nn.ModuleList(
            nn.Sequential(*start, PreactivatedBlock(total, groups=sequences, norm=norm))
            for start, total in zip(starts, totals, strict=True)
        )
        self.fusions = nn.ModuleList(Fusion(sequences) for _ in widths)
        wide = [2 * width for width in widths[:-1]]
        inputs = [
            *wide[1:],
            widths[-1],
        ]  # the bottleneck is the fused encoders, not widened
        self.decoders = nn.ModuleList(
            CascadeDecoder(coarse, fine, skip=skip, maps=extra, norm=norm)
            for coarse, fine, skip, extra in zip(inputs, wide, widths[:-1], maps, strict=True)
        )

    @property
    def taps(self) -> dict[str, nn.Module]:
        """``encoder0`` (finest) …, ``bottleneck``: after the fusion; ``decoder0`` (finest): after
        the block.
        """
        *fusions, bottleneck = self.fusions
        named: dict[str, nn.Module] = {
            f"encoder{level}": fusion for level, fusion in enumerate(fusions)
        }
        named["bottleneck"] = bottleneck
        named.update(
            {
                f"decoder{level}": self.decoders[level]
                for level in reversed(range(len(self.decoders)))
            }
        )
        return named

    def forward(
        self, x: Float[Tensor, "B C X Y Z"], maps: Sequence[Sequence[Tensor]]
    ) -> Float[Tensor, "B D X Y Z"]:
        """Decoder features on the grid of ``x``; ``maps``: what to join (``B K _ _ _`` each) at
        each decoder level, finest first.
        """
        fused = []
        for encoder, fusion in zip(self.encoders, self.fusions, strict=True):
            x = encoder(x)
            fused.append(fusion(x))
        features: Tensor = fused[-1]
        for level in reversed(range(len(self.decoders))):
            features = self.decoders[level](features, fused[level], *maps[level])
        return features


@register("cascaded_unet")
class CascadedUNet(Network):
    """The cascaded U-Net of Lachinov et al. 2018: three U-Nets, an encoder for each sequence, 38.2
    M parameters.

    The U-Nets process the same patch at full, 1/2 and 1/4 resolution, the coarsest first and
    widest. Each has one encoder per sequence (grouped convolutions), fused at every level by an
    element-wise maximum. The probability maps of the coarser U-Nets are joined to the decoder of a
    finer one at the level of their grid. In training, the logits of the coarser U-Nets follow the
    finest ones. The authors weight their Dice losses by 0.4, 0.3, 0.2; here they are heads of deep
    supervision with 4/7, 2/7, 1/7.

    Widths and wiring are those of the authors' public code
    (github.com/lachinov/brats2018-graphlabunn). With 8 base filters and four soft-max classes it
    has 38 192 316 parameters; Intel's Open Model Zoo states 38.192 M of the authors' trained
    ``brain-tumor-segmentation-0001``, and 410 GFLOP at 4×128³ (without norms and activations we
    count 1 % less). As in the code, coarser maps have gradients, so that the losses of the finer
    U-Nets also train the coarser ones. Ours: sigmoid maps for regions, ε = 1e-5 instead of MXNet's
    1e-3 in the norms, the folded grid and the choice of scales. The authors replace whole channels
    by noise in training; ``augmentation.modality_dropout`` replaces them by 0.

    Args:
        in_channels: image sequences C, and encoders of each U-Net.
        out_channels: logits K per voxel.
        widths: channels of each encoder of the finest U-Net by level, finest first; its decoder is
            twice as wide, and each coarser U-Net twice as wide as the one before.
        scales: U-Nets, at most ``len(widths) - 1``.
        maps: activation of coarser logits before a finer U-Net uses them: ``sigmoid`` (regions) or
            ``softmax`` (classes).
        stem_stride: voxels of the input per voxel of the finest U-Net along an axis: 1, 2 or 4.
            That U-Net gets blocks of voxels folded into channels; the coarser ones get averages
            over ``stem_stride``·2, ·4, … voxels.
        norm: ``instance``, ``group`` or ``batch``.
        dropout: share of features dropped after each step down, while training.

    Raises:
        RecipeError: an option out of range.
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 3,
        widths: Sequence[int] = (8, 16, 32, 64),
        scales: int = 3,
        maps: str = "sigmoid",
        stem_stride: int = 1,
        norm: str = "instance",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_option("in_channels", in_channels, in_channels >= 1, "at least 1")
        check_option("out_channels", out_channels, out_channels >= 1, "at least 1")
        check_option(
            "widths", widths, len(widths) >= 2 and min(widths) >= 1, "two or more positive numbers"
        )
        check_option("scales", scales, 1 <= scales < len(widths), f"1 to {len(widths) - 1}")
        check_option("maps", maps, maps in ("sigmoid", "softmax"), "sigmoid or softmax")
        check_option("stem_stride", stem_stride, stem_stride in (1, 2, 4), "1, 2 or 4")
        check_option("dropout", dropout, 0 <= dropout < 1, "from 0 to below 1")
        self.stem_stride = stem_stride
        self.levels = len(widths) - 1  # of a decoder
        self.divisor = stem_stride * 2 ** (scales + len(widths) - 2)
        self.activation = nn.Sigmoid() if maps == "sigmoid" else nn.Softmax(dim=1)
        self.unets = nn.ModuleList()
        self.heads = nn.ModuleList()
        for scale in range(scales):
            fold = stem_stride if scale == 0 else 1
            joined = [
                out_channels if level and scale + level < scales else 0
                for level in range(self.levels)
            ]
            wider = [width * 2**scale for width in widths]
            self.unets.append(
                MultiEncoderUNet(in_channels * fold**3, in_channels, wider, joined, norm, dropout)
            )
            self.heads.append(Head(2 * wider[0], out_channels, unfold=fold))
        self.apply(initialise)

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Those of the finest U-Net: ``encoder0`` (finest, sequences fused) …, ``bottleneck``, …,
        ``decoder0`` (finest).
        """
        return self.unets[0].taps  # type: ignore[return-value]

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K _ _ _"], ...]:
        """Logits on the input's grid; while training also those of the coarser U-Nets, grids 2·s,
        4·s, … times coarser (s: stem_stride).
        """
        self.check_sides(x)
        logits: list[Tensor] = []
        maps: list[list[Tensor]] = [
            [] for _ in range(self.levels)
        ]  # maps for the decoder of the next U-Net, finest level first
        for scale in reversed(range(len(self.unets))):
            seen = (
                functional.avg_pool3d(x, self.stem_stride * 2**scale) if scale else self._folded(x)
            )
            features = self.unets[scale](seen, maps)
            logits.insert(0, self.heads[scale](features))
            maps = [[], [self.activation(logits[0])], *maps[1:]][: self.levels]
        return tuple(logits) if self.training else (logits[0],)

    def _folded(self, x: Tensor) -> Tensor:
        return space_to_depth(x, self.stem_stride) if self.stem_stride > 1 else x
