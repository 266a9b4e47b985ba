"""One byte a voxel, and what it costs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gliodistill.preparation.quantise import CLIP, STEP, dequantise, quantise


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, 50, elements=st.floats(-CLIP, CLIP, width=32)))
def test_the_error_is_at_most_half_a_step(z):
    levels = quantise(z, np.ones(50, bool))
    assert levels.min() >= 1
    assert np.abs(dequantise(levels) - z).max() <= STEP / 2 + 1e-6


def test_ends_middle_and_outside():
    z = np.array([-99.0, -5.0, 0.0, 5.0, 99.0, 3.0])
    levels = quantise(z, np.array([1, 1, 1, 1, 1, 0], bool))
    assert levels.tolist() == [1, 1, 128, 255, 255, 0]
    assert levels.dtype == np.uint8
    np.testing.assert_allclose(dequantise(levels), [-5, -5, 0, 5, 5, 0], atol=1e-6)


def test_every_level_is_its_own_fixed_point():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(quantise(dequantise(levels), levels > 0), levels)
    np.testing.assert_allclose(np.diff(dequantise(levels)[1:]), 10 / 254, atol=1e-6)
