"""Diameters and volumes of shapes whose sizes are known."""

import numpy as np
import pytest

from gliodistill.dicom.measure import diameters, size
from gliodistill.images.volume import Volume

pytest.importorskip("pydicom", reason="the extra 'clinical' is not installed")
from dicom_series import DIRECTIONS, ball, grid


@pytest.mark.parametrize("plane", DIRECTIONS)
@pytest.mark.parametrize("radii", [(20, 30, 15), (30, 12, 25), (9, 9, 40)])
def test_an_ellipsoid_is_as_long_as_its_axes_on_axial_planes(
    plane: str, radii: tuple[int, int, int]
) -> None:
    where = grid(plane, (64, 64, 64), (1.5, 1.5, 1.5))
    found = size(Volume(ball(where, (0, 0, 10), radii), where.affine))
    assert found.volume_mm3 == pytest.approx(4 / 3 * np.pi * np.prod(radii), rel=0.01)
    assert found.diameters is not None
    long, short = sorted(radii[:2], reverse=True)
    # An axial plane of the oblique grid is tilted by 4 degrees.
    assert found.diameters.longest == pytest.approx(2 * long, abs=1.5)
    assert found.diameters.perpendicular == pytest.approx(2 * short, abs=1.5)


def test_a_turned_ellipse_on_pixels_that_are_no_squares() -> None:
    where = grid("axial", (200, 120, 8), (0.5, 0.8, 5))
    x, y = np.meshgrid(np.arange(200) * 0.5 - 50, np.arange(120) * 0.8 - 48, indexing="ij")
    turn = np.deg2rad(33)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    mask = np.zeros(where.shape, dtype=bool)
    mask[:, :, 3] = (along / 30) ** 2 + (across / 11) ** 2 <= 1
    found = diameters(Volume(mask, where.affine))
    assert found is not None
    assert found.longest == pytest.approx(60, abs=0.8)
    assert found.perpendicular == pytest.approx(22, abs=0.8)
    one, two = np.array(found.ends)
    assert np.linalg.norm(two - one) == pytest.approx(found.longest)


def test_a_row_of_pixels_is_as_long_as_they_are() -> None:
    where = grid("axial", (20, 20, 3), (2, 3, 5))
    mask = np.zeros(where.shape, dtype=bool)
    mask[4:11, 9, 1] = True
    found = diameters(Volume(mask, where.affine))
    assert found is not None
    assert (found.longest, found.perpendicular) == pytest.approx((14, 3))


def test_a_rim_is_measured_across_what_it_encloses_and_two_lesions_are_not_one() -> None:
    where = grid("axial", (100, 100, 5), (1, 1, 5))
    mask = np.zeros(where.shape, dtype=bool)
    plane = ball(where, (20, 0, 11), 20)[:, :, 2] & ~ball(where, (20, 0, 11), 12)[:, :, 2]
    mask[:, :, 2] = plane | ball(where, (-30, 0, 11), 6)[:, :, 2]
    found = diameters(Volume(mask, where.affine))
    assert found is not None
    assert found.longest == pytest.approx(40, abs=1)
    assert found.perpendicular == pytest.approx(40, abs=1.5)


def test_the_longest_plane_counts_even_where_another_holds_more() -> None:
    where = grid("axial", (60, 60, 5), (1, 1, 5))
    mask = np.zeros(where.shape, dtype=bool)
    mask[10:30, 10:30, 1] = True
    mask[5:55, 30:32, 3] = True
    found = diameters(Volume(mask, where.affine))
    assert found is not None
    assert found.longest == pytest.approx(50, abs=0.2)
    assert found.perpendicular == pytest.approx(2, abs=0.2)
    assert {round(end[2], 3) for end in found.ends} == {16.0}


def test_nothing_has_no_diameter() -> None:
    where = grid("axial", (8, 8, 8), (1, 1, 1))
    assert size(where) == size(where)
    assert size(where).volume_mm3 == 0
    assert size(where).diameters is None
