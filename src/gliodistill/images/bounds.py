"""Boxes: where an array is not empty, and parts of grids.

Most of a head scan without its skull is exact zeros, which need no work.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]
"""A part of a grid, voxels along X, Y, Z; start and stop are set, there is no step."""


def filled_box(voxels: NDArray[Any]) -> Box | None:
    """The smallest box (X Y Z, any real dtype, any memory order) with all non-zero voxels; None if
    there are none.
    """
    if all(np.moveaxis(voxels, axis, 0)[end].any() for axis in range(3) for end in (0, -1)):
        return whole((voxels.shape[0], voxels.shape[1], voxels.shape[2]))  # cropped before
    order = sorted(range(3), key=lambda axis: -abs(voxels.strides[axis]))
    outer, middle, inner = order
    planes = _bits(voxels).transpose(order)
    ends = _ends(planes)
    if ends is None:
        return None
    first, last = ends
    # One pass over non-empty planes: OR is as fast as memory.
    shadow = np.bitwise_or.reduce(planes[first : last + 1], axis=0)
    box = [slice(0)] * 3
    box[outer] = slice(first, last + 1)
    box[middle], box[inner] = extent(shadow, 0), extent(shadow, 1)
    return box[0], box[1], box[2]


def extent(voxels: NDArray[Any], axis: int) -> slice:
    """From the first to the last place along ``axis`` where an array (any axes) is not 0; all of it
    where it is 0 everywhere.
    """
    others = tuple(other for other in range(voxels.ndim) if other != axis)
    filled = np.flatnonzero(voxels.any(axis=others))
    return (
        slice(int(filled[0]), int(filled[-1]) + 1) if filled.size else slice(0, voxels.shape[axis])
    )


def whole(shape: tuple[int, ...]) -> Box:
    """All of a grid of ``shape``."""
    x, y, z = (slice(0, length) for length in shape)
    return x, y, z


def grown(box: Box, margins: Iterable[int], shape: tuple[int, ...]) -> Box:
    """A box grown by so many voxels at either end of each axis, cut off at the ends of the grid."""
    x, y, z = (
        slice(max(0, side.start - margin), min(length, side.stop + margin))
        for side, margin, length in zip(box, margins, shape, strict=True)
    )
    return x, y, z


def on_grid(box: Box, shape: tuple[int, ...]) -> tuple[Box, Box]:
    """The part of a box on a grid of ``shape`` (X Y Z): as slices of the grid and of the box."""
    taken, put = [], []
    for side, length in zip(box, shape, strict=True):
        first, last = max(side.start, 0), min(side.stop, length)
        taken.append(slice(first, last))
        put.append(slice(first - side.start, last - side.start))
    return (taken[0], taken[1], taken[2]), (put[0], put[1], put[2])


def union(boxes: list[Box]) -> Box:
    """The smallest box around one or more boxes."""
    x, y, z = (
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*boxes, strict=True)
    )
    return x, y, z


def cut_out(image: NDArray[Any], box: Box, start: Iterable[int] = (0, 0, 0)) -> NDArray[np.float32]:
    """A new array of the content of ``box`` of an image that begins at voxel ``start``; 0 outside
    the image.

    It has the image's memory order, because reordering would be slow.
    """
    order = sorted(range(3), key=lambda axis: -abs(image.strides[axis]))
    result = np.zeros(
        [box[axis].stop - box[axis].start for axis in order], dtype=np.float32
    ).transpose(np.argsort(order))
    x, y, z = (
        slice(side.start - first, side.stop - first) for side, first in zip(box, start, strict=True)
    )
    place, part = on_grid((x, y, z), image.shape)
    result[part] = image[place]
    return result


def _ends(planes: NDArray[Any]) -> tuple[int, int] | None:
    """First and last plane along the first axis that is not all 0."""
    first = next((index for index in range(len(planes)) if planes[index].any()), None)
    if first is None:
        return None
    return first, next(index for index in range(len(planes) - 1, -1, -1) if planes[index].any())


def _bits(voxels: NDArray[Any]) -> NDArray[Any]:
    """The voxels as integers that are 0 exactly for voxels of 0 (for floats: +0 and −0)."""
    if voxels.dtype.kind in "iub":
        return voxels
    filled: NDArray[Any]
    if voxels.dtype.isnative:
        bits = voxels.view(f"u{voxels.dtype.itemsize}")
        filled = bits << np.ones((), bits.dtype)
    else:
        filled = voxels != 0
    return filled
