"""Geometry is never lost."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gliodistill.errors import ImageError
from gliodistill.images import Volume


def turn(angles: tuple[float, float, float]) -> np.ndarray:
    """Rotation about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        one = np.eye(3)
        first, second = [other for other in range(3) if other != axis]
        one[first, first] = one[second, second] = np.cos(angle)
        one[first, second], one[second, first] = -np.sin(angle), np.sin(angle)
        matrix = one @ matrix
    return matrix


AFFINES = st.builds(
    lambda order, signs, spacing, angles: np.block(
        [
            [
                turn(angles) @ (np.eye(3)[:, order] * signs * spacing),
                np.array([[-90.0], [20.0], [5.0]]),
            ],
            [np.array([[0.0, 0, 0, 1]])],
        ]
    ),
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3).map(np.array),
    st.tuples(*[st.floats(0.4, 5.0)] * 3).map(np.array),
    st.tuples(*[st.floats(-0.35, 0.35)] * 3),
)


@settings(max_examples=60, deadline=None)
@given(AFFINES)
def test_canonical_agrees_with_nibabel(affine):
    data = np.arange(24).reshape(2, 3, 4)
    ours = Volume(data, affine).canonical()
    oracle = nib.as_closest_canonical(nib.Nifti1Image(data.astype(np.int16), affine))
    assert ours.orientation == "RAS"
    np.testing.assert_array_equal(ours.data, np.asarray(oracle.dataobj))
    np.testing.assert_allclose(ours.affine, oracle.affine, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(AFFINES)
def test_canonical_keeps_every_voxel_where_it_was(affine):
    data = np.arange(24).reshape(2, 3, 4)
    volume = Volume(data, affine)
    moved = volume.canonical()
    for value in (0, 7, 23):
        before = volume.affine @ [*np.argwhere(volume.data == value)[0], 1]
        after = moved.affine @ [*np.argwhere(moved.data == value)[0], 1]
        np.testing.assert_allclose(before, after, atol=1e-9)
    assert moved.canonical().apart(moved) < 1e-9
    assert volume.voxel_ml == pytest.approx(moved.voxel_ml)


def test_orientation_and_spacing():
    volume = Volume(
        np.zeros((2, 3, 4)), np.array([[0, 0, 3, 0], [-1, 0, 0, 0], [0, -2, 0, 0], [0, 0, 0, 1.0]])
    )
    assert volume.orientation == "PIR"
    assert volume.spacing == (1.0, 2.0, 3.0)
    assert volume.voxel_ml == pytest.approx(0.006)


def test_same_grid():
    volume = Volume(np.zeros((100, 100, 100)), np.eye(4))
    far = np.eye(4)
    far[0, 0] = 1.0011  # 0.109 mm at the far end
    assert not volume.same_grid(Volume(volume.data, far))
    assert volume.apart(Volume(volume.data, far)) == pytest.approx(0.1089)
    far[0, 0] = 1.0009
    assert volume.same_grid(Volume(volume.data, far))
    assert not volume.same_grid(Volume(volume.data[1:], np.eye(4)))


def test_with_data():
    volume = Volume(np.zeros((2, 3, 4)), np.eye(4))
    assert volume.with_data(np.ones((2, 3, 4))).data.sum() == 24
    with pytest.raises(ImageError, match="shape"):
        volume.with_data(np.ones((2, 3, 5)))


@pytest.mark.parametrize(
    ("data", "affine", "field"),
    [
        (np.zeros((2, 2)), np.eye(4), "shape"),
        (np.zeros((2, 2, 2, 2)), np.eye(4), "shape"),
        (np.zeros((2, 0, 2)), np.eye(4), "shape"),
        (np.zeros((2, 2, 2), dtype=complex), np.eye(4), "dtype"),
        (np.zeros((2, 2, 2), dtype=object), np.eye(4), "dtype"),
        (np.zeros((2, 2, 2)), np.eye(3), "affine"),
        (np.zeros((2, 2, 2)), np.zeros((4, 4)), "affine"),
        (np.zeros((2, 2, 2)), np.full((4, 4), np.nan), "affine"),
    ],
)
def test_what_is_no_volume(data, affine, field):
    with pytest.raises(ImageError) as caught:
        Volume(data, affine)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)
