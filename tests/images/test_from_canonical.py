"""The way back from the canonical grid."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gliodistill.errors import ImageError
from gliodistill.images import Volume

ORIENTATIONS = [
    (order, signs) for order in permutations(range(3)) for signs in product((-1.0, 1.0), repeat=3)
]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ORIENTATIONS),
    st.tuples(*[st.integers(1, 5)] * 3),
    st.sampled_from([(), (2,), (2, 3)]),
    st.floats(-0.3, 0.3),
)
def test_from_canonical_undoes_canonical(orientation, shape, lead, angle):
    order, signs = orientation
    oblique = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = oblique @ (np.eye(3)[:, order] * signs * [0.5, 1.0, 3.0])
    data = np.arange(np.prod(shape)).reshape(shape)
    volume = Volume(data, affine)
    canonical = volume.canonical()
    np.testing.assert_array_equal(volume.from_canonical(canonical.data), data)
    stack = np.broadcast_to(canonical.data, (*lead, *canonical.shape)) + np.arange(
        int(np.prod(lead))
    ).reshape(*lead, 1, 1, 1)
    np.testing.assert_array_equal(
        volume.from_canonical(stack),
        np.broadcast_to(data, (*lead, *shape))
        + np.arange(int(np.prod(lead))).reshape(*lead, 1, 1, 1),
    )


def test_all_48_orientations_differ_and_return():
    data, seen = np.arange(24).reshape(2, 3, 4), set()
    for order, signs in ORIENTATIONS:
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, order] * signs
        volume = Volume(data, affine)
        seen.add(volume.orientation)
        assert (volume.from_canonical(volume.canonical().data) == data).all()
    assert len(seen) == 48


def test_another_shape_is_refused():
    volume = Volume(
        np.zeros((2, 3, 4)), np.array([[0, 0, 3, 0], [-1, 0, 0, 0], [0, -2, 0, 0], [0, 0, 0, 1.0]])
    )
    assert volume.canonical().shape == (4, 2, 3)
    with pytest.raises(ImageError, match="canonical grid"):
        volume.from_canonical(np.zeros((2, 3, 4)))
