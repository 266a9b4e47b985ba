"""What is measured of one region: the facts about each metric, and the plain ones of two boolean
masks on one grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gliodistill.evaluation.surfaces import Surface, SurfaceDistances

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Fact:
    """How a metric is called and shown.

    Attributes:
        title: for a table's head.
        unit: ``mm``, ``ml`` or nothing.
        better: whether a higher or a lower value is better; empty where neither is.
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
    "truth_ml": Fact("truth", "ml", "", ".1f"),
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
    "large_f1": Fact("F1 of large lesions", "", "higher", ".3f"),
    "large_tp": Fact("large lesions found", "", "", ".4g"),
    "large_fn": Fact("large lesions missed", "", "lower", ".4g"),
    "small_f1": Fact("F1 of small lesions", "", "higher", ".3f"),
    "small_tp": Fact("small lesions found", "", "", ".4g"),
    "small_fn": Fact("small lesions missed", "", "lower", ".4g"),
}
"""Every metric that any rule set gives, by its name in scores. What each means exactly is in the
rule set's text.
"""


def dice(prediction: Mask, truth: Mask) -> float | None:
    """Dice overlap ``2|P ∩ T| / (|P| + |T|)``.

    Args:
        prediction: bool on X Y Z.
        truth: bool on X Y Z, the same grid.

    Returns:
        0 … 1, or None where both masks are empty (a rule set decides what that is worth).
    """
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return 2.0 * np.count_nonzero(prediction & truth) / total if total else None


def sensitivity(prediction: Mask, truth: Mask) -> float | None:
    """Share of the truth's voxels that the prediction holds, 0 … 1; None where the truth is empty."""
    positives = np.count_nonzero(truth)
    return np.count_nonzero(prediction & truth) / positives if positives else None


def specificity(prediction: Mask, truth: Mask, beyond: int = 0) -> float | None:
    """Share of the voxels outside the truth, in the whole image, that the prediction leaves out, 0
    … 1.

    None where the truth fills the image. A tumour is a small part of a head, so this lies near 1
    for any
    sane prediction: it is reported because tables ask for it, not because it tells models apart.

    Args:
        prediction: bool on X Y Z.
        truth: bool on X Y Z, the same grid.
        beyond: how many voxels of the image were cropped away; all lie outside both masks.
    """
    negatives = truth.size + beyond - np.count_nonzero(truth)
    false_positives = np.count_nonzero(prediction) - np.count_nonzero(prediction & truth)
    return 1.0 - false_positives / negatives if negatives else None


def volume_ml(mask: Mask, voxel_ml: float) -> float:
    """Volume of a mask in ml; ``voxel_ml`` as in :attr:`gliodistill.images.volume.Volume.voxel_ml`."""
    return float(np.count_nonzero(mask)) * voxel_ml


def hd95_mm(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> float | None:
    """Robust Hausdorff distance between the surfaces of two masks, in mm.

    The surface of a mask is its voxels with a face neighbour outside (6-neighbour erosion; beyond
    the image counts as outside). From each surface voxel centre of one mask the distance to the
    nearest surface voxel centre of the other is taken, in both directions; the result is the larger
    of the two 95th percentiles (linear interpolation). This is MONAI's
    ``compute_hausdorff_distance(percentile=95)``; implementations that pool both directions before
    the percentile (MedPy ``hd95``) give other, mostly smaller, numbers.

    Args:
        prediction: bool on X Y Z.
        truth: bool on X Y Z, the same grid.
        spacing: voxel size along X, Y, Z in mm.

    Returns:
        Millimetres, ≥ 0, exact; None where either mask is empty (a rule set decides what that is
        worth).
    """
    if not prediction.any() or not truth.any():
        return None
    return SurfaceDistances.of(
        Surface.voxels(prediction), Surface.voxels(truth), spacing
    ).hd95_of_worse_direction()
