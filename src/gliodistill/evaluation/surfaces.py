"""Surfaces of masks and the exact distances between them, for HD95 and surface Dice.

Two kinds of surface are in use, and their distances differ by up to a voxel: the mask's outermost
voxels (MONAI, MedPy, panoptica: :meth:`Surface.voxels`), or patches between the voxels, each with
its area (DeepMind's surface-distance: :meth:`Surface.patches`).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Distances = NDArray[np.float64]

# Nikolov et al. 2018 (arXiv 1809.04430): for each way in which the 8 voxels around a corner can be
# in or out of a mask, the triangles of marching cubes, as the absolute components of their normals
# in eighths; a normal's length is the area. The 256 ways are 14 up to rotation, mirroring and
# exchange of in and out.
_TRIANGLES: dict[int, tuple[tuple[int, int, int], ...]] = {
    0b00000001: ((1, 1, 1),),
    0b00000011: ((2, 2, 0), (2, 2, 0)),
    0b00000110: ((1, 1, 1), (1, 1, 1)),
    0b00000111: ((1, 1, 1), (2, 2, 2), (4, 0, 0)),
    0b00001111: ((4, 0, 0), (4, 0, 0)),
    0b00010110: ((1, 1, 1), (1, 1, 1), (1, 1, 1)),
    0b00010111: ((1, 1, 1), (1, 1, 1), (2, 2, 2), (2, 2, 2)),
    0b00011000: ((1, 1, 1), (1, 1, 1)),
    0b00011001: ((0, 2, 2), (0, 2, 2), (1, 1, 1)),
    0b00011011: ((0, 2, 2), (1, 1, 1), (2, 0, 2), (3, 3, 3)),
    0b00011110: ((1, 1, 1), (1, 1, 1), (2, 2, 2), (4, 0, 0)),
    0b00111100: ((2, 2, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0)),
    0b01101001: ((1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
}


@dataclass(frozen=True)
class Surface:
    """The surface of a mask.

    Attributes:
        points: int32 on N 3, indices along X, Y, Z: of voxels, or of corners between them (corner i
            lies before voxel i).
        weights: float64 on N, the area in mm² of each, or None if all are equal.
    """

    points: NDArray[np.int32]
    weights: NDArray[np.float64] | None = None

    def __getitem__(self, chosen: NDArray[np.bool_]) -> "Surface":
        """The ``chosen`` part (bool on N)."""
        return Surface(self.points[chosen], None if self.weights is None else self.weights[chosen])

    def amount(self, chosen: NDArray[np.bool_] | slice = slice(None)) -> float:
        """Area in mm², or number of voxels, of all or of the ``chosen`` part."""
        return float(
            len(self.points[chosen]) if self.weights is None else self.weights[chosen].sum()
        )

    @classmethod
    def voxels(cls, mask: NDArray[np.bool_]) -> "Surface":
        """The voxels of a mask with a face neighbour outside it; beyond the array is outside.

        Args:
            mask: bool on X Y Z.
        """
        # In flattened voxels a neighbour is a fixed step away; the border of zeros is the outside.
        padded = np.pad(np.ascontiguousarray(mask), 1)
        row = padded.ravel()
        inside = row.copy()
        for step in padded.strides:
            inside[step:] &= row[:-step]
            inside[:-step] &= row[step:]
        return cls(_indices(row & ~inside, padded.shape) - 1)

    @classmethod
    def patches(cls, mask: NDArray[np.bool_], spacing: Sequence[float]) -> "Surface":
        """The corners between voxels on the surface, each with the area of its patch in mm²
        (Nikolov et al. 2018).

        Args:
            mask: bool on X Y Z.
            spacing: voxel size along X, Y, Z in mm.
        """
        # The 8 voxels around a corner as 8 bits, the first voxel along each axis the highest: two,
        # four, eight at a time.
        padded = np.pad(np.ascontiguousarray(mask), 1)
        bits: NDArray[np.uint8] = padded.view(np.uint8).ravel()
        for shift, step in zip((1, 2, 4), reversed(padded.strides), strict=True):
            first = bits << np.uint8(shift)
            first[:-step] |= bits[step:]
            bits = first
        corners = (bits != 0) & (bits != 255)
        return cls(
            _indices(corners, padded.shape), _patch_areas(*map(float, spacing))[bits[corners]]
        )

    def labels(self, components: NDArray[Any]) -> NDArray[Any]:
        """Which component each point belongs to; the surface must be that of ``components > 0``.

        Args:
            components: integers on X Y Z, components no two of which share a corner (of patches) or
                a face (of voxels).

        Returns:
            the labels, N.
        """
        if self.weights is None:
            here: NDArray[Any] = components[tuple(self.points.T)]
            return here
        padded = np.pad(components, 1)
        x, y, z = self.points.T
        around = [padded[x + i, y + j, z + k] for i, j, k in itertools.product((0, 1), repeat=3)]
        highest: NDArray[Any] = np.maximum.reduce(around)
        return highest


@dataclass(frozen=True)
class SurfaceDistances:
    """Exact distances in mm from each point of one surface to the nearest of another, in both
    directions.

    Attributes:
        first, second: not empty.
        spacing: voxel size along X, Y, Z in mm.
        forth, back: float64, for each point of first (second) the distance to second (first).
        forth_nearest, back_nearest: for each point of first (second) which of second (first) is the
            nearest.
    """

    first: Surface
    second: Surface
    spacing: Sequence[float]
    forth: Distances
    back: Distances
    forth_nearest: NDArray[np.intp]
    back_nearest: NDArray[np.intp]

    @classmethod
    def of(cls, first: Surface, second: Surface, spacing: Sequence[float]) -> "SurfaceDistances":
        """Compute the distances; see the class for the arguments."""
        forth, forth_nearest = _nearest(first.points, second.points, spacing)
        back, back_nearest = _nearest(second.points, first.points, spacing)
        return cls(first, second, spacing, forth, back, forth_nearest, back_nearest)

    def between(self, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> "SurfaceDistances":
        """The distances between parts of the two surfaces; computed only for points whose nearest
        point is not in its part.

        Args:
            first: bool on N, which points of the first surface.
            second: the same of the second.
        """
        if first.all() and second.all():
            return self
        a, b = self.first[first], self.second[second]
        forth, forth_nearest = _among(
            self.forth[first], self.forth_nearest[first], a, b, second, self.spacing
        )
        back, back_nearest = _among(
            self.back[second], self.back_nearest[second], b, a, first, self.spacing
        )
        return SurfaceDistances(a, b, self.spacing, forth, back, forth_nearest, back_nearest)

    def hd95_of_worse_direction(self) -> float:
        """The larger of the two directions' 95th percentiles, linear between samples, in mm.

        Of surfaces of voxels this is MONAI's ``compute_hausdorff_distance(percentile=95)``. What
        pools both directions before the percentile (MedPy's ``hd95``) gives other, mostly smaller,
        numbers.
        """
        return float(max(np.percentile(self.forth, 95), np.percentile(self.back, 95)))

    def hd95_of_both_directions(self) -> float:
        """The 95th percentile of both directions pooled, linear between samples, in mm (MedPy,
        panoptica).
        """
        return float(np.percentile(np.concatenate((self.forth, self.back)), 95))

    def hd95_by_area(self) -> float:
        """The larger of the two distances within which 95 % of a surface's area lies, in mm
        (Nikolov et al. 2018).
        """
        return max(
            _percentile_by_area(self.forth, self.first), _percentile_by_area(self.back, self.second)
        )

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces, together, that lies within a tolerance of the other, 0 … 1
        (Nikolov et al. 2018).

        By area if the surfaces have one, else by number of voxels (MONAI).
        """
        near = self.first.amount(self.forth <= tolerance_mm) + self.second.amount(
            self.back <= tolerance_mm
        )
        return float(near / (self.first.amount() + self.second.amount()))

    def surface_dice_of_directions(self, tolerance_mm: float) -> float:
        """Mean of the two shares of a surface that lie within a tolerance of the other, 0 … 1
        (GaNDLF, panoptica).
        """
        return float(
            np.mean([np.mean(self.forth <= tolerance_mm), np.mean(self.back <= tolerance_mm)])
        )


def _percentile_by_area(distances: Distances, surface: Surface) -> float:
    assert surface.weights is not None
    # Order and arithmetic of the published code, because rounding decides if a share is exactly 95
    # %.
    order = np.lexsort((surface.weights, distances))
    areas = surface.weights[order]
    share = np.cumsum(areas) / np.sum(areas)
    return float(distances[order[min(int(np.searchsorted(share, 0.95)), len(order) - 1)]])


def _indices(row: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Indices on X Y Z of the true voxels of a flattened mask."""
    return np.stack(np.unravel_index(np.flatnonzero(row), shape), axis=1).astype(np.int32)


def _nearest(
    origins: NDArray[np.int32], targets: NDArray[np.int32], spacing: Sequence[float]
) -> tuple[Distances, NDArray[np.intp]]:
    # A k-d tree over surface points is as exact as a distance transform, without a map of the box.
    from scipy.spatial import KDTree

    step = np.asarray(spacing, dtype=np.float64)
    # Boxes that are halved in space are built and searched in half the time of those that halve the
    # points.
    _, nearest = KDTree(
        targets * step, leafsize=32, balanced_tree=False, compact_nodes=False
    ).query(origins * step)
    # Recomputed from integer steps, as in a distance transform, so that equal distances are
    # bit-equal.
    difference = (origins - targets[nearest]) * step
    return np.sqrt((difference * difference).sum(axis=1)), nearest


def _among(
    distances: Distances,
    nearest: NDArray[np.intp],
    origins: Surface,
    targets: Surface,
    kept: NDArray[np.bool_],
    spacing: Sequence[float],
) -> tuple[Distances, NDArray[np.intp]]:
    """Distances of ``origins`` to ``targets``, the ``kept`` part of the indices ``nearest``."""
    renumbered = np.cumsum(kept) - 1
    lost = ~kept[nearest]
    distances, nearest = distances.copy(), renumbered[nearest]
    if lost.any():
        distances[lost], nearest[lost] = _nearest(origins.points[lost], targets.points, spacing)
    return distances, nearest


@lru_cache(maxsize=64)
def _patch_areas(*spacing: float) -> NDArray[np.float64]:
    """mm² of the patch at a corner, for each of the 256 ways in which its 8 voxels can be in or
    out.
    """
    x, y, z = spacing
    scale = np.array([y * z, x * z, x * y])
    areas = np.zeros(256)
    for way, triangles in _TRIANGLES.items():
        cube = np.unpackbits(np.array([way], dtype=np.uint8)).reshape(2, 2, 2)
        normals = np.array(triangles) / 8.0
        for axes in itertools.permutations(range(3)):
            area = float(np.sqrt(((normals[:, axes] * scale) ** 2).sum(axis=1)).sum())
            for flips in itertools.product((1, -1), repeat=3):
                turned = cube.transpose(axes)[:: flips[0], :: flips[1], :: flips[2]]
                for bits in (turned, 1 - turned):
                    areas[int(np.packbits(bits.ravel())[0])] = area
    return areas
