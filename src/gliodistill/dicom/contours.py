"""Outlines of a mask on one slice, along the sides of its pixels.

Such an outline encloses the area of the mask exactly, and the pixels whose centres it encloses are
those of the mask. A hole is reached by a channel without width from the outline around it (the
"keyhole" of DICOM PS3.3 C.8.8.6.3), so that every contour is one closed line, whichever rule a
reader fills it by. An island in a hole is a contour of its own.
"""

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

Point = tuple[int, int]
"""A corner of a pixel: column, row."""
Loop = list[Point]
Side = tuple[Point, Point]

_RIGHT = {(1, 0): (0, 1), (0, 1): (-1, 0), (-1, 0): (0, -1), (0, -1): (1, 0)}
"""Direction → the one to its right; rows grow downwards."""
_SIDES = (
    ((-1, 0), (0, 0), (1, 0)),
    ((0, 1), (1, 0), (1, 1)),
    ((1, 0), (1, 1), (0, 1)),
    ((0, -1), (0, 1), (0, 0)),
)
"""The sides of a pixel, which lies to the right of each: the neighbour (row, column) behind it, its
start and its end (column, row)."""


def contours(mask: NDArray[Any]) -> list[NDArray[np.float64]]:
    """Closed lines around the pixels of ``mask``.

    Args:
        mask: rows × columns; what is not 0 is inside.

    Returns:
        the corners of each, N × 2 as (column, row) in pixels, where (0, 0) is the centre of the
        first pixel. The last corner joins the first.
    """
    loops = _loops(mask != 0)
    outlines = [loop for loop in loops if _doubled_area(loop) > 0]
    # From left to right: what lies to the left of a hole's leftmost corner is joined before it.
    for hole in sorted((loop for loop in loops if _doubled_area(loop) < 0), key=min):
        _join(outlines, hole)
    return [np.array(_corners(loop), dtype=np.float64) - 0.5 for loop in outlines]


def area(contour: NDArray[np.float64]) -> float:
    """What a contour encloses, in pixels."""
    return abs(_doubled_area(contour.tolist())) / 2.0


def _doubled_area(loop: list[Any]) -> float:
    """Positive of a line with the inside to its right."""
    following = [*loop[1:], loop[0]]
    return float(sum(x * b - a * y for (x, y), (a, b) in zip(loop, following, strict=True)))


def _loops(mask: NDArray[np.bool_]) -> list[Loop]:
    """Closed lines along all sides between inside and outside, inside to the right, with every
    corner of a pixel on the way.
    """
    padded = np.pad(mask, 1)
    rows, columns = mask.shape
    leaving: dict[Point, list[Side]] = defaultdict(list)
    for (down, right), start, end in _SIDES:
        neighbour = padded[1 + down : 1 + down + rows, 1 + right : 1 + right + columns]
        for row, column in np.argwhere(mask & ~neighbour).tolist():
            one = (column + start[0], row + start[1])
            leaving[one].append((one, (column + end[0], row + end[1])))
    left = dict.fromkeys(side for sides in leaving.values() for side in sides)
    loops = []
    while left:
        side, loop = next(iter(left)), []
        while side in left:
            del left[side]
            loop.append(side[0])
            side = _next(side, leaving[side[1]])
        loops.append(loop)
    return loops


def _next(side: Side, leaving: list[Side]) -> Side:
    """The side that a line takes after ``side``. Where two pixels meet at a corner it stays with
    its own.
    """
    if len(leaving) == 1:
        return leaving[0]
    (x, y), (column, row) = side
    right = _RIGHT[column - x, row - y]
    return (column, row), (column + right[0], row + right[1])


def _join(outlines: list[Loop], hole: Loop) -> None:
    """Put a hole into the outline around it, through a channel to the left of its leftmost
    corner.
    """
    first = hole.index(min(hole))
    column, row = hole[first]
    while column > 0:
        column -= 1
        for outline in outlines:
            if (column, row) in outline:
                at = outline.index((column, row))
                outline[at:at] = [(column, row), *hole[first:], *hole[: first + 1]]
                return


def _corners(loop: Loop) -> Loop:
    """The points where the line turns."""
    around = zip([loop[-1], *loop[:-1]], loop, [*loop[1:], loop[0]], strict=True)
    return [here for before, here, after in around if not _straight(before, here, after)]


def _straight(before: Point, here: Point, after: Point) -> bool:
    return here[0] - before[0] == after[0] - here[0] and here[1] - before[1] == after[1] - here[1]
