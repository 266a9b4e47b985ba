"""DeepMedic: two paths at two resolutions (Kamnitsas et al., Med. Image Anal. 36, 2017, doi
10.1016/j.media.2016.10.004).
"""

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

SLOPE = 0.01  # that PReLU starts from, as in the authors' code


class Layer(nn.Sequential):
    """Norm → PReLU → dropout → convolution, as in He et al. 2016 and the authors' code."""

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int, norm: str, dropout: float = 0.0
    ) -> None:
        super().__init__(
            normalisation(norm, in_channels),
            nn.PReLU(in_channels, init=SLOPE),
            nn.Dropout(dropout),
            nn.Conv3d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        )


class Path(nn.Module):
    """3³ convolutions at one resolution; with ``residual``, layers 4, 6, 8, … add the input of the
    layer before them.

    If a layer has more channels than the added input, the others are unchanged.
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int], *, residual: bool, norm: str
    ) -> None:
        super().__init__()
        self.residual = residual
        first = nn.Conv3d(
            in_channels, widths[0], 3, padding=1, bias=False
        )  # no norm and no PReLU on the image
        rest = (Layer(before, width, kernel=3, norm=norm) for before, width in pairwise(widths))
        self.layers = nn.ModuleList((first, *rest))

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B D X Y Z"]:
        """Features before the norm of the next layer."""
        earlier = x  # the input of the layer before
        for number, layer in enumerate(self.layers, start=1):
            y = layer(x)
            if self.residual and number >= 4 and number % 2 == 0:
                y = y + functional.pad(
                    earlier, (0, 0, 0, 0, 0, 0, 0, y.shape[1] - earlier.shape[1])
                )
            earlier, x = x, y
        return x


@register("deepmedic")
class DeepMedic(Network):
    """DeepMedic of Kamnitsas et al. 2017, dense: two paths of eight layers at full and 1/3
    resolution, 0.66 M parameters.

    From the paper: widths 30-30-40-40-40-40-50-50 in both paths, 3³ convolutions, the
    low-resolution features repeated onto the fine grid, two hidden layers of 150 channels and 1³
    convolutions with dropout 0.5 after the first, batch norm and PReLU before every convolution but
    the first. ``residual`` adds the connections of layers 4, 6 and 8 that the authors entered BRATS
    2016 with. All as in their public code (github.com/deepmedic/deepmedic).

    Ours: the authors' convolutions are not padded, and the field of view of their low-resolution
    path is three times the patch. Here convolutions are padded, so that output and input sizes are
    equal, and the low-resolution path gets averages over ``factor``³ voxels of the same patch;
    therefore a patch should be larger than theirs (25³). Factor 3 needs sides that are multiples of
    3 (48 is one of 3 and of 16); 2 or 4 fit patches for U-Nets. The folded grid and other norms are
    ours, too; ``instance`` fits batches of one or two.

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        widths: channels of the 3³ layers of either path, none smaller than two layers before if
            ``residual``.
        hidden: channels of the 1³ layers that read both paths.
        factor: voxels of the full-resolution path per voxel of the low-resolution one along an
            axis.
        residual: whether layers 4, 6, 8, … have residual connections.
        stem_stride: voxels of the input per voxel of the full-resolution path along an axis: 1, 2
            or 4.
        norm: ``instance``, ``group`` or ``batch``.
        dropout: share of features dropped before the second hidden layer, those after it and the
            logits, while training.

    Raises:
        RecipeError: an option out of range.
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 3,
        widths: Sequence[int] = (30, 30, 40, 40, 40, 40, 50, 50),
        hidden: Sequence[int] = (150, 150),
        factor: int = 3,
        residual: bool = False,
        stem_stride: int = 1,
        norm: str = "batch",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_option("in_channels", in_channels, in_channels >= 1, "at least 1")
        check_option("out_channels", out_channels, out_channels >= 1, "at least 1")
        check_option(
            "widths", widths, len(widths) >= 1 and min(widths) >= 1, "one or more positive numbers"
        )
        grows = all(later >= sooner for sooner, later in zip(widths, widths[2:], strict=False))
        check_option(
            "widths",
            widths,
            grows or not residual,
            "none smaller than two layers before, for the residual connections",
        )
        check_option(
            "hidden", hidden, len(hidden) >= 1 and min(hidden) >= 1, "one or more positive numbers"
        )
        check_option("factor", factor, factor >= 2, "at least 2")
        check_option("stem_stride", stem_stride, stem_stride in (1, 2, 4), "1, 2 or 4")
        check_option("dropout", dropout, 0 <= dropout < 1, "from 0 to below 1")
        self.stem_stride = stem_stride
        self.factor = factor
        self.divisor = stem_stride * factor
        self.fine = Path(in_channels * stem_stride**3, widths, residual=residual, norm=norm)
        self.coarse = Path(in_channels, widths, residual=residual, norm=norm)
        ins = (2 * widths[-1], *hidden)
        self.hidden = nn.Sequential(
            *(
                Layer(before, width, kernel=1, norm=norm, dropout=dropout if index else 0.0)
                for index, (before, width) in enumerate(zip(ins, hidden, strict=False))
            )
        )
        self.last = nn.Sequential(
            normalisation(norm, hidden[-1]), nn.PReLU(hidden[-1], init=SLOPE), nn.Dropout(dropout)
        )
        self.head = Head(hidden[-1], out_channels, unfold=stem_stride)
        self.apply(initialise)

    @property
    def taps(self) -> dict[str, nn.Module]:
        """``encoder0``: the full-resolution path; ``bottleneck``: the low-resolution path;
        ``decoder0``: the hidden layers.
        """
        return {"encoder0": self.fine, "bottleneck": self.coarse, "decoder0": self.last}

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K X Y Z"], ...]:
        """Logits on the input's grid."""
        self.check_sides(x)
        coarse = self.coarse(functional.avg_pool3d(x, self.stem_stride * self.factor))
        fine = self.fine(space_to_depth(x, self.stem_stride) if self.stem_stride > 1 else x)
        repeated = functional.interpolate(coarse, scale_factor=self.factor, mode="nearest")
        return (self.head(self.last(self.hidden(torch.cat((fine, repeated), dim=1)))),)
