"""Separable linear resampling between two grids that share axes: a few weighted voxels per axis.

Down-sampling widens the triangle to the coarse voxel, which is linear interpolation and
anti-aliasing in one. Every value is a sum of products in a fixed order. It depends neither on the
number of threads, nor on the matrix library, nor on the memory layout, so that training and
inference are bit-identical.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def axis_matrix(
    source: int, target: int, factor: float, offset: float = 0.0
) -> NDArray[np.float32]:
    """Weights (target × source, float32, rows sum to 1) of a linear resampling along one axis.

    Args:
        source: number of source voxels.
        target: number of target voxels.
        factor: target voxel size in source voxels.
        offset: position of the lower *edge* of the first target voxel, in source voxels from the
            lower edge of the first.

    Target voxel i is centred at ``offset + (i + ½)·factor − ½`` in source indices. Positions beyond
    the last source voxel have its value.
    """
    centres = offset + (np.arange(target) + 0.5) * factor - 0.5
    width = max(1.0, factor)
    inside = np.clip(centres, 0, source - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(inside[:, None] - np.arange(source)[None]) / width)
    normed: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normed


BLOCK = 1 << 18
"""Voxels summed at once: few enough to stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Taps:
    """The non-zero part of an axis matrix: T targets, each from K consecutive neighbours.

    Attributes:
        first: first neighbour of each target (T, non-decreasing).
        weights: of the neighbours (K × T, float32).
        identity: whether they leave the axis unchanged.
    """

    first: NDArray[np.intp]
    weights: NDArray[np.float32]
    identity: bool = False

    @classmethod
    def of(cls, matrix: NDArray[np.float32]) -> "Taps":
        """From a matrix of :func:`axis_matrix` (T × S)."""
        filled, source = matrix != 0, matrix.shape[1]
        first, last = filled.argmax(axis=1), source - 1 - filled[:, ::-1].argmax(axis=1)
        width = int((last - first).max()) + 1
        first = np.minimum(first, source - width)
        columns = first[:, None] + np.arange(width)
        identity = len(matrix) == source and np.array_equal(
            matrix, np.eye(source, dtype=np.float32)
        )
        return cls(
            first, np.ascontiguousarray(np.take_along_axis(matrix, columns, axis=1).T), identity
        )

    @property
    def last(self) -> NDArray[np.intp]:
        """Last neighbour of each target (T, non-decreasing)."""
        return self.first + len(self.weights) - 1

    def part(self, targets: slice, offset: int = 0) -> "Taps":
        """A part of the targets, for a source without its first ``offset`` voxels."""
        return Taps(self.first[targets] - offset, self.weights[:, targets])

    def touched(self, sources: slice) -> slice:
        """The targets that any of these source voxels has a share in."""
        return slice(
            int(np.searchsorted(self.last, sources.start)),
            int(np.searchsorted(self.first, sources.stop - 1, side="right")),
        )

    def apply(self, image: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Resample one axis (of S) of an image of any memory order; the result (T along it) keeps
        that order.
        """
        axis %= image.ndim
        order = sorted(range(image.ndim), key=lambda a: -abs(image.strides[a]))
        lying = np.ascontiguousarray(image.transpose(order))
        place = order.index(axis)
        result = np.empty(
            [*lying.shape[:place], len(self.first), *lying.shape[place + 1 :]], dtype=np.float32
        )
        rows = max(1, BLOCK // result[0].size)
        for start in range(0, len(result), rows):
            part = slice(start, start + rows)
            taps, source = (self.part(part), lying) if place == 0 else (self, lying[part])
            taps._sum(source, place, result[part])
        return result.transpose(np.argsort(order))

    def _sum(self, source: NDArray[np.float32], axis: int, result: NDArray[np.float32]) -> None:
        """Σ weight · neighbour along an axis, in order of the neighbours."""
        weights = self.weights.reshape(*self.weights.shape, *[1] * (source.ndim - 1 - axis))
        for step, weight in enumerate(weights):
            share = np.take(source, self.first + step, axis=axis)
            if step == 0:
                np.multiply(share, weight, out=result)
            else:
                share *= weight
                result += share


def resample(image: NDArray[Any], matrices: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
    """Apply one matrix per axis to the last three axes of ``image`` (… X Y Z) → float32 (… X' Y'
    Z').
    """
    return resample_by(image, tuple(Taps.of(matrix) for matrix in matrices))


def resample_by(image: NDArray[Any], taps: tuple[Taps, ...]) -> NDArray[np.float32]:
    """As :func:`resample`, with matrices given as bands; Z first, then Y, then X."""
    result = np.asarray(image, dtype=np.float32)
    for axis, along in zip((-1, -2, -3), reversed(taps), strict=True):
        if not along.identity:
            result = along.apply(result, axis)
    return result
