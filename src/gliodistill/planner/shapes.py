"""Enumeration of candidate shapes, in a fixed order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

TRUNKS = (*range(4, 16), *range(16, 32, 2), *range(32, 64, 4), *range(64, 129, 8))
"""Channels of the finest level: steps of 25 % at most where narrow, 6 to 14 % where wide."""
STRIDES = (1, 2, 4)
MAX_LEVELS = 6
WIDEST = 10
"""Largest ratio of a coarse level's width to the trunk: nnU-Net's 32 … 320."""
SMALLEST_LESION_MM3 = 50.0
"""The BraTS 2023 scores ignore lesions up to this size."""


@dataclass(frozen=True)
class Family:
    """A network of the registry with free widths, i.e. a type of block.

    Attributes:
        step: trunks are multiples of it.
        options: of the network besides ``widths``, ``stem_stride`` and ``norm``, for the widths
            given.
        encoder: number of 3³ convolutions of each level before its skip, including stem and head in
            the finest, for a number of levels.
        halving: side of the convolution that halves the grid; of 3 it is the first of its level.
    """

    step: int
    options: Callable[[Sequence[int]], dict[str, Any]]
    encoder: Callable[[int], Sequence[int]]
    halving: int


def _residual_blocks(levels: int) -> list[int]:
    return [1, 2, 2, 4, 4, 4][:levels]  # Lachinov et al. 2019, continued with its last value


DECODER = 2
"""3³ convolutions of a decoder level, in every family."""
FAMILIES = {
    "unet": Family(1, lambda widths: {}, lambda levels: [2] * levels, 3),
    "residual_unet": Family(
        1,
        lambda widths: {"encoder_blocks": _residual_blocks(len(widths))},
        lambda levels: [4, *(2 * blocks for blocks in _residual_blocks(levels)[1:])],
        2,
    ),
    # Steps of 4 for the hidden layers of its channel gates. Tokens as in the recipe `compression`;
    # their global view does not count as receptive field.
    "attention_fused": Family(
        4,
        lambda widths: {"embedding": 4 * widths[0], "layers": 4, "heads": 4},
        lambda levels: [2] * levels,
        3,
    ),
}  # fmt: skip
NORMS = ("batch", "instance", "group")
"""Batch norm first: it is folded into the convolution at export and costs nothing."""


@dataclass(frozen=True)
class Shape:
    """A candidate architecture of the student.

    Attributes:
        network: its name in the registry.
        widths: channels of each level, finest first.
        stem_stride: voxels per trunk voxel along an axis.
        norm: of every stage.
    """

    network: str
    widths: tuple[int, ...]
    stem_stride: int
    norm: str

    @property
    def trunk(self) -> int:
        """Channels of the finest level."""
        return self.widths[0]

    @property
    def divisor(self) -> int:
        """Divisor of the input's sides."""
        return self.stem_stride << (len(self.widths) - 1)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the network, as in a recipe."""
        own = {"widths": list(self.widths), "stem_stride": self.stem_stride, "norm": self.norm}
        return own | FAMILIES[self.network].options(self.widths)

    def __str__(self) -> str:
        return (
            f"{self.network} {'-'.join(map(str, self.widths))}, stem stride {self.stem_stride},"
            f" {self.norm} norm"
        )


def strides_for(spacing: Sequence[float]) -> tuple[int, ...]:
    """The stem strides with trunk voxels no larger than the smallest scored lesion (side 3.7 mm);
    at least 1.

    Args:
        spacing: mm.
    """
    return tuple(
        stride
        for stride in STRIDES
        if stride == 1 or stride * max(spacing) <= SMALLEST_LESION_MM3 ** (1 / 3)
    )


def receptive_field(network: str, levels: int, stem_stride: int) -> int:
    """Receptive field of a logit along an axis, in voxels: s + Σ (kernel − 1)·grid (Araujo
    et al. 2019, eq. 2).
    """
    family = FAMILIES[network]
    seen = stem_stride
    for level, convolutions in enumerate(family.encoder(levels)):
        grid = stem_stride * 2**level
        if level:
            seen += (family.halving - 1) * grid // 2
            convolutions -= family.halving == 3
        if level < levels - 1:
            convolutions += DECODER
        seen += 2 * grid * convolutions
    return seen


def enumerate_shapes(
    networks: Sequence[str], strides: Sequence[int], norms: Sequence[str], patch: Sequence[int]
) -> Iterator[Shape]:
    """Every shape whose grid divides the patch and that sees all of it, in an order that depends
    only on the arguments.

    By network, stride, number of levels (fewest first), trunk (narrowest first), norm. Widths
    double from level to level, up to ten times the trunk. If no number of levels sees the whole
    patch, the largest possible one is used.

    Args:
        networks: some of ``FAMILIES``.
        strides: stem strides.
        norms: in order of preference.
        patch: sides that the student is trained on, voxels.
    """
    for network, stride in product(networks, strides):
        allowed = [
            n
            for n in range(2, MAX_LEVELS + 1)
            if not any(side % (stride << (n - 1)) for side in patch)
        ]
        seeing = [n for n in allowed if receptive_field(network, n, stride) >= max(patch)]
        trunks = [trunk for trunk in TRUNKS if trunk % FAMILIES[network].step == 0]
        for levels, trunk, norm in product(seeing or allowed[-1:], trunks, norms):
            yield Shape(
                network,
                tuple(min(2**level, WIDEST) * trunk for level in range(levels)),
                stride,
                norm,
            )
