"""Smooth random fields, independent of voxel size: the same at 1 mm and at 3 mm."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.bounds import Box

FIELD_MM = (240.0, 240.0, 155.0)
"""Extent of the BraTS field of view."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel centres of a regular grid on the field of view, in mm along X Y Z (RAS+, 0 at the first
    1-mm voxel centre).

    Attributes:
        axes: three increasing float64 coordinate vectors, in mm.
        spacing: voxel size in mm.
    """

    axes: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    spacing: float

    @classmethod
    def field(cls, spacing: float) -> "Grid":
        """The whole field of view, 240×240×155 voxels at 1 mm."""
        x, y, z = (
            (np.arange(max(1, round(extent / spacing)), dtype=np.float64) + 0.5) * spacing - 0.5
            for extent in FIELD_MM
        )
        return cls((x, y, z), spacing)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        x, y, z = (len(axis) for axis in self.axes)
        return x, y, z

    def crop(self, box: Box) -> "Grid":
        """The voxels in ``box``."""
        x, y, z = (axis[side] for axis, side in zip(self.axes, box, strict=True))
        return Grid((x, y, z), self.spacing)

    def box_around(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Box:
        """The voxels between two corners in mm (at least one voxel along each axis)."""
        sides = []
        for axis, a, b in zip(self.axes, low, high, strict=True):
            start = min(int(np.searchsorted(axis, a)), len(axis) - 1)
            sides.append(slice(start, max(start + 1, int(np.searchsorted(axis, b, side="right")))))
        return sides[0], sides[1], sides[2]


def smooth_noise(seed: int, length_mm: float, grid: Grid) -> NDArray[np.float32]:
    """Gaussian noise with zero mean, unit variance and a correlation length of about ``length_mm``,
    on X Y Z.

    White noise on knots ``length_mm`` apart, spread by cubic B-splines: cheap at any resolution,
    and without BLAS, whose sums may depend on the number of threads.
    """
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(
        [int(np.ceil(extent / length_mm)) + 6 for extent in FIELD_MM], dtype=np.float32
    )
    for axis in (2, 1, 0):
        position = np.clip(grid.axes[axis] / length_mm + 2, 1, values.shape[axis] - 3)
        base = np.floor(position).astype(np.intp)
        t = (position - base).astype(np.float32)
        weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
        values = _spread(
            values, axis, base - 1, [(weight / 6).astype(np.float32) for weight in weights]
        )
    # 151/315 is the mean of the sum of the squared weights, per axis.
    return values * np.float32((151 / 315) ** -1.5)


def resample(values: NDArray[np.float32], source: Grid, target: Grid) -> NDArray[np.float32]:
    """Trilinear interpolation from one grid to another, X Y Z to X Y Z; the border value continues
    outside.
    """
    for axis in (2, 1, 0):
        start, size = source.axes[axis][0], values.shape[axis]
        position = np.clip((target.axes[axis] - start) / source.spacing, 0, size - 1)
        base = np.minimum(np.floor(position).astype(np.intp), max(size - 2, 0))
        t = (position - base).astype(np.float32)
        values = _spread(values, axis, base, [1 - t, t] if size > 1 else [np.ones_like(t)])
    return values


def _spread(
    values: NDArray[np.float32],
    axis: int,
    base: NDArray[np.intp],
    weights: list[NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Sum over k of ``weights[k]`` times the slices ``base + k`` along ``axis``."""
    shape = [1, 1, 1]
    shape[axis] = len(base)
    total = values.take(base, axis) * weights[0].reshape(shape)
    for k, weight in enumerate(weights[1:], start=1):
        total += values.take(base + k, axis) * weight.reshape(shape)
    return total
