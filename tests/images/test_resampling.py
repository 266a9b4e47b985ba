"""Linear resampling against SciPy, and what any weights must satisfy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gliodistill.images.resampling import axis_matrix, resample


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.1, 8), st.floats(-3, 3))
def test_rows_are_weights(source, target, factor, offset):
    matrix = axis_matrix(source, target, factor, offset)
    assert matrix.shape == (target, source)
    assert matrix.dtype == np.float32
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)


def test_same_grid_is_the_identity():
    np.testing.assert_array_equal(axis_matrix(7, 7, 1.0), np.eye(7))


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(0.3, 4)] * 3), st.floats(-100, 100))
def test_a_constant_field_is_kept(factors, value):
    matrices = tuple(axis_matrix(9, max(1, round(9 / f)), f) for f in factors)
    np.testing.assert_allclose(
        resample(np.full((9, 9, 9), value), matrices), value, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("factor", [1.0, 0.5, 0.4, 1 / 3])
def test_up_sampling_is_scipys_linear_interpolation(factor):
    image = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    shape = tuple(int(np.ceil(side / factor - 1e-6)) for side in image.shape)
    centres = [(np.arange(n) + 0.5) * factor - 0.5 for n in shape]
    expected = ndimage.map_coordinates(
        image.astype(float), np.meshgrid(*centres, indexing="ij"), order=1, mode="nearest"
    )
    got = resample(
        image, tuple(axis_matrix(s, t, factor) for s, t in zip(image.shape, shape, strict=True))
    )
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_halving_and_thirding_are_triangle_filters_away_from_the_rim():
    image = np.random.default_rng(1).normal(size=(18, 18, 18))
    inner = (slice(1, -1),) * 3
    thirds = image
    halves = image
    for axis in range(3):
        thirds = ndimage.correlate1d(thirds, np.array([1, 2, 3, 2, 1]) / 9, axis=axis)
        halves = ndimage.correlate1d(halves, np.array([1, 3, 3, 1, 0]) / 8, axis=axis, origin=-1)
    got = resample(image, (axis_matrix(18, 6, 3),) * 3)
    np.testing.assert_allclose(got[inner], thirds[1::3, 1::3, 1::3][inner], atol=1e-5)
    got = resample(image, (axis_matrix(18, 9, 2),) * 3)
    np.testing.assert_allclose(got[inner], halves[::2, ::2, ::2][inner], atol=1e-5)


def test_leading_axes_stay():
    stack = np.random.default_rng(2).normal(size=(2, 3, 5, 6, 7)).astype(np.float32)
    matrices = (axis_matrix(5, 3, 5 / 3), axis_matrix(6, 6, 1.0), axis_matrix(7, 14, 0.5))
    one = resample(stack[1, 2], matrices)
    assert one.shape == (3, 6, 14)
    np.testing.assert_allclose(resample(stack, matrices)[1, 2], one, atol=1e-6)
