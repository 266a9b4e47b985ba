"""Outlines enclose the pixels of a mask, all of them and no other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

from gliodistill.dicom.contours import area, contours


def filled(lines: list[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.int64]:
    """How many of the contours enclose the centre of each pixel, by matplotlib."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centres = np.column_stack([columns.ravel(), rows.ravel()])
    count = np.zeros(shape, dtype=int)
    for line in lines:
        count += Polygon(np.vstack([line, line[:1]])).contains_points(centres).reshape(shape)
    return count


@settings(deadline=None, max_examples=150)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.booleans()))
def test_any_mask_is_enclosed_exactly(mask: NDArray[np.bool_]) -> None:
    lines = contours(mask)
    assert (filled(lines, mask.shape) == mask).all()
    assert sum(map(area, lines)) == mask.sum()


def test_a_hole_is_reached_by_a_channel_and_an_island_in_it_is_a_contour_of_its_own() -> None:
    mask = np.zeros((11, 11), dtype=bool)
    mask[1:10, 1:10] = True
    mask[3:8, 3:8] = False
    mask[5, 5] = True
    lines = contours(mask)
    assert len(lines) == 2
    assert sorted(map(area, lines)) == [1, 56]
    assert (filled(lines, mask.shape) == mask).all()


def test_two_holes_in_a_row_and_a_hole_in_an_island() -> None:
    mask = np.ones((15, 25), dtype=bool)
    mask[2:13, 2:13] = False
    mask[4:11, 4:11] = True
    mask[6:9, 6:9] = False
    mask[5:8, 15:18] = mask[5:8, 20:22] = False
    lines = contours(mask)
    assert len(lines) == 2
    assert (filled(lines, mask.shape) == mask).all()


def test_straight_sides_have_no_points_between() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:10, 8:20] = True
    (line,) = contours(mask)
    assert sorted(map(tuple, line)) == [(7.5, 4.5), (7.5, 9.5), (19.5, 4.5), (19.5, 9.5)]


@pytest.mark.parametrize("shape", [(1, 1), (3, 4)])
def test_nothing_has_no_outline(shape: tuple[int, int]) -> None:
    assert contours(np.zeros(shape)) == []
