"""The box of what is not zero, against NumPy's own search."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gliodistill.images.bounds import extent, filled_box, grown, union, whole


def expected(voxels):
    found = np.nonzero(voxels)
    return tuple(slice(int(line.min()), int(line.max()) + 1) for line in found)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 7)] * 3),
    st.sampled_from(["u1", "i2", ">i2", "f4", ">f4", "f8", "?"]),
    st.sampled_from([*permutations(range(3))]),
    st.tuples(*[st.sampled_from([1, -1])] * 3),
    st.integers(0, 1000),
)
def test_is_the_smallest_box_for_every_type_and_order_of_memory(shape, dtype, order, signs, seed):
    rng = np.random.default_rng(seed)
    voxels = np.where(rng.random(shape) < 0.1, rng.choice([-1, 3], shape), 0).astype(dtype)
    turned = voxels.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    assert filled_box(turned) == (expected(turned) if voxels.any() else None)


@pytest.mark.parametrize("value", [-0.0, 0.0])
def test_zero_of_either_sign_is_empty_and_the_smallest_number_is_not(value):
    voxels = np.full((3, 4, 5), value, np.float32)
    assert filled_box(voxels) is None
    voxels[1, 2, 3] = np.nextafter(np.float32(0), np.float32(-1))
    assert filled_box(voxels) == (slice(1, 2), slice(2, 3), slice(3, 4))


def test_union_holds_all():
    one, other = (slice(1, 3), slice(0, 2), slice(4, 5)), (slice(2, 6), slice(1, 2), slice(0, 1))
    assert union([one, other]) == (slice(1, 6), slice(0, 2), slice(0, 5))


def test_extent_is_one_side_of_the_box_and_all_of_an_empty_array():
    picture = np.zeros((5, 6), bool)
    assert extent(picture, 1) == slice(0, 6)
    picture[1, 2] = picture[3, 2] = True
    assert (extent(picture, 0), extent(picture, 1)) == (slice(1, 4), slice(2, 3))


def test_a_grown_box_ends_with_the_grid():
    shape = (9, 9, 9)
    box = (slice(1, 3), slice(4, 5), slice(7, 9))
    assert grown(box, (2, 1, 3), shape) == (slice(0, 5), slice(3, 6), slice(4, 9))
    assert grown(whole(shape), (1, 1, 1), shape) == whole(shape)
