"""BraTS 2026: one-to-one lesions against every way of pairing, distances of pooled surfaces against
distance transforms.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from evaluation_shapes import SPACINGS, best_matching, box, speckled, surface_of, to_nearest
from gliodistill.evaluation.rules import Region, get_rules

EVERY_NEIGHBOUR = np.ones((3, 3, 3))


def score(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
    task: str = "gli",
    **more: float,
) -> dict:
    return get_rules("brats2026", task, **more).score_region(
        Region(prediction, truth, spacing, float(np.prod(spacing)) / 1000)
    )


@settings(max_examples=80, deadline=None)
@given(speckled(), speckled(), st.sampled_from(SPACINGS))
def test_as_a_slow_reading_of_the_rules(prediction, truth, spacing) -> None:
    values = score(prediction, truth, spacing)
    labels, count = ndimage.label(truth, EVERY_NEIGHBOUR)
    predicted, predicted_count = ndimage.label(prediction, EVERY_NEIGHBOUR)
    overlap = np.zeros((count, predicted_count))
    for one, other in np.ndindex(overlap.shape):
        a, b = labels == one + 1, predicted == other + 1
        overlap[one, other] = 2 * (a & b).sum() / (a.sum() + b.sum())
    best = best_matching(overlap)
    found = values["lesion_tp"]
    assert (values["lesion_fp"], values["lesion_fn"]) == (predicted_count - found, count - found)
    assert values["lesion_dice"] == (
        pytest.approx(best / found) if found else (0.0 if count + predicted_count else None)
    )
    if not (prediction & truth).any():
        nothing = not prediction.any() and not truth.any()
        assert (values["dice"], values["hd95_mm"], values["nsd"]) == (
            (None,) * 3 if nothing else (0, 373, 0)
        )
        return
    a, b = surface_of(prediction), surface_of(truth)
    forth, back = to_nearest(a, b, spacing), to_nearest(b, a, spacing)
    assert values["hd95_mm"] == pytest.approx(np.percentile([*forth, *back], 95))
    assert values["nsd"] == pytest.approx(
        (np.mean(forth == 0) + np.mean(back == 0)) / 2
    )  # half a voxel: what coincides
    wide = score(prediction, truth, spacing, tolerance_mm=2.0)
    assert wide["nsd"] == pytest.approx((np.mean(forth <= 2) + np.mean(back <= 2)) / 2)


SIDE = slice(2, 6)
FIRST, SECOND = (
    box((40, 8, 8), (slice(2, 6), SIDE, SIDE)),
    box((40, 8, 8), (slice(12, 16), SIDE, SIDE)),
)


def test_a_bridge_is_matched_with_one_lesion_only() -> None:
    bridge = box((40, 8, 8), (slice(2, 16), SIDE, SIDE))
    values = score(bridge, FIRST | SECOND)
    assert (values["lesion_tp"], values["lesion_fp"], values["lesion_fn"]) == (1, 0, 1)
    assert values["lesion_dice"] == pytest.approx(2 * 64 / (64 + 224))
    assert values["dice"] == pytest.approx(2 * 128 / (128 + 224))


def test_pairs_are_chosen_for_the_largest_sum_of_dice() -> None:
    # Greedy would give the first lesion its best partner, and leave the second with none.
    truth = box((30, 8, 8), (slice(0, 6), SIDE, SIDE), (slice(8, 10), SIDE, SIDE))
    prediction = box((30, 8, 8), (slice(0, 2), SIDE, SIDE), (slice(3, 10), SIDE, SIDE))
    values = score(prediction, truth)
    assert values["lesion_tp"] == 2
    assert values["lesion_dice"] == pytest.approx((2 * 2 / (6 + 2) + 2 * 2 / (2 + 7)) / 2)


def test_metastases_are_counted_by_size() -> None:
    small, shared = (
        box((40, 8, 8), (slice(20, 22), slice(2, 5), slice(2, 5))),
        box((40, 8, 8), (slice(20, 21), slice(2, 4), slice(2, 4))),
    )
    false = box((40, 8, 8), (slice(30, 31), slice(2, 3), slice(2, 3)))
    values = score(
        FIRST | shared | false, FIRST | SECOND | small, task="met"
    )  # small: 18 mm³, Dice 8/22 ≥ 0.2
    assert (values["large_tp"], values["large_fn"], values["small_tp"], values["small_fn"]) == (
        1,
        1,
        1,
        0,
    )
    assert values["large_f1"] == pytest.approx(2 / (2 + 1 + 1))
    assert values["small_f1"] == pytest.approx(2 / (2 + 1))
    assert values["lesion_dice"] == pytest.approx(1 / 3)  # one found, one missed, one false
    assert values["lesion_hd95_mm"] == pytest.approx(2 * 373 / 3)
    none = score(false, small, task="met")
    assert (none["lesion_dice"], none["large_f1"], none["small_f1"]) == (None, None, 0.0)
