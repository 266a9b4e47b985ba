"""The appearance of a study's images: a few numbers that distinguish the sequences.

For each image: percentiles of its z-scores, and medians from the centre of the brain outwards. For
each pair: their correlation, and which has the brighter extremes (blood vessels and enhancing
tumour skew T1CE − T1, fluid skews T2 − FLAIR). These numbers differ more between sequences than
between scanners. Their choice is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gliodistill.preparation.quantise import dequantise
from gliodistill.studies.sequence import MRSequence

SIDE = 40
"""Number of evenly spaced voxels along each axis; a few thousand brain voxels suffice.
"""

LEAST = 100
"""Least number of brain voxels."""

PERCENTILES = (5.0, 25.0, 50.0, 75.0, 95.0, 99.0, 99.8)
SHELLS = 3
FACTS = len(PERCENTILES) + SHELLS
"""Number of features of an image."""

TAILS = (0.5, 5.0, 95.0, 99.5)
MIRROR = np.array([1.0, -1.0, -1.0, 1.0])
"""Signs of a pair's features when its images are exchanged."""

Pair = tuple[MRSequence, MRSequence]
Levels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Appearance:
    """The features of a study's images.

    Attributes:
        images: sequence → :data:`FACTS` numbers (float64).
        pairs: two sequences, in canonical order → correlation; skewness of the difference by its
            outer and its inner tails, and the width of the outer ones, in its standard deviations
            (float64, 4).
    """

    images: Mapping[MRSequence, NDArray[np.float64]]
    pairs: Mapping[Pair, NDArray[np.float64]]


def thinned(image: Levels) -> tuple[Levels, int]:
    """Evenly spaced voxels of an image (levels, uint8 C X Y Z; a view), and the number of voxels
    each represents.
    """
    steps = [max(1, round(side / SIDE)) for side in image.shape[1:]]
    return image[(slice(None), *(slice(None, None, step) for step in steps))], int(np.prod(steps))


def appearance_of(image: Levels, sequences: tuple[MRSequence, ...]) -> Appearance:
    """The appearance of a prepared study.

    Args:
        image: levels, uint8 C X Y Z; a channel with fewer than :data:`LEAST` brain voxels is
            skipped.
        sequences: of the channels.
    """
    of = dict(zip(sequences, thinned(image)[0], strict=True))
    ordered = [s for s in MRSequence if s in of]
    images, pairs = facts_of([of[s] for s in ordered])
    return Appearance(
        {ordered[one]: facts for one, facts in images.items()},
        {(ordered[one], ordered[other]): facts for (one, other), facts in pairs.items()},
    )


def facts_of(
    channels: Sequence[Levels],
) -> tuple[dict[int, NDArray[np.float64]], dict[tuple[int, int], NDArray[np.float64]]]:
    """The numbers of images and of pairs of images, by their index.

    Args:
        channels: levels, uint8 X Y Z, on one grid; one with fewer than :data:`LEAST` brain voxels
            is skipped.
    """
    filled = [levels > 0 for levels in channels]
    filled = [next(other for other in filled if np.array_equal(other, one)) for one in filled]
    scores = [dequantise(levels) for levels in channels]
    seen = [n for n, inside in enumerate(filled) if np.count_nonzero(inside) >= LEAST]
    shared = {(a, b): filled[a] & filled[b] for a, b in combinations(seen, 2)}
    # Sequences that were skull-stripped together share their mask, and so the order of its voxels.
    outwards = {id(mask): _outwards(mask) for mask in {id(m): m for m in filled}.values()}
    return (
        {n: _image(scores[n][filled[n]], outwards[id(filled[n])]) for n in seen},
        {
            (a, b): _pair(scores[a][both], scores[b][both])
            for (a, b), both in shared.items()
            if np.count_nonzero(both) >= LEAST
        },
    )


def _outwards(filled: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Order of the voxels of a mask from its centre outwards."""
    places = np.argwhere(filled)
    if not len(places):
        return np.zeros(0, np.intp)
    away = (((places - places.mean(axis=0)) / np.maximum(places.std(axis=0), 1e-6)) ** 2).sum(
        axis=1
    )
    return np.argsort(away, kind="stable")


def _image(scores: NDArray[np.float32], outwards: NDArray[np.intp]) -> NDArray[np.float64]:
    """The numbers of an image, from the z-scores of its brain (N) and their order outwards."""
    values = scores.astype(np.float64)
    shells = np.array_split(values[outwards], SHELLS)
    return np.concatenate(
        [np.percentile(values, PERCENTILES), [np.median(shell) for shell in shells]]
    )


def _pair(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    first, second = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (a, b))
    scale = np.sqrt((first**2).sum() * (second**2).sum())
    difference = first - second
    low, below, above, high = np.percentile(difference, TAILS) / max(difference.std(), 1e-6)
    return np.array(
        [(first * second).sum() / max(scale, 1e-12), low + high, below + above, high - low]
    )
