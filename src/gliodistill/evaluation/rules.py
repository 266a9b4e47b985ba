"""Rule sets: what the numbers mean where a mask is empty. One dictionary, one place to add the next."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gliodistill.errors import EvaluationError
from gliodistill.evaluation import metrics
from gliodistill.evaluation.metrics import Mask

METRICS: tuple[str, ...] = ("dice", "hd95_mm", "sensitivity", "specificity", "prediction_ml", "truth_ml")
"""The names of the values of one region, in the order in which they are written."""


@dataclass(frozen=True)
class EmptyRule:
    """What Dice and HD95 are worth when a mask is empty.

    Attributes:
        dice: 0 … 1.
        hd95_mm: millimetres.
    """

    dice: float
    hd95_mm: float


@dataclass(frozen=True)
class Rules:
    """A named way to score one region of one study.

    Attributes:
        name: as given on the command line.
        text: the rules in words, written into every result.
        both_empty: neither prediction nor truth has the region.
        one_empty: exactly one of them has it.
    """

    name: str
    text: str
    both_empty: EmptyRule
    one_empty: EmptyRule

    def score_region(
        self, prediction: Mask, truth: Mask, spacing: Sequence[float], voxel_ml: float, beyond: int = 0
    ) -> dict[str, float | None]:
        """The value of every metric in :data:`METRICS`; None where it is undefined.

        Args:
            prediction: bool on X Y Z.
            truth: bool on X Y Z, the same grid.
            spacing: voxel size along X, Y, Z in mm.
            voxel_ml: volume of one voxel in ml.
            beyond: how many voxels of the image were cropped away; all lie outside both masks.
        """
        predicted, present = bool(prediction.any()), bool(truth.any())
        if predicted and present:
            overlap, distance = metrics.dice(prediction, truth), metrics.hd95_mm(prediction, truth, spacing)
        else:
            rule = self.one_empty if predicted or present else self.both_empty
            overlap, distance = rule.dice, rule.hd95_mm
        return {
            "dice": overlap,
            "hd95_mm": distance,
            "sensitivity": metrics.sensitivity(prediction, truth),
            "specificity": metrics.specificity(prediction, truth, beyond),
            "prediction_ml": metrics.volume_ml(prediction, voxel_ml),
            "truth_ml": metrics.volume_ml(truth, voxel_ml),
        }


BRATS_DIAGONAL_MM = float(np.sqrt(240.0**2 + 240.0**2 + 155.0**2))
"""Diagonal of the BraTS image, 240×240×155 mm: 373.13 mm, the penalty of the challenges up to 2022."""

PLAIN = Rules(
    name="plain",
    text=(
        "Each region (WT, TC, ET) is one mask per study; no lesion is left out and none is scored by itself. "
        "Dice = 2|P∩T|/(|P|+|T|). HD95 = the larger of the two directed 95th percentiles of the distance between "
        "surface voxel centres (6-neighbour surface), in mm. "
        "Both masks empty: Dice 1, HD95 0 mm. One mask empty: Dice 0, HD95 373.13 mm (diagonal of 240×240×155 mm, "
        "as in the BraTS challenges up to 2022, whatever the image's own size). "
        "Sensitivity is undefined (null) where the truth is empty; specificity is over all voxels outside the truth in the whole image "
        "and undefined where there are none. "
        "Summaries leave undefined values out and give their count n; std is the sample standard deviation (n - 1), null for n < 2."
    ),
    both_empty=EmptyRule(dice=1.0, hd95_mm=0.0),
    one_empty=EmptyRule(dice=0.0, hd95_mm=BRATS_DIAGONAL_MM),
)

RULES: dict[str, Rules] = {rules.name: rules for rules in (PLAIN,)}
"""Every rule set by name. A new one is a new :class:`Rules` here (or a subclass with its own ``score_region``)."""


def get_rules(name: str) -> Rules:
    """The rule set called ``name``.

    Raises:
        EvaluationError: there is none; the valid names are listed.
    """
    if name not in RULES:
        raise EvaluationError("unknown rule set", field="rules", got=repr(name), expected=", ".join(RULES))
    return RULES[name]
