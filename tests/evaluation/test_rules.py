"""Rule sets: what empty masks are worth."""

import numpy as np
import pytest

from gliodistill.errors import EvaluationError
from gliodistill.evaluation.rules import METRICS, PLAIN, RULES, get_rules

EMPTY = np.zeros((8, 8, 8), dtype=bool)
FULL = np.ones((8, 8, 8), dtype=bool)
SOME = EMPTY.copy()
SOME[2:4, 2:4, 2:4] = True


@pytest.mark.parametrize(
    ("prediction", "truth", "dice", "hd95", "sensitivity", "specificity"),
    [
        (EMPTY, EMPTY, 1.0, 0.0, None, 1.0),
        (SOME, EMPTY, 0.0, 373.1287, None, 1 - 8 / 512),
        (EMPTY, SOME, 0.0, 373.1287, 0.0, 1.0),
        (SOME, SOME, 1.0, 0.0, 1.0, 1.0),
        (FULL, FULL, 1.0, 0.0, 1.0, None),
    ],
)
def test_plain(prediction: np.ndarray, truth: np.ndarray, dice: float, hd95: float, sensitivity: float, specificity: float) -> None:
    values = PLAIN.score_region(prediction, truth, (1, 1, 1), 0.001)
    assert tuple(values) == METRICS
    assert values["dice"] == dice
    assert values["hd95_mm"] == pytest.approx(hd95, abs=1e-4)
    assert values["sensitivity"] == sensitivity
    assert values["specificity"] == specificity


def test_the_text_says_what_the_numbers_are() -> None:
    for rules in RULES.values():
        for value in (rules.both_empty.hd95_mm, rules.one_empty.hd95_mm):
            assert f"{value:.2f}".removesuffix(".00") in rules.text


def test_an_unknown_rule_set_is_named_with_the_valid_ones() -> None:
    with pytest.raises(EvaluationError, match=r"unknown rule set .*got 'brats1999', expected plain"):
        get_rules("brats1999")
