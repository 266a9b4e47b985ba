"""Components, dilation and who meets whom, against SciPy and set arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from evaluation_shapes import box, speckled
from gliodistill.evaluation.lesions import Lesions, components, dilate, f1

EVERY_NEIGHBOUR = np.ones((3, 3, 3))
FACES_AND_EDGES = ndimage.generate_binary_structure(3, 2)


@settings(max_examples=50, deadline=None)
@given(speckled())
def test_components_are_those_of_scipy(mask: np.ndarray) -> None:
    labels, count = components(mask)
    real, real_count = ndimage.label(mask, EVERY_NEIGHBOUR)
    assert count == real_count
    assert len({*zip(labels[mask].tolist(), real[mask].tolist(), strict=True)}) == count
    assert not labels[~mask].any()


@settings(max_examples=50, deadline=None)
@given(speckled(), st.integers(0, 4))
def test_dilation_is_that_of_scipy(mask: np.ndarray, times: int) -> None:
    expected = ndimage.binary_dilation(mask, FACES_AND_EDGES, iterations=times) if times else mask
    assert np.array_equal(dilate(mask, times), expected)
    assert np.array_equal(dilate(np.asfortranarray(mask), times), expected)


@settings(max_examples=60, deadline=None)
@given(speckled(), speckled(), st.sampled_from([0, 1, 3]))
def test_lesions_by_set_arithmetic(prediction: np.ndarray, truth: np.ndarray, merge: int) -> None:
    lesions = Lesions.of(np.asfortranarray(prediction), truth, merge)
    around = ndimage.binary_dilation(truth, FACES_AND_EDGES, iterations=merge) if merge else truth
    grown, count = ndimage.label(around, EVERY_NEIGHBOUR)
    predicted, predicted_count = ndimage.label(prediction, EVERY_NEIGHBOUR)
    expected = sorted(
        (
            int((truth & (grown == one)).sum()),
            int((predicted == other).sum()),
            bool(((grown == one) & (predicted == other)).any()),
            int((truth & (grown == one) & (predicted == other)).sum()),
        )
        for one in range(1, count + 1)
        for other in range(1, predicted_count + 1)
    )
    assert lesions.touching.shape == (count + 1, predicted_count + 1)
    found = sorted(
        (
            int(lesions.truth_voxels[one]),
            int(lesions.prediction_voxels[other]),
            bool(lesions.touching[one, other]),
            int(lesions.shared_voxels[one, other]),
        )
        for one in range(1, count + 1)
        for other in range(1, predicted_count + 1)
    )
    assert found == expected


@pytest.mark.parametrize(
    ("times", "gap", "count"), [(0, 1, 2), (1, 2, 1), (1, 3, 2), (3, 6, 1), (3, 7, 2)]
)
def test_lesions_whose_dilations_touch_are_one(times: int, gap: int, count: int) -> None:
    truth = box(
        (20, 5, 5),
        (slice(2, 4), slice(1, 4), slice(1, 4)),
        (slice(4 + gap, 6 + gap), slice(1, 4), slice(1, 4)),
    )
    assert len(Lesions.of(truth, truth, times).truth_voxels) - 1 == count


def test_f1() -> None:
    assert f1(3, 1, 2) == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))  # precision 3/4, recall 3/5
    assert f1(0, 2, 0) == 0.0
    assert f1(0, 0, 0) is None
