"""The appearance of series, for comparison with the training studies: evidence that needs no name
and no attribute.

The appearance model (:mod:`gliodistill.trust.appearance_model`) was fitted to stripped brains. For
a head with skull, the region deeper than scalp and skull in the upper part of the head is used. All
series of a patient are sampled on one coarse grid in scanner space, so that they can be compared
voxel by voxel although their own grids differ. Ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.dicom.grids import Grid
from gliodistill.images.volume import Volume
from gliodistill.preparation.quantise import quantise
from gliodistill.trust.appearance import LEAST

STEP_MM = 4.0
"""Between the points that are looked at."""

MOST_POINTS = 2_000_000
SKIN_MM = 20.0
"""From the surface of the head to what is surely inside the skull."""

CAP_MM = 105.0
"""Below the top of the head; what is lower is not looked at: face and neck."""

RIM_MM = 6.0
"""A stripped brain is taken without its rim, which the inside of a head lacks too."""

STRIPPED_ML = 2200.0
"""A head has more; a brain never."""

PERCENTILES = (1.0, 99.0)
"""As the preparation of the shipped model has them."""


@dataclass(frozen=True, eq=False)
class Points:
    """A coarse grid in scanner space.

    Attributes:
        mm: 3 × points, RAS+, in the C order of X Y Z.
        shape: points along X, Y, Z.
        step: mm between them.
    """

    mm: NDArray[np.float64]
    shape: tuple[int, int, int]
    step: float


def points_over(grids: Sequence[Grid]) -> Points:
    """Points over all grids, :data:`STEP_MM` apart unless that are too many."""
    corners = []
    for grid in grids:
        ends = np.array(np.meshgrid(*[(0, side - 1) for side in grid.shape])).reshape(3, -1)
        corners.append(grid.affine[:3, :3] @ ends + grid.affine[:3, 3:])
    every = np.concatenate(corners, axis=1)
    low, high = every.min(axis=1), every.max(axis=1)
    step = max(STEP_MM, float((np.prod(high - low + STEP_MM) / MOST_POINTS) ** (1 / 3)))
    axes = [np.arange(a, b + step / 2, step) for a, b in zip(low, high, strict=True)]
    x, y, z = (len(axis) for axis in axes)
    return Points(np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1), (x, y, z), step)


def levels_at(points: Points, volume: Volume) -> NDArray[np.uint8]:
    """Sample a series inside the skull.

    Returns:
        levels as a prepared study has them (uint8 X Y Z of the points); 0 outside.
    """
    values, seen = _sample(volume, points)
    return _levels(values, _inside(values, seen, points.step))


def _sample(volume: Volume, points: Points) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Intensities at the points, not smoothed (vessels must stay bright), and which are in the
    field of view.
    """
    from scipy import ndimage

    inverse = np.linalg.inv(volume.affine)
    places = inverse[:3, :3] @ points.mm + inverse[:3, 3:]
    sides = np.array(volume.shape)[:, None]
    seen = ((places >= -0.5) & (places <= sides - 0.5)).all(axis=0)
    values = np.zeros(points.mm.shape[1], np.float32)
    values[seen] = ndimage.map_coordinates(
        volume.data, places[:, seen], order=1, mode="nearest", output=np.float32
    )
    return values.reshape(points.shape), seen.reshape(points.shape)


def _inside(values: NDArray[np.float32], seen: NDArray[np.bool_], step: float) -> NDArray[np.bool_]:
    """What lies inside the skull; for a stripped image, the brain without its rim."""
    from scipy import ndimage

    filled = seen & (values != 0)
    volume_ml = filled.sum() * step**3 / 1000
    if filled.sum() < 0.6 * seen.sum() and volume_ml < STRIPPED_ML:
        depth = ndimage.distance_transform_edt(np.pad(filled, 1))[1:-1, 1:-1, 1:-1] * step
        inner: NDArray[np.bool_] = depth > RIM_MM
        return inner if inner.sum() > LEAST else filled
    smooth = ndimage.uniform_filter(values, 3)
    head = _head(smooth, seen)
    # Beyond the field of view the head goes on.
    depth = ndimage.distance_transform_edt(np.pad(head | ~seen, 1, mode="edge"))
    deep: NDArray[np.bool_] = depth[1:-1, 1:-1, 1:-1] * step > SKIN_MM
    rows = np.flatnonzero(head.any(axis=(0, 1)))
    if rows.size:
        deep[:, :, : max(0, int(rows[-1] - CAP_MM / step))] = False
    return deep & seen


def _head(smooth: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The head without its holes: skull, ventricles and sinuses are dark."""
    from scipy import ndimage

    known = smooth[seen]
    bright = seen & (smooth > _otsu(known[known <= np.percentile(known, 99)]))
    labels, count = ndimage.label(ndimage.binary_closing(bright, iterations=2))
    if count > 1:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        bright = labels == sizes.argmax()
    else:
        bright = labels > 0
    for axis in (2, 0, 1):  # plane by plane: the lowest slice is open below
        bright = np.stack(
            [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(bright, axis, 0)], axis
        )
    return bright


def _otsu(values: NDArray[np.float32]) -> float:
    """The threshold that separates two groups best."""
    counts, edges = np.histogram(values, 128)
    middles = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts), counts.sum()
    mass = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mass[-1] * below / total - mass) ** 2 / (below * (total - below))
    return float(middles[np.nanargmax(between[:-1])]) if len(values) else 0.0


def _levels(values: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    brain = values[inside]
    if not brain.size:
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(brain, PERCENTILES)
    kept = brain[(brain >= low) & (brain <= high)]
    return quantise((values - kept.mean()) / (kept.std() or 1.0), inside)
