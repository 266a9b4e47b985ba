"""Plain rules: what empty masks are worth, and lesions by shared voxels."""

import numpy as np
import pytest

from evaluation_shapes import box
from gliodistill.evaluation.rules import Region, get_rules

EMPTY = np.zeros((8, 8, 8), dtype=bool)
FULL = np.ones((8, 8, 8), dtype=bool)
SOME = box((8, 8, 8), (slice(2, 4),) * 3)
PLAIN = get_rules("plain")


@pytest.mark.parametrize(
    ("prediction", "truth", "dice", "hd95", "nsd", "sensitivity", "specificity", "f1"),
    [
        (EMPTY, EMPTY, 1.0, 0.0, 1.0, None, 1.0, None),
        (SOME, EMPTY, 0.0, 373.1287, 0.0, None, 1 - 8 / 512, 0.0),
        (EMPTY, SOME, 0.0, 373.1287, 0.0, 0.0, 1.0, 0.0),
        (SOME, SOME, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0),
        (FULL, FULL, 1.0, 0.0, 1.0, 1.0, None, 1.0),
    ],
)
def test_empty_and_full(prediction, truth, dice, hd95, nsd, sensitivity, specificity, f1) -> None:
    values = PLAIN.score_region(Region(prediction, truth, (1, 1, 1), 0.001))
    assert (values["dice"], values["nsd"], values["lesion_f1"]) == (dice, nsd, f1)
    assert values["hd95_mm"] == pytest.approx(hd95, abs=1e-4)
    assert f"{hd95:.2f}".removesuffix(".00") in PLAIN.text
    assert (values["sensitivity"], values["specificity"]) == (sensitivity, specificity)


def test_lesions_are_found_by_one_shared_voxel() -> None:
    part = slice(1, 4)
    truth = box(
        (30, 6, 6),
        (slice(1, 4), part, part),
        (slice(10, 13), part, part),
        (slice(20, 23), part, part),
    )
    prediction = box(
        (30, 6, 6), (slice(3, 12), part, part), (slice(26, 28), part, part)
    )  # meets two at once, misses one
    values = PLAIN.score_region(Region(prediction, truth, (1, 2, 3), 0.006))
    assert (values["lesion_tp"], values["lesion_fp"], values["lesion_fn"]) == (2, 1, 1)
    assert values["lesion_f1"] == pytest.approx(4 / 6)
    assert values["difference_ml"] == pytest.approx((11 - 9) * 9 * 0.006)
