"""BraTS 2023: lesion-wise scores against a slow reading of the rules, and small cases done by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from evaluation_shapes import SPACINGS, box, speckled
from gliodistill.evaluation.rules import Region, get_rules
from gliodistill.evaluation.surfaces import Surface, SurfaceDistances

EVERY_NEIGHBOUR = np.ones((3, 3, 3))
FACES_AND_EDGES = ndimage.generate_binary_structure(3, 2)
RULES = {"gli": (3, 50.0), "men": (1, 50.0), "met": (1, 2.0)}


def score(
    task: str,
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> dict:
    return get_rules("brats2023", task).score_region(
        Region(prediction, truth, spacing, float(np.prod(spacing)) / 1000)
    )


def slowly(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing: tuple[float, ...],
    dilations: int,
    small: float,
) -> dict:
    """One lesion after the other, each on the whole image, as the organisers describe it."""
    predicted, predicted_count = ndimage.label(prediction, EVERY_NEIGHBOUR)
    grown, count = ndimage.label(
        ndimage.binary_dilation(truth, FACES_AND_EDGES, iterations=dilations), EVERY_NEIGHBOUR
    )
    belonging: set[int] = set()
    dice, hd95, found, missed = [], [], 0, 0
    for one in range(1, count + 1):
        lesion = truth & (grown == one)
        near = set(
            np.unique(
                predicted[ndimage.binary_dilation(lesion, FACES_AND_EDGES, iterations=dilations)]
            )
        ) - {0}
        belonging |= near
        if lesion.sum() * np.prod(spacing) <= small:
            continue
        mine = np.isin(predicted, list(near))
        found, missed = found + bool(near), missed + (not near)
        dice.append(2 * (mine & lesion).sum() / (mine.sum() + lesion.sum()))
        surfaces = Surface.patches(mine, spacing), Surface.patches(lesion, spacing)
        hd95.append(SurfaceDistances.of(*surfaces, spacing).hd95_by_area() if near else 374.0)
    false = predicted_count - len(belonging)
    lesions = len(dice) + false
    return {
        "dice": sum(dice) / lesions if lesions else 1.0,
        "hd95_mm": (sum(hd95) + 374.0 * false) / lesions if lesions else 0.0,
        "lesion_tp": found,
        "lesion_fp": false,
        "lesion_fn": missed,
    }


@pytest.mark.parametrize("task", RULES)
@settings(max_examples=60, deadline=None)
@given(speckled((14, 9, 10)), speckled((14, 9, 10)), st.sampled_from(SPACINGS))
def test_as_one_lesion_after_the_other(task, prediction, truth, spacing) -> None:
    found, expected = (
        score(task, prediction, truth, spacing),
        slowly(prediction, truth, spacing, *RULES[task]),
    )
    assert {metric: found[metric] for metric in expected} == pytest.approx(expected, abs=1e-9)


CUBE, EMPTY = box((40, 12, 12), (slice(4, 8), slice(4, 8), slice(4, 8))), box((40, 12, 12))


def test_nothing_anywhere_is_perfect() -> None:
    values = score("gli", EMPTY, EMPTY)
    assert (
        values["dice"],
        values["hd95_mm"],
        values["whole_dice"],
        values["whole_hd95_mm"],
        values["nsd"],
    ) == (1, 0, 1, 0, 1)
    assert (values["sensitivity"], values["specificity"], values["lesion_f1"]) == (1.0, 1.0, None)


@pytest.mark.parametrize(
    ("prediction", "truth", "sensitivity"), [(CUBE, EMPTY, 0.0), (EMPTY, CUBE, 0.0)]
)
def test_one_mask_empty_costs_the_penalty(prediction, truth, sensitivity) -> None:
    values = score("gli", prediction, truth)
    assert (values["dice"], values["hd95_mm"], values["whole_dice"], values["whole_hd95_mm"]) == (
        0,
        374,
        0,
        374,
    )
    assert (values["sensitivity"], values["lesion_f1"]) == (sensitivity, 0.0)


def test_a_false_lesion_and_a_missed_one_share_the_mean_with_a_perfect_one() -> None:
    missed, false = slice(18, 22), slice(32, 34)
    truth = CUBE | box(CUBE.shape, (missed, slice(4, 8), slice(4, 8)))
    prediction = CUBE | box(
        CUBE.shape, (false, slice(4, 5), slice(4, 5))
    )  # of two voxels: false lesions count at any size
    values = score("gli", prediction, truth)
    assert values["dice"] == pytest.approx(1 / 3)
    assert values["hd95_mm"] == pytest.approx(2 * 374 / 3)
    assert (values["lesion_tp"], values["lesion_fp"], values["lesion_fn"]) == (1, 1, 1)
    assert values["whole_dice"] == pytest.approx(2 * 64 / (128 + 66))


@pytest.mark.parametrize(
    ("task", "shape", "counts"),
    [("gli", (5, 5, 2), 0), ("gli", (3, 17, 1), 1), ("met", (2, 1, 1), 0), ("met", (3, 1, 1), 1)],
)
def test_small_lesions_of_the_truth_do_not_count(task, shape, counts) -> None:
    truth = box((20, 20, 20), tuple(slice(1, 1 + size) for size in shape))
    assert score(task, box((20, 20, 20)), truth)["lesion_fn"] == counts
    found = score(task, truth, truth)  # and what meets a small one is no false lesion
    assert (found["lesion_tp"], found["lesion_fp"], found["dice"]) == (counts, 0, 1.0)


def test_one_prediction_may_belong_to_two_lesions() -> None:
    second = box(CUBE.shape, (slice(20, 24), slice(4, 8), slice(4, 8)))
    bridge = box(CUBE.shape, (slice(4, 24), slice(4, 8), slice(4, 8)))
    values = score("gli", bridge, CUBE | second)
    assert values["dice"] == pytest.approx(
        2 * 64 / (64 + 320)
    )  # of each lesion, with the whole bridge
    assert (values["lesion_tp"], values["lesion_fp"], values["lesion_fn"]) == (2, 0, 0)


def test_a_shifted_lesion_is_off_by_its_shift() -> None:
    values = score("gli", np.roll(CUBE, 2, axis=0), CUBE, (1.5, 1.0, 1.0))
    assert values["dice"] == pytest.approx(0.5)
    assert values["hd95_mm"] == pytest.approx(3.0)
