"""The common structure of U-shaped networks."""

from collections.abc import Iterable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks.base import Network, check_option
from gliodistill.networks.layers.folding import space_to_depth
from gliodistill.networks.layers.parts import Head, initialise
from gliodistill.networks.layers.refinement import Refinement
from gliodistill.networks.layers.subset_norm import telling_subsets


class EncoderDecoder(Network):
    """Encoder and decoder stages with skip connections, logits at the finest level and, in
    training, at coarser ones.

    Args:
        encoders: modules of one input, finest first; every one after the first halves the grid.
        decoders: modules of coarser features and the features to join, finest first, one fewer than
            encoders.
        widths: channels of each level, finest first.
        out_channels: logits K per voxel.
        stem_stride: s, voxels of the input per trunk voxel along an axis; blocks of s³ are folded
            into channels.
        head: kernel side of the logit convolutions.
        deep_supervision: how many coarser decoder levels also give logits while training.
        refinement: a last stage at full resolution that corrects the finest logits.
    """

    def __init__(
        self,
        encoders: Iterable[nn.Module],
        decoders: Iterable[nn.Module],
        *,
        widths: Sequence[int],
        out_channels: int,
        stem_stride: int,
        head: int,
        deep_supervision: int,
        refinement: Refinement | None = None,
    ) -> None:
        super().__init__()
        self.stem_stride = stem_stride
        self.divisor = stem_stride * 2 ** (len(widths) - 1)
        self.encoders = nn.ModuleList(encoders)
        self.decoders = nn.ModuleList(decoders)
        self.head = Head(widths[0], out_channels, unfold=stem_stride, kernel=head)
        self.coarse_heads = nn.ModuleList(
            Head(width, out_channels, kernel=head) for width in widths[1 : 1 + deep_supervision]
        )
        self.refinement = refinement
        self.apply(initialise)
        if refinement is not None:
            refinement.reset()

    @property
    def taps(self) -> dict[str, nn.Module]:
        """``encoder0`` (finest) …, ``bottleneck``, …, ``decoder0`` (finest): features after the
        last activation of a stage.
        """
        *encoders, bottleneck = self.encoders
        named: dict[str, nn.Module] = {
            f"encoder{level}": stage for level, stage in enumerate(encoders)
        }
        named["bottleneck"] = bottleneck
        named.update(
            {
                f"decoder{level}": self.decoders[level]
                for level in reversed(range(len(self.decoders)))
            }
        )
        return named

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K _ _ _"], ...]:
        """Logits on the input's grid; while training with deep supervision also on grids 2·s, 4·s,
        … times coarser (s: stem_stride).
        """
        self.check_sides(x)
        with telling_subsets(self, x):
            return self._forward(x)

    def _forward(self, x: Tensor) -> tuple[Tensor, ...]:
        image = x
        if self.stem_stride > 1:
            x = space_to_depth(x, self.stem_stride)
        features = []
        for encoder in self.encoders:
            x = encoder(x)
            features.append(x)
        for level in reversed(range(len(self.decoders))):
            x = features[level] = self.decoders[level](x, features[level])
        logits = self.head(x)
        if self.refinement is not None:
            logits = self.refinement(logits, image)
        if not self.training:
            return (logits,)
        return (
            logits,
            *(head(features[level]) for level, head in enumerate(self.coarse_heads, start=1)),
        )


def check_shape(
    in_channels: int,
    out_channels: int,
    widths: Sequence[int],
    stem_stride: int,
    deep_supervision: int,
) -> None:
    """Raise RecipeError unless the common options of U-shaped networks are in range."""
    check_option("in_channels", in_channels, in_channels >= 1, "at least 1")
    check_option("out_channels", out_channels, out_channels >= 1, "at least 1")
    check_option(
        "widths", widths, len(widths) >= 2 and min(widths) >= 1, "two or more positive numbers"
    )
    check_option("stem_stride", stem_stride, stem_stride in (1, 2, 4), "1, 2 or 4")
    check_option(
        "deep_supervision",
        deep_supervision,
        0 <= deep_supervision <= len(widths) - 2,
        f"0 to {len(widths) - 2}",
    )
