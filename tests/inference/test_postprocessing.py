"""Clean-up rules on maps whose parts are counted by hand, and against SciPy's labelling."""

import numpy as np
import pytest
from scipy import ndimage

from gliodistill.errors import PackageError
from gliodistill.inference.postprocessing import RULES, Known, check_steps, clean, parse_steps
from gliodistill.models import Step

WT, TC, ET = 1, 2, 3
KNOWN = Known(1.0, {})


def tumour():
    """Three parts: a cube of 4³ with core and 2 voxels of ET, a plate of 8 voxels, and 2 voxels
    that touch at a corner.
    """
    depth = np.zeros((20, 12, 10), dtype=np.uint8)
    depth[2:6, 2:6, 2:6] = WT
    depth[3:5, 3:5, 3:5] = TC
    depth[3, 3, 3:5] = ET
    depth[10:12, 2:4, 2:4] = ET
    depth[15, 8, 8] = depth[16, 9, 9] = WT
    return depth


def test_small_et_becomes_necrosis_and_large_stays():
    steps = [Step("drop_small_et", {"mm3": 11.0})]
    cleaned = clean(tumour(), steps, KNOWN)
    np.testing.assert_array_equal(cleaned, np.where(tumour() == ET, TC, tumour()))
    np.testing.assert_array_equal(
        clean(tumour(), [Step("drop_small_et", {"mm3": 10.0})], KNOWN), tumour()
    )
    np.testing.assert_array_equal(
        clean(tumour(), steps, Known(2.0, {})), tumour()
    )  # sizes are in mm³


def test_doubtful_et_becomes_necrosis_and_sure_stays():
    steps = [Step("drop_doubtful_et", {"expected_dice": 0.65})]
    doubtful, sure = (
        clean(tumour(), steps, Known(1.0, {"WT": 0.1, "TC": 0.1, "ET": dice}))
        for dice in (0.64, 0.65)
    )
    np.testing.assert_array_equal(doubtful, np.where(tumour() == ET, TC, tumour()))
    np.testing.assert_array_equal(sure, tumour())


@pytest.mark.parametrize(("mm3", "left"), [(1, 3), (3, 2), (8, 2), (9, 1), (64, 1), (65, 0)])
def test_small_parts_go(mm3, left):
    cleaned = clean(tumour(), [Step("drop_small_components", {"mm3": mm3})], KNOWN)
    assert ndimage.label(cleaned > 0, np.ones((3, 3, 3)))[1] == left
    kept = cleaned > 0
    np.testing.assert_array_equal(cleaned[kept], tumour()[kept])


@pytest.mark.parametrize(("share", "left"), [(0.0, 3), (0.1, 2), (0.2, 1), (1.0, 0)])
def test_minor_parts_go(share, left):
    cleaned = clean(tumour(), [Step("drop_minor_components", {"share": share})], KNOWN)
    assert ndimage.label(cleaned > 0, np.ones((3, 3, 3)))[1] == left


@pytest.mark.parametrize("parts", [1, 2, 3, 9])
def test_largest_parts_stay(parts):
    labels, count = ndimage.label(tumour() > 0, np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(np.ones(labels.shape), labels, np.arange(1, count + 1))
    expected = np.isin(labels, 1 + np.argsort(-sizes)[:parts])
    cleaned = clean(tumour(), [Step("keep_largest", {"parts": parts})], KNOWN)
    np.testing.assert_array_equal(cleaned > 0, expected)


def test_steps_follow_one_another():
    steps = [Step("keep_largest", {"parts": 1}), Step("drop_small_et", {"mm3": 3.0})]
    assert ET not in clean(tumour(), steps, KNOWN)
    assert ET in clean(tumour(), steps[::-1], KNOWN)  # with the plate there is more of it


@pytest.mark.parametrize("name", RULES)
def test_nothing_is_left_as_it_is(name):
    assert not clean(
        np.zeros((4, 4, 4), np.uint8), [Step(name, {RULES[name].option: 1.0})], KNOWN
    ).any()


@pytest.mark.parametrize(
    ("step", "field"),
    [
        (Step("polish"), "inference.postprocessing"),
        (Step("drop_small_et"), "inference.postprocessing.drop_small_et"),
        (
            Step("drop_small_et", {"mm3": 1.0, "voxels": 2.0}),
            "inference.postprocessing.drop_small_et",
        ),
        (Step("drop_small_et", {"mm3": -1.0}), "inference.postprocessing.drop_small_et.mm3"),
        (
            Step("drop_minor_components", {"share": 1.5}),
            "inference.postprocessing.drop_minor_components.share",
        ),
    ],
)
def test_steps_that_do_not_fit_are_refused(step, field):
    with pytest.raises(PackageError) as caught:
        check_steps([step])
    assert caught.value.field == field


def test_rules_are_read_from_words():
    assert parse_steps(["drop_small_et=33", "keep_largest=2"]) == (
        Step("drop_small_et", {"mm3": 33.0}),
        Step("keep_largest", {"parts": 2.0}),
    )
    assert parse_steps([]) == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("drop_small_et", "drop_small_et=MM3"),
        ("drop_et=3", "unknown post-processing"),
        ("keep_largest=0", "out of range"),
    ],
)
def test_words_that_are_no_rule_are_refused(text, told):
    with pytest.raises(PackageError, match=told):
        parse_steps([text])
