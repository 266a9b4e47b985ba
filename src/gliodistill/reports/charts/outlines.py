"""The exact boundary of a mask as an SVG path along voxel edges, without smoothing."""

from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def outline_path(mask: NDArray[np.bool_]) -> str:
    """SVG path data around a mask, bool on rows × columns; one unit is one pixel, (0, 0) the top
    left corner.

    Boundaries run with the mask on their right hand; pixels that touch only at a corner have
    separate boundaries. An empty mask has an empty path.
    """
    path = []
    for loop in boundary_loops(mask):
        corners = _corners(loop)
        steps = [f"M{corners[0][1]} {corners[0][0]}"]
        for (row, column), (next_row, next_column) in pairwise(corners):
            steps.append(f"h{next_column - column}" if row == next_row else f"v{next_row - row}")
        path.append("".join(steps) + "z")
    return "".join(path)


def boundary_loops(mask: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """Closed loops of unit steps between pixel corners, (row, column) each, the first not repeated
    at the end.
    """
    padded = np.pad(mask.astype(bool), 1)
    centre = padded[1:-1, 1:-1]
    # One directed edge for each side of a pixel that has no neighbour there (rows grow downwards).
    sides = (
        (~padded[:-2, 1:-1], (0, 0), (0, 1)),  # above: to the right
        (~padded[1:-1, 2:], (0, 1), (1, 1)),  # right: down
        (~padded[2:, 1:-1], (1, 1), (1, 0)),  # below: to the left
        (~padded[1:-1, :-2], (1, 0), (0, 0)),  # left: up
    )
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for outside, start, end in sides:
        for row, column in np.argwhere(centre & outside).tolist():
            following.setdefault((row + start[0], column + start[1]), []).append(
                (row + end[0], column + end[1])
            )
    loops = []
    for start in sorted(following):
        while following.get(start):
            loop, here = [start], following[start].pop(0)
            while here != start:
                before = loop[-1]
                loop.append(here)
                # At a corner shared by two pixels, turning right follows the same pixel.
                ahead = max(following[here], key=partial(_turn, before, here))
                following[here].remove(ahead)
                here = ahead
            loops.append(loop)
    return loops


def _turn(before: tuple[int, int], here: tuple[int, int], ahead: tuple[int, int]) -> int:
    """1 for a right turn, 0 straight on, −1 left, in pictures whose rows grow downwards."""
    return (here[1] - before[1]) * (ahead[0] - here[0]) - (here[0] - before[0]) * (
        ahead[1] - here[1]
    )


def _corners(loop: list[tuple[int, int]]) -> list[tuple[int, int]]:
    around = zip([loop[-1], *loop[:-1]], loop, [*loop[1:], loop[0]], strict=True)
    return [here for before, here, ahead in around if _turn(before, here, ahead) != 0]
