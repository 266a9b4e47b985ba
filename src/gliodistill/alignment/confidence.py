"""How far to trust a registration: do parts of the brain agree, and is the fit a sharp peak?

Similarity alone does not tell a wrong optimum from a right one of scans with little in common. A
right one is a peak, and each part of the brain asks for it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.alignment.levels import Level
from gliodistill.alignment.starts import Comparison

Matrix = NDArray[np.float64]
Improve = Callable[[tuple[Level, Level], Matrix], Matrix]

BLOCK_MM = 40.0
"""Side of the blocks that are dealt to the two parts, as on a chessboard. Each part spans the whole
brain, so that a part of a right registration is as well determined as the whole.
"""

SHIFT_MM = 4.0
"""How far a scan is moved along each axis to see whether it fits less well there."""


@dataclass(frozen=True)
class Confidence:
    """What speaks for a registration.

    Attributes:
        disagreement: in mm, how far the 95th percentile of the brain moves where one part of it
            is registered alone: the larger of two parts. 0 where neither fits better elsewhere.
        sharpness: share of the similarity that is lost, on average, by a shift of
            :data:`SHIFT_MM`; 0 or less where there is no peak.
    """

    disagreement: float
    sharpness: float


def confidence(
    pair: tuple[Level, Level], matrix: Matrix, known: bool, improve: Improve
) -> Confidence:
    """Measure it.

    Args:
        pair: the scans on coarse voxels.
        matrix: 4×4, fixed → moving, mm.
        known: whether the brain of the moving scan is known.
        improve: gives the best matrix near one, for two scans.
    """
    fixed, moving = pair
    whole = Comparison(fixed, moving, known)
    similarity = whole.fit(matrix).similarity
    shifted = [whole.fit(matrix @ shift).similarity for shift in _shifts()]
    sharpness = 1 - float(np.mean(shifted)) / similarity if similarity > 0 else 0.0

    where = np.argwhere(fixed.brain > 0.5)
    brain = np.c_[where, np.ones(len(where))] @ fixed.image.affine.T
    moves = [0.0]
    for part in _parts(fixed):
        if not part.near.any():
            continue
        alone = improve((part, moving), matrix)
        compared = Comparison(part, moving, known)
        # The optimiser may leave a peak that it does not find again.
        if compared.fit(alone).similarity > compared.fit(matrix).similarity:
            away = np.linalg.norm(brain @ (alone - matrix)[:3].T, axis=1)
            moves.append(float(np.percentile(away, 95)))
    return Confidence(max(moves), sharpness)


def _shifts() -> Iterator[Matrix]:
    for axis in range(3):
        for length in (-SHIFT_MM, SHIFT_MM):
            matrix = np.eye(4)
            matrix[axis, 3] = length
            yield matrix


def _parts(level: Level) -> Iterator[Level]:
    """The scan, compared in the black blocks, and in the white ones."""
    sides = [
        (np.arange(n) * side // BLOCK_MM).astype(int)
        for n, side in zip(level.near.shape, level.image.spacing, strict=True)
    ]
    black = np.add.outer(np.add.outer(sides[0], sides[1]), sides[2]) % 2 == 0
    yield Level(level.image, level.brain, level.near & black)
    yield Level(level.image, level.brain, level.near & ~black)
