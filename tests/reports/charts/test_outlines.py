"""Outlines: exact boundaries, checked by area, length and an independent fill."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gliodistill.reports.charts.outlines import boundary_loops, outline_path

masks = arrays(
    bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), elements=st.booleans()
)


def points_of(path: str) -> list[list[tuple[int, int]]]:
    """Corners (x, y) of each closed loop, by reading the path's commands."""
    loops = []
    for part in path.split("z")[:-1]:
        start = re.match(r"M(-?\d+) (-?\d+)", part)
        assert start is not None
        x, y = int(start[1]), int(start[2])
        corners = [(x, y)]
        for command, value in re.findall(r"([hv])(-?\d+)", part):
            x, y = (x + int(value), y) if command == "h" else (x, y + int(value))
            corners.append((x, y))
        loops.append(corners)
    return loops


def filled(loops: list[list[tuple[int, int]]], shape: tuple[int, int]) -> np.ndarray:
    """Even-odd fill: a pixel is inside if a ray to the left crosses an odd number of vertical
    sides.
    """
    inside = np.zeros(shape, dtype=bool)
    for row, column in np.ndindex(shape):
        crossings = 0
        for corners in loops:
            for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
                crossings += x1 == x2 and x1 <= column and min(y1, y2) <= row < max(y1, y2)
        inside[row, column] = crossings % 2
    return inside


@settings(max_examples=150, deadline=None)
@given(masks)
def test_filling_the_path_gives_the_mask_back(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(filled(points_of(outline_path(mask)), mask.shape), mask)


@settings(max_examples=100, deadline=None)
@given(masks)
def test_length_is_the_number_of_exposed_pixel_sides(mask: np.ndarray) -> None:
    padded = np.pad(mask, 1).astype(int)
    exposed = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    assert sum(len(loop) for loop in boundary_loops(mask)) == exposed


def test_a_square_is_four_corners_and_nothing_is_nothing() -> None:
    mask = np.zeros((6, 7), bool)
    assert outline_path(mask) == ""
    mask[2:4, 3:6] = True
    assert outline_path(mask) == "M3 2h3v2h-3z"


def test_pixels_that_touch_by_a_corner_stay_apart() -> None:
    assert len(points_of(outline_path(np.eye(3, dtype=bool)))) == 3


def test_a_ring_has_two_outlines() -> None:
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    assert len(points_of(outline_path(mask))) == 2
