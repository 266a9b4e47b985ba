"""Mean and standard deviation of a brain, from a fixed part of its voxels.

Every k-th voxel along each axis is looked at, and those in the middle between them, as the atoms of
a body-centred cubic crystal; k leaves :data:`SAMPLE` voxels or more. At 1 mm that is a quarter of
the brain. Both halves are needed: slices interpolated by a scanner differ from their neighbours,
and a simple lattice sees one kind only. The voxels do not depend on chance, so that training and
inference see the same numbers.
"""

import numpy as np
from numpy.typing import NDArray

from gliodistill.preparation.bias import Correction

SAMPLE = 600_000
"""Voxels of the brain's box to look at, at least, if it has as many."""

LEAST = 2_000
"""Brain voxels among them below which every voxel is looked at."""


def brain_statistics(
    image: NDArray[np.float32],
    spacing: tuple[float, float, float],
    correction: Correction | None,
    percentiles: tuple[float, float],
) -> tuple[np.float32, np.float32]:
    """Mean and standard deviation of the voxels that are not 0 and no extremes.

    Args:
        image: scanner units (float32 X Y Z), 0 outside the brain.
        spacing: voxel size in mm.
        correction: of its bias field, to be multiplied by first; None = none.
        percentiles: voxels beyond these are extremes.

    Returns:
        float32, so that the order of the float64 sums does not show.
    """
    step = max(1, int((2 * image.size / SAMPLE) ** (1 / 3)))
    brain = _brain(image, spacing, correction, step)
    if brain.size < LEAST and step > 1:
        brain = _brain(image, spacing, correction, 1)
    places = [_place(len(brain), percent) for percent in percentiles]
    ordered = np.partition(
        brain, sorted({side for below, above, _ in places for side in (below, above)})
    )
    low, high = (_between(ordered[below], ordered[above], step) for below, above, step in places)
    kept = brain[(brain >= low) & (brain <= high)]
    mean, deviation = kept.mean(dtype=np.float64), kept.std(dtype=np.float64)
    return np.float32(mean), np.float32(deviation) or np.float32(1)


def _brain(
    image: NDArray[np.float32],
    spacing: tuple[float, float, float],
    correction: Correction | None,
    step: int,
) -> NDArray[np.float32]:
    """Voxels of the lattice that are not 0, in one order for all orientations of the file."""
    found = []
    for start in sorted({0, step // 2}):
        sample = np.ascontiguousarray(image[start::step, start::step, start::step])
        inside = sample != 0
        if correction is not None:
            x, y, z = (side * step for side in spacing)
            edge = tuple((start + (1 - step) / 2) * side for side in spacing)
            sample = sample * correction.at(sample.shape, (x, y, z), edge)
        found.append(sample[inside])
    return np.concatenate(found)


def _place(count: int, percent: float) -> tuple[int, int, float]:
    """Where a percentile lies among ``count`` values in order: between which two, and how far from
    the lower one (0 to 1).
    """
    position = (count - 1) * (percent / 100)
    below = int(position)
    return below, min(below + 1, count - 1), position - below


def _between(below: np.float32, above: np.float32, share: float) -> float:
    """Linear interpolation, as ``np.percentile`` does it."""
    step = float(above - below)
    return float(below) + step * share if share < 0.5 else float(above) - step * (1 - share)
