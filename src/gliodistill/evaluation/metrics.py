"""Metrics of one region: a description of each, and the plain metrics of two masks on one grid."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Fact:
    """Name and format of a metric.

    Attributes:
        title: for a table's head.
        unit: ``mm``, ``ml`` or nothing.
        better: whether a higher or a lower value is better; empty if neither is.
        format: of one value, e.g. ``.4f``.
    """

    title: str
    unit: str
    better: Literal["higher", "lower", ""]
    format: str


FACTS: dict[str, Fact] = {
    "dice": Fact("Dice", "", "higher", ".4f"),
    "hd95_mm": Fact("HD95", "mm", "lower", ".2f"),
    "nsd": Fact("NSD", "", "higher", ".4f"),
    "sensitivity": Fact("sensitivity", "", "higher", ".4f"),
    "specificity": Fact("specificity", "", "higher", ".5f"),
    "prediction_ml": Fact("predicted", "ml", "", ".1f"),
    "truth_ml": Fact("reference", "ml", "", ".1f"),
    "difference_ml": Fact("difference", "ml", "", "+.1f"),
    "lesion_f1": Fact("lesion F1", "", "higher", ".3f"),
    "lesion_tp": Fact("lesions found", "", "", ".4g"),
    "lesion_fp": Fact("false lesions", "", "lower", ".4g"),
    "lesion_fn": Fact("lesions missed", "", "lower", ".4g"),
    "ece": Fact("ECE", "", "lower", ".4f"),
    "brier": Fact("Brier", "", "lower", ".4f"),
    "whole_dice": Fact("whole-region Dice", "", "higher", ".4f"),
    "whole_hd95_mm": Fact("whole-region HD95", "mm", "lower", ".2f"),
    "lesion_dice": Fact("lesion Dice", "", "higher", ".4f"),
    "lesion_hd95_mm": Fact("lesion HD95", "mm", "lower", ".2f"),
    "lesion_nsd": Fact("lesion NSD", "", "higher", ".4f"),
    "lesion_nsd_05": Fact("lesion NSD at 0.5 mm", "", "higher", ".4f"),
    "lesion_nsd_10": Fact("lesion NSD at 1 mm", "", "higher", ".4f"),
    "large_f1": Fact("F1 of large lesions", "", "higher", ".3f"),
    "large_tp": Fact("large lesions found", "", "", ".4g"),
    "large_fn": Fact("large lesions missed", "", "lower", ".4g"),
    "small_f1": Fact("F1 of small lesions", "", "higher", ".3f"),
    "small_tp": Fact("small lesions found", "", "", ".4g"),
    "small_fn": Fact("small lesions missed", "", "lower", ".4g"),
}
"""Every metric that any rule set gives, by its name in scores. The rule set's text defines each
exactly.
"""


def dice(prediction: Mask, truth: Mask) -> float | None:
    """Dice overlap ``2|P ∩ T| / (|P| + |T|)``.

    Args:
        prediction: bool on X Y Z.
        truth: bool on X Y Z, the same grid.

    Returns:
        0 … 1, or None if both masks are empty (the rule set defines its score).
    """
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return 2.0 * np.count_nonzero(prediction & truth) / total if total else None


def volume_ml(mask: Mask, voxel_ml: float) -> float:
    """Volume of a mask in ml, given that of a voxel."""
    return float(np.count_nonzero(mask)) * voxel_ml
