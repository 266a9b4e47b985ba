"""Images and label maps on another grid."""

import numpy as np

from gliodistill.alignment.carrying import carry_image, carry_labels, carry_share
from gliodistill.images.volume import Volume


def test_the_same_grid_gives_the_same_voxels():
    rng = np.random.default_rng(0)
    image = Volume(rng.normal(size=(5, 6, 7)).astype(np.float32), np.diag([1.0, 1, 1, 1]))
    np.testing.assert_allclose(carry_image(image, image, np.eye(4)), image.data, atol=1e-6)
    codes = image.with_data(rng.integers(0, 5, image.shape).astype(np.uint8))
    np.testing.assert_array_equal(carry_labels(codes, image, np.eye(4)).data, codes.data)


def test_between_thick_slices_the_image_is_not_blurred():
    place = np.arange(0, 60.0)
    wave = np.cos(place[:, None, None] / 60 * 4 * np.pi) * np.ones((1, 4, 4))
    grid = Volume(np.zeros((60, 4, 4), np.uint8), np.eye(4))
    thick = Volume(wave[::5].astype(np.float32), np.diag([5.0, 1, 1, 1]))
    inner = slice(8, 48)
    error = np.abs(carry_image(thick, grid, np.eye(4)) - wave)[inner].max()
    linear = np.abs(carry_share(thick, grid, np.eye(4)) - wave)[inner].max()
    assert error < linear / 5
    assert carry_image(thick, grid, np.eye(4)).max() <= thick.data.max()


def test_the_matrix_takes_points_of_the_grid_to_points_of_the_image():
    image = Volume(np.zeros((9, 9, 9), np.float32), np.diag([2.0, 2, 2, 1]))
    image.data[4, 4, 4] = 1  # at 8, 8, 8 mm
    grid = Volume(np.zeros((4, 4, 4), np.uint8), np.diag([2.0, 2, 2, 1]))
    matrix = np.eye(4)
    matrix[:3, 3] = [6, 4, 2]
    found = carry_image(image, grid, matrix)
    assert np.argwhere(found).tolist() == [[1, 2, 3]]


def test_only_what_is_wanted_is_computed_to_the_same_values():
    rng = np.random.default_rng(2)
    thick = Volume(rng.normal(size=(9, 9, 4)).astype(np.float32), np.diag([1.0, 1, 4, 1]))
    grid = Volume(np.zeros((9, 9, 14), np.uint8), np.eye(4))
    wanted = rng.random(grid.shape) > 0.5
    whole, part = carry_image(thick, grid, np.eye(4)), carry_image(thick, grid, np.eye(4), wanted)
    np.testing.assert_allclose(part, np.where(wanted, whole, 0), atol=1e-5)


def test_labels_are_classes_not_numbers():
    codes = np.zeros((8, 4, 4), np.uint8)
    codes[2:5], codes[5:] = 1, 4
    thick = Volume(codes, np.diag([3.0, 1, 1, 1]))
    grid = Volume(np.zeros((22, 4, 4), np.uint8), np.eye(4))
    found = carry_labels(thick, grid, np.eye(4))
    assert set(np.unique(found.data)) == {0, 1, 4} and found.data.dtype == np.uint8
    # Between 1 and 4 there is no 2, and borders lie halfway.
    line = found.data[:, 2, 2]
    np.testing.assert_array_equal(np.diff(line.astype(int)) != 0, np.isin(np.arange(21), [4, 13]))


def test_outside_of_the_field_is_0():
    image = Volume(np.ones((4, 4, 4), np.float32), np.diag([2.0, 2, 2, 1]))
    grid = Volume(np.zeros((12, 4, 4), np.uint8), np.eye(4))
    line = carry_image(image, grid, np.eye(4))[:, 2, 2]
    # The last voxel reaches to 7 mm.
    np.testing.assert_allclose(line, [1] * 8 + [0] * 4)


def test_fine_voxels_are_averaged_not_picked():
    rng = np.random.default_rng(1)
    fine = Volume(rng.normal(size=(40, 40, 40)).astype(np.float32), np.diag([0.5, 0.5, 0.5, 1]))
    grid = Volume(np.zeros((18, 18, 18), np.uint8), np.eye(4))
    inner = carry_image(fine, grid, np.eye(4))[4:-4, 4:-4, 4:-4]
    assert inner.std() < 0.4
