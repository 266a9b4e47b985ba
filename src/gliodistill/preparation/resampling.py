"""Separable linear resampling between two grids that share axes: one small matrix per axis.

Down-sampling widens the triangle to the coarse voxel, which is linear interpolation and anti-aliasing in one.
A product of dense matrices runs at the processor's matrix speed and treats up and down alike.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def axis_matrix(source: int, target: int, factor: float, offset: float = 0.0) -> NDArray[np.float32]:
    """Weights (target × source, float32, rows sum to 1) of a linear resampling along one axis.

    Args:
        source: number of voxels there are.
        target: number of voxels wanted.
        factor: target voxel size in source voxels.
        offset: position of the lower *edge* of the first target voxel, in source voxels from the lower edge of the first.

    Target voxel i is centred at ``offset + (i + ½)·factor − ½`` in source indices. Positions beyond the last
    source voxel take its value.
    """
    centres = offset + (np.arange(target) + 0.5) * factor - 0.5
    width = max(1.0, factor)
    inside = np.clip(centres, 0, source - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(inside[:, None] - np.arange(source)[None]) / width)
    normed: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normed


def resample(image: NDArray[Any], matrices: tuple[NDArray[np.float32], ...]) -> NDArray[np.float32]:
    """Apply one matrix per axis to the last three axes of ``image`` (… X Y Z) → float32 (… X' Y' Z')."""
    result = np.asarray(image, dtype=np.float32)
    for axis, matrix in zip((-3, -2, -1), matrices, strict=True):
        if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix), dtype=np.float32)):
            continue
        result = np.moveaxis(np.tensordot(matrix, result, axes=(1, result.ndim + axis)), 0, axis)
    return np.ascontiguousarray(result)
