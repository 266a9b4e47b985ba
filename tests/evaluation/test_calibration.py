"""Calibration against sums over voxels, one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gliodistill.evaluation.calibration import BINS, Reliability, calibration_box

SHAPE = (4, 3, 5)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32)), arrays(bool, SHAPE))
def test_ece_and_brier_by_voxels(probability: np.ndarray, truth: np.ndarray) -> None:
    said, real = probability.astype(float).ravel(), truth.ravel()
    error = 0.0
    for index in range(BINS):
        inside = [
            (s, r) for s, r in zip(said, real, strict=True) if index == min(int(s * BINS), BINS - 1)
        ]
        if inside:
            error += abs(sum(r for _, r in inside) - sum(s for s, _ in inside)) / said.size
    found = Reliability.of(probability, truth)
    assert found.ece == pytest.approx(error)
    assert found.brier == pytest.approx(np.mean((said - real) ** 2))
    assert sum(part.voxels for part in found.bins) == said.size


def test_a_perfectly_sure_and_right_map() -> None:
    truth = np.zeros(SHAPE, bool)
    truth[1] = True
    found = Reliability.of(truth.astype(np.float32), truth)
    assert (found.ece, found.brier) == (0.0, 0.0)
    assert (found.bins[0].frequency, found.bins[-1].frequency, found.bins[7].probability) == (
        0.0,
        1.0,
        None,
    )


def test_studies_add_up_by_voxels() -> None:
    random = np.random.default_rng(0)
    maps = [(random.random((size, 3, 2)), random.random((size, 3, 2)) < 0.3) for size in (2, 9)]
    together = Reliability.of(
        np.concatenate([p for p, _ in maps]), np.concatenate([t for _, t in maps])
    )
    total = Reliability.total(Reliability.of(p, t) for p, t in maps)
    assert (total.ece, total.brier) == pytest.approx((together.ece, together.brier))
    for part, whole in zip(total.bins, together.bins, strict=True):
        assert part.voxels == whole.voxels
        assert part.probability == pytest.approx(whole.probability)


def test_voxels_far_from_any_tumour_are_not_judged() -> None:
    anything = np.zeros((60, 40, 30), bool)
    anything[30:34, 3:6, 10:12] = True
    assert calibration_box(anything, (1.0, 2.0, 5.0)) == (slice(20, 44), slice(0, 11), slice(8, 14))
    assert calibration_box(np.zeros((4, 5, 6), bool), (1, 1, 1))[0].start == 0
