"""Where the optimisation starts, and how good a matrix is: measured the same way for all."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from gliodistill.alignment.levels import Level

Matrix = NDArray[np.float64]
Point = NDArray[np.float64]

TURNS_DEG = (-30.0, -15.0, 0.0, 15.0, 30.0)
"""About each axis, of the starts from the brains' centroids."""

BINS = 24
"""Of the joint histogram, along each axis."""

POINTS = 200_000
"""Voxels that are compared, at most about."""

WHOLE = 0.93
"""Two brains whose volumes have at least this ratio are not cut."""

LEAST_COVERED = 0.25
"""Share of the points that must lie in the other field."""


@dataclass(frozen=True)
class Fit:
    """How well two scans fit.

    Attributes:
        similarity: normalised mutual information in [0, 1] in and near the brain: 2·I / (H + H').
        overlap: Dice of the two brains in and near the fixed one, in the common field, in [0, 1].
        covered: share of the fixed brain that lies in the moving field.
    """

    similarity: float
    overlap: float
    covered: float


class Comparison:
    """Two scans, compared under any matrix."""

    def __init__(self, fixed: Level, moving: Level, known: bool) -> None:
        """Args: the scans on coarse grids, and whether the brain of ``moving`` is known."""
        where = np.flatnonzero(fixed.near)
        where = where[:: 1 + len(where) // POINTS]
        places = np.stack(np.unravel_index(where, fixed.near.shape), axis=-1)
        self._points = np.c_[places, np.ones(len(places))] @ fixed.image.affine.T
        self._values = _binned(fixed.image.data.ravel()[where])
        self._brain = fixed.brain.ravel()[where] > 0.5
        self._moving, self._known = moving, known
        self._range = float(moving.image.data.min()), float(moving.image.data.max())

    def fit(self, matrix: Matrix) -> Fit:
        """Under ``matrix`` (4×4, fixed → moving, mm)."""
        from scipy import ndimage

        image = self._moving.image
        places = (self._points @ (np.linalg.inv(image.affine) @ matrix).T)[:, :3].T
        limits = np.array(image.shape)[:, None] - 1
        inside = ((places >= 0) & (places <= limits)).all(axis=0)
        covered = float(inside[self._brain].mean()) if self._brain.any() else 0.0
        if inside.mean() < LEAST_COVERED:
            return Fit(0.0, 0.0, covered)
        places = places[:, inside]
        other = ndimage.map_coordinates(image.data, places, order=1, mode="nearest")
        similarity = _similarity(self._values[inside], _binned(other, self._range))
        if not self._known:
            return Fit(similarity, covered, covered)
        brain = ndimage.map_coordinates(self._moving.brain, places, order=1, mode="nearest") > 0.5
        mine = self._brain[inside]
        total = int(brain.sum()) + int(mine.sum())
        return Fit(similarity, 2 * int((brain & mine).sum()) / total if total else 0.0, covered)


def starts(middles: Iterable[tuple[str, Point, Point]]) -> Iterator[tuple[str, Matrix]]:
    """Names and matrices to try: the headers, and rotations about pairs of points.

    Args:
        middles: as of :func:`pairs_of_middles`.
    """
    from scipy.spatial.transform import Rotation

    yield "headers", np.eye(4)
    for (name, fixed, moving), turn in product(middles, product(TURNS_DEG, repeat=3)):
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
        matrix[:3, 3] = moving - matrix[:3, :3] @ fixed
        turned = "/".join(f"{angle:g}°" for angle in turn)
        yield (f"{name}, turned by {turned}" if any(turn) else name), matrix


def pairs_of_middles(fixed: Level, moving: Level) -> Iterator[tuple[str, Point, Point]]:
    """Points (mm) that should fall onto each other: the centroids of the brains.

    Where one brain is smaller, its field may be cut: the centroid of all of it is also paired with
    those of as large an upper and a lower part of the other.
    """
    brains = [_points(level) for level in (fixed, moving)]
    volumes = [
        len(points) * level.image.voxel_ml
        for points, level in zip(brains, (fixed, moving), strict=True)
    ]
    yield "centroids", brains[0].mean(axis=0), brains[1].mean(axis=0)
    share = min(volumes) / max(volumes)
    if share > WHOLE:
        return
    larger = int(np.argmax(volumes))
    upwards = brains[larger][np.argsort(brains[larger][:, 2])]
    kept = max(1, int(share * len(upwards)))
    for name, part in (("upper", upwards[-kept:]), ("lower", upwards[:kept])):
        middles = [points.mean(axis=0) for points in brains]
        middles[larger] = part.mean(axis=0)
        yield f"centroids of the {name} part", middles[0], middles[1]


def _points(level: Level) -> NDArray[np.float64]:
    """Voxels of the brain, mm; of all the image where there is none."""
    where = np.argwhere(level.brain > 0.5)
    if not len(where):
        where = np.argwhere(level.brain >= 0)
    affine = level.image.affine
    placed: NDArray[np.float64] = where @ affine[:3, :3].T + affine[:3, 3]
    return placed


def _binned(
    values: NDArray[np.float32], ends: tuple[float, float] | None = None
) -> NDArray[np.intp]:
    low, high = ends or (float(values.min()), float(values.max()))
    scale = (BINS - 1e-3) / max(high - low, 1e-12)
    bins: NDArray[np.intp] = np.clip((values - low) * scale, 0, BINS - 1).astype(np.intp)
    return bins


def _similarity(one: NDArray[np.intp], other: NDArray[np.intp]) -> float:
    joint = np.bincount(one * BINS + other, minlength=BINS * BINS).reshape(BINS, BINS)
    share = joint / joint.sum()
    mine, yours = _entropy(share.sum(axis=1)), _entropy(share.sum(axis=0))
    both = _entropy(share.ravel())
    return 2 * (mine + yours - both) / (mine + yours) if mine + yours > 0 else 0.0


def _entropy(shares: NDArray[np.float64]) -> float:
    filled = shares[shares > 0]
    return float(-(filled * np.log(filled)).sum())
