"""Where a patch is read, against NumPy and SciPy."""

import numpy as np
import pytest
from scipy import ndimage

from gliodistill.training.transforms import Spatial, read_patch
from gliodistill.training.transforms.spatial import SpatialDraw

NONE = SpatialDraw((False, False, False), None, None)


def image(seed=0, shape=(20, 22, 24), channels=2):
    return np.random.default_rng(seed).integers(1, 256, (channels, *shape), dtype=np.uint8)


def truth(seed=0, shape=(20, 22, 24)):
    return np.random.default_rng(seed).integers(0, 8, shape, dtype=np.uint8)


def turned(matrix=None, elastic=None):
    return SpatialDraw(
        (False, False, False), np.eye(3) if matrix is None else np.asarray(matrix, float), elastic
    )


CENTRE = np.array([10, 11, 12])


@pytest.mark.parametrize("patch", [(8, 8, 8), (7, 7, 7), (6, 9, 12)])
def test_no_draw_is_a_plain_cut_and_the_identity_map_too(patch):
    start = CENTRE - np.array(patch) // 2
    inner = tuple(slice(a, a + p) for a, p in zip(start, patch, strict=True))
    for draw in (NONE, turned(), turned(elastic=np.zeros((3, 4, 4, 4)))):
        levels, mask = read_patch(image(), truth(), CENTRE, patch, draw)
        np.testing.assert_array_equal(levels, image()[(slice(None), *inner)])
        np.testing.assert_array_equal(mask, truth()[inner])


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_flips_are_exact(axes):
    plain, plain_mask = read_patch(image(), truth(), CENTRE, (8, 6, 10), NONE)
    draw = SpatialDraw(tuple(axis in axes for axis in range(3)), None, None)
    levels, mask = read_patch(image(), truth(), CENTRE, (8, 6, 10), draw)
    np.testing.assert_array_equal(levels, np.flip(plain, [a + 1 for a in axes]))
    np.testing.assert_array_equal(mask, np.flip(plain_mask, axes))


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("plane", [(0, 1), (1, 2), (0, 2)])
def test_a_quarter_turn_is_rot90(side, plane):
    a, b = plane
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = 0
    matrix[a, b], matrix[b, a] = -1, 1  # reads at (−v, u): the image turns the other way
    plain, plain_mask = read_patch(image(), truth(), CENTRE, (side,) * 3, NONE)
    levels, mask = read_patch(image(), truth(), CENTRE, (side,) * 3, turned(matrix))
    np.testing.assert_array_equal(levels, np.rot90(plain, -1, (a + 1, b + 1)))
    np.testing.assert_array_equal(mask, np.rot90(plain_mask, -1, plane))


def test_any_turn_is_scipys():
    angle = np.deg2rad(17)
    matrix = (
        np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        / 1.17
    )
    levels, mask = read_patch(image(), truth(), CENTRE, (9, 9, 9), turned(matrix))
    offsets = np.stack(np.meshgrid(*[np.arange(9) - 4.0] * 3, indexing="ij"))
    points = np.einsum("ij,jxyz->ixyz", matrix, offsets) + CENTRE[:, None, None, None]
    for channel in range(2):
        expected = ndimage.map_coordinates(image()[channel].astype(float), points, order=1)
        assert np.abs(levels[channel] - expected).max() <= 0.51
    nearest = ndimage.map_coordinates(truth(), points, order=0)
    assert (mask == nearest).mean() > 0.99


def test_patches_reach_beyond_the_study_with_zeros():
    for draw in (NONE, turned()):
        levels, mask = read_patch(image(), truth(), np.array([0, 0, 0]), (8, 8, 8), draw)
        assert not levels[:, :4].any()
        assert not mask[:, :, :4].any()
        np.testing.assert_array_equal(levels[:, 4:, 4:, 4:], image()[:, :4, :4, :4])


def test_not_brain_is_not_dark():
    """At the rim of the brain values are interpolated among brain voxels only."""
    half = image()
    half[:] = 200
    half[:, :10] = 0
    turn = np.array([[0.9, -0.2, 0], [0.2, 0.9, 0], [0, 0, 1]])
    levels, _ = read_patch(half, None, CENTRE, (10, 10, 10), turned(turn))
    assert set(np.unique(levels)) == {0, 200}


def test_elastic_moves_points_by_the_drawn_displacement():
    shift = np.zeros((3, 4, 4, 4))
    shift[1] = 2.0  # the same everywhere: a translation
    levels, _ = read_patch(image(), None, CENTRE, (8, 8, 8), turned(elastic=shift))
    expected, _ = read_patch(image(), None, CENTRE + np.array([0, 2, 0]), (8, 8, 8), NONE)
    np.testing.assert_array_equal(levels, expected)


def test_probabilities_are_kept():
    spatial, random = Spatial(flip=0.25, p=0.5, elastic_voxels=0.0), np.random.default_rng(1)
    draws = [spatial.draw(random) for _ in range(800)]
    assert np.mean([d.flips for d in draws]) == pytest.approx(0.25, abs=0.04)
    assert np.mean([d.matrix is not None for d in draws]) == pytest.approx(0.5, abs=0.06)
    assert all(d.elastic is None for d in draws)
    for draw in draws:
        if draw.matrix is not None:
            scale = np.linalg.det(draw.matrix) ** (-1 / 3)
            assert 0.8 <= scale <= 1.25
            np.testing.assert_allclose(draw.matrix @ draw.matrix.T * scale**2, np.eye(3), atol=1e-9)


def test_a_draw_is_a_recording():
    first, again = (Spatial(p=1.0).draw(np.random.default_rng(5)) for _ in range(2))
    assert str(first) == str(again)
    one, two = (read_patch(image(), truth(), CENTRE, (8, 8, 8), first) for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
