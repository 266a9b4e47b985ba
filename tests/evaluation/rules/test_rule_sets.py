"""What holds for every rule set: names, tasks, texts, and what no rule may depend on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation_shapes import SPACINGS, speckled
from gliodistill.errors import EvaluationError
from gliodistill.evaluation.metrics import FACTS
from gliodistill.evaluation.rules import METRICS, RULES, Region, get_rules
from gliodistill.evaluation.tasks import challenges, region_masks
from gliodistill.studies.labels import BRATS2021, BRATS2023, BRATS2024, BRATS_PED, LabelConvention

# Which of several matchings of equal sum is taken depends on the order of lesions, and so do the
# distances of its pairs.
UNSETTLED = {"lesion_hd95_mm", "lesion_nsd"}
# Those of 2024 and 2025 have a file of their own: each has its own challenges.
every = pytest.mark.parametrize("name", [n for n in RULES if n not in ("brats2024", "brats2025")])


def values(
    name: str,
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing: tuple[float, ...],
    image: tuple[int, ...] | None = None,
    task: str = "met",
) -> dict:
    found = get_rules(name, task).score_region(
        Region(prediction, truth, spacing, float(np.prod(spacing)) / 1000, image)
    )
    return {metric: value for metric, value in found.items() if metric not in UNSETTLED}


@every
@settings(max_examples=30, deadline=None)
@given(
    speckled(), speckled(), st.sampled_from(SPACINGS), st.tuples(*[st.sampled_from([1, -1])] * 3)
)
def test_a_mirrored_study_has_the_same_scores(name, prediction, truth, spacing, flips) -> None:
    mirror = tuple(slice(None, None, step) for step in flips)
    assert values(name, prediction[mirror], truth[mirror], spacing) == pytest.approx(
        values(name, prediction, truth, spacing), abs=1e-9
    )


@every
@settings(max_examples=30, deadline=None)
@given(speckled(), speckled(), st.permutations(range(3)))
def test_exchanged_axes_change_nothing(name, prediction, truth, axes) -> None:
    turned = values(name, prediction.transpose(axes), truth.transpose(axes), (2.0, 2.0, 2.0))
    assert turned == pytest.approx(values(name, prediction, truth, (2.0, 2.0, 2.0)), abs=1e-9)


@every
@settings(max_examples=30, deadline=None)
@given(
    speckled(),
    speckled(),
    st.sampled_from(SPACINGS),
    st.lists(st.integers(0, 5), min_size=6, max_size=6),
)
def test_background_around_both_masks_changes_nothing(
    name, prediction, truth, spacing, widths
) -> None:
    padded = [np.pad(mask, np.reshape(widths, (3, 2)).tolist()) for mask in (prediction, truth)]
    assert values(name, prediction, truth, spacing, padded[0].shape) == pytest.approx(
        values(name, *padded, spacing), abs=1e-9
    )


@every
@settings(max_examples=30, deadline=None)
@given(speckled(), speckled(), st.sampled_from(SPACINGS))
def test_what_is_symmetric(name, prediction, truth, spacing) -> None:
    forth, back = values(name, prediction, truth, spacing), values(name, truth, prediction, spacing)
    whole = {"brats2023": ("whole_dice", "whole_hd95_mm", "nsd")}.get(
        name, ("dice", "hd95_mm", "nsd")
    )
    assert [forth[metric] for metric in whole] == pytest.approx([back[metric] for metric in whole])
    assert forth["difference_ml"] == pytest.approx(-back["difference_ml"])
    if name == "brats2026":
        assert (forth["lesion_tp"], forth["lesion_fp"], forth["lesion_fn"]) == (
            back["lesion_tp"],
            back["lesion_fn"],
            back["lesion_fp"],
        )


@every
@settings(max_examples=30, deadline=None)
@given(speckled(), st.sampled_from(SPACINGS))
def test_a_perfect_prediction(name, truth, spacing) -> None:
    found = values(name, truth, truth, spacing, task="gli")
    expected = {"dice": 1.0, "hd95_mm": 0.0, "nsd": 1.0}
    if not truth.any() and name == "brats2026":
        expected = dict.fromkeys(expected)
    assert {metric: found[metric] for metric in expected} == pytest.approx(expected)
    assert (found["lesion_fp"], found["lesion_fn"], found["difference_ml"]) == (0, 0, 0)


@every
@pytest.mark.parametrize("task", challenges())
def test_the_text_says_what_is_scored_and_each_metric_is_a_known_fact(name: str, task: str) -> None:
    rules = get_rules(name, task, tolerance_mm=2.5)
    assert rules.regions[:3] == (("GTV",) if task == "men-rt" else ("WT", "TC", "ET"))
    assert all(region in rules.text for region in rules.regions)
    assert "2.5 mm" in rules.text
    assert rules.metrics[: len(METRICS)] == METRICS
    assert set(rules.metrics) <= set(FACTS)
    region = Region(np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool), (1, 1, 1), 0.001)
    assert set(rules.score_region(region)) == set(rules.metrics) - {"ece", "brier"}


@pytest.mark.parametrize(
    ("task", "convention", "codes"),
    [
        ("gli", BRATS2021, {"WT": {1, 2, 4}, "TC": {1, 4}, "ET": {4}}),
        ("met", BRATS2023, {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}}),
        (
            "gli-post",
            BRATS2024,
            {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}, "NETC": {1}, "SNFH": {2}, "RC": {4}},
        ),
        (
            "ped",
            BRATS_PED,
            {"WT": {1, 2, 3, 4}, "TC": {1, 2, 3}, "ET": {1}, "NETC": {2}, "CC": {3}, "ED": {4}},
        ),
    ],
)
def test_regions_are_the_codes_of_the_challenge(
    task: str, convention: LabelConvention, codes: dict[str, set[int]]
) -> None:
    labels = np.array([0, *convention.codes], dtype=np.uint8).reshape(-1, 1, 1)
    regions = get_rules("plain", task).tissues
    masks = region_masks(labels, convention, list(regions.values()))
    assert {
        name: set(labels[mask].tolist()) for name, mask in zip(regions, masks, strict=True)
    } == codes


def test_metastases_have_a_cavity_in_2026() -> None:
    assert get_rules("brats2026", "met").regions == ("WT", "TC", "ET", "RC")
    assert get_rules("brats2023", "met").regions == ("WT", "TC", "ET")


def test_what_does_not_exist_is_named_with_what_does() -> None:
    with pytest.raises(
        EvaluationError,
        match=r"unknown rule set .*got 'brats1999', expected plain, brats2023, brats2024, brats2025, brats2026",
    ):
        get_rules("brats1999")
    with pytest.raises(
        EvaluationError,
        match=r"unknown task .*got 'liver', expected gli, ssa, gli-post, goat, men, men-rt, met, ped, glioma",
    ):
        get_rules("plain", "liver")
    with pytest.raises(EvaluationError, match=r"unusable tolerance .*got -1"):
        get_rules("plain", "gli", -1)
