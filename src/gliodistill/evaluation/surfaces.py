"""Surfaces of masks, the exact distances between them, and what is read off those: HD95 and surface Dice.

Three conventions are in use, and they differ by up to a voxel: MONAI's and MedPy's surface is the mask's outermost voxels
(:meth:`Surface.voxels`); DeepMind's is patches between the voxels, each with its area (:meth:`Surface.patches`).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Distances = NDArray[np.float64]

# Nikolov et al. 2018 (arXiv 1809.04430): for each way in which the 8 voxels around a corner can be in or out of a mask, the
# triangles of marching cubes, as the absolute components of their normals in eighths; a normal's length is the area. The 256
# ways are 14 up to rotation, mirroring and exchange of in and out.
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
    """Where a mask ends.

    Attributes:
        points: int32 on N 3, indices along X, Y, Z: of voxels, or of corners between them (corner i lies before voxel i).
        weights: float64 on N, how much of the surface each stands for (area in mm²), or None: all the same.
    """

    points: NDArray[np.int32]
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, chosen: NDArray[Any]) -> "Surface":
        """The part that ``chosen`` (bool on N, or indices) names."""
        return Surface(self.points[chosen], None if self.weights is None else self.weights[chosen])

    @classmethod
    def voxels(cls, mask: NDArray[np.bool_]) -> "Surface":
        """The voxels of a mask with a face neighbour outside it; beyond the array is outside.

        Args:
            mask: bool on X Y Z.
        """
        inside = np.zeros_like(mask)
        core = mask[1:-1, 1:-1, 1:-1].copy()
        for axis in range(3):
            for step in (0, 2):
                window = [slice(1, -1)] * 3
                window[axis] = slice(step, mask.shape[axis] - 2 + step)
                core &= mask[tuple(window)]
        inside[1:-1, 1:-1, 1:-1] = core
        return cls(_indices(mask & ~inside))

    @classmethod
    def patches(cls, mask: NDArray[np.bool_], spacing: Sequence[float]) -> "Surface":
        """The corners between voxels where the mask ends, each with the area of its patch in mm² (Nikolov et al. 2018).

        Args:
            mask: bool on X Y Z.
            spacing: voxel size along X, Y, Z in mm.
        """
        # The 8 voxels around a corner as 8 bits, the first voxel along each axis the highest: two, four, eight at a time.
        bits = np.pad(mask, 1).view(np.uint8)
        bits = 2 * bits[:, :, :-1] + bits[:, :, 1:]
        bits = 4 * bits[:, :-1] + bits[:, 1:]
        bits = 16 * bits[:-1] + bits[1:]
        corners = (bits != 0) & (bits != 255)
        return cls(_indices(corners), _patch_areas(*map(float, spacing))[bits[corners]])

    def labels(self, components: NDArray[Any]) -> NDArray[Any]:
        """Which component each point belongs to; the surface must be that of ``components > 0``.

        Args:
            components: integers on X Y Z, components no two of which share a corner (of patches) or a face (of voxels).

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


def surface_distances(first: Surface, second: Surface, spacing: Sequence[float]) -> tuple[Distances, Distances]:
    """From each point of one surface to the nearest of the other, in mm, both ways; exact.

    Args:
        first: not empty.
        second: not empty.
        spacing: voxel size along X, Y, Z in mm.
    """
    return _nearest(first.points, second.points, spacing), _nearest(second.points, first.points, spacing)


def hd95_of_worse_direction(forth: Distances, back: Distances) -> float:
    """The larger of the two 95th percentiles, linear between samples (MONAI)."""
    return float(max(np.percentile(forth, 95), np.percentile(back, 95)))


def hd95_of_both_directions(forth: Distances, back: Distances) -> float:
    """The 95th percentile of both directions pooled, linear between samples (MedPy, panoptica)."""
    return float(np.percentile(np.concatenate((forth, back)), 95))


def hd95_by_area(forth: Distances, first: Surface, back: Distances, second: Surface) -> float:
    """The larger of the two distances within which 95 % of a surface's area lies (Nikolov et al. 2018)."""
    return max(_percentile_by_area(forth, first), _percentile_by_area(back, second))


def _percentile_by_area(distances: Distances, surface: Surface) -> float:
    assert surface.weights is not None
    # Order and arithmetic of the published code: where a share is 95 % to the last bit, rounding decides.
    order = np.lexsort((surface.weights, distances))
    areas = surface.weights[order]
    share = np.cumsum(areas) / np.sum(areas)
    return float(distances[order[min(int(np.searchsorted(share, 0.95)), len(order) - 1)]])


def surface_dice(forth: Distances, first: Surface, back: Distances, second: Surface, tolerance_mm: float) -> float:
    """Share of both surfaces, together, that lies within a tolerance of the other, 0 … 1 (Nikolov et al. 2018).

    By area where the surfaces have one, else by number of voxels (MONAI).
    """
    if first.weights is None or second.weights is None:
        return float((np.count_nonzero(forth <= tolerance_mm) + np.count_nonzero(back <= tolerance_mm)) / (len(forth) + len(back)))
    near = first.weights[forth <= tolerance_mm].sum() + second.weights[back <= tolerance_mm].sum()
    return float(near / (first.weights.sum() + second.weights.sum()))


def _indices(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.stack(np.unravel_index(np.flatnonzero(mask), mask.shape), axis=1).astype(np.int32)


def _nearest(origins: NDArray[np.int32], targets: NDArray[np.int32], spacing: Sequence[float]) -> Distances:
    # A k-d tree over surface points is as exact as a distance transform of the box, and needs no map of it.
    from scipy.spatial import KDTree

    step = np.asarray(spacing, dtype=np.float64)
    _, nearest = KDTree(targets * step, leafsize=32).query(origins * step)
    # Anew from whole steps, as a distance transform has it: equal distances are then equal to the last bit.
    difference = (origins - targets[nearest]) * step
    distances: Distances = np.sqrt((difference * difference).sum(axis=1))
    return distances


@lru_cache(maxsize=64)
def _patch_areas(*spacing: float) -> NDArray[np.float64]:
    """mm² of the patch at a corner, for each of the 256 ways in which its 8 voxels can be in or out."""
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
