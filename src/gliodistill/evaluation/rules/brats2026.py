"""``brats2026``: instances matched one to one, as the challenge's package ``brats-evaluation``
0.0.10 does with panoptica.

The values equal those of the package. None of its code is used here (its licence is AGPL-3.0).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gliodistill.evaluation.lesions import Lesions, f1
from gliodistill.evaluation.rules.base import METRICS, Region, Rules, Values
from gliodistill.evaluation.surfaces import Surface, SurfaceDistances
from gliodistill.evaluation.tasks import Regions
from gliodistill.studies.labels import Tissue

PENALTY_MM = 373.0
MATCHED_DICE = 1e-6
LARGE_MM3, FOUND_DICE = 27.0, 0.2
"""Metastases: least volume of a large lesion, and least Dice of a found one, as the challenge calls
the package (brats-infra, evaluation/segmentation/score.py); the package's defaults are 20 and 0.1.
"""


class LesionScores(NamedTuple):
    """The agreement of one mask, or of one pair of lesions."""

    dice: float
    hd95_mm: float
    nsd: float


NOTHING_SHARED = LesionScores(0.0, PENALTY_MM, 0.0)


@dataclass(frozen=True)
class Brats2026(Rules):
    """Whole regions, and lesions matched one to one by Dice; panoptica's HD95 and NSD."""

    name = "brats2026"

    @property
    def tissues(self) -> Regions:
        """Those of the task; metastases also have a resection cavity."""
        return {
            **super().tissues,
            **({"RC": frozenset({Tissue.RC})} if self.challenge == "met" else {}),
        }

    @property
    def metrics(self) -> tuple[str, ...]:
        """Values of the whole region, and means over lesions."""
        sized = (
            ("large_f1", "large_tp", "large_fn", "small_f1", "small_tp", "small_fn")
            if self.challenge == "met"
            else ()
        )
        return (*METRICS, "lesion_dice", "lesion_hd95_mm", "lesion_nsd", *sized)

    @property
    def own_text(self) -> str:
        """The text specific to these rules."""
        tolerance = "half the smallest side of a voxel (pairs of lesions: the whole side)"
        if self.tolerance_mm is not None:
            tolerance = f"{self.tolerance_mm:g} mm"
        penalty = f"{PENALTY_MM:g} mm"
        means = (
            f"lesion_dice, lesion_hd95_mm, lesion_nsd: means over matched pairs; 0, {penalty} (the"
            " package: infinite), 0 where there are lesions but no pair; undefined where there are"
            " none."
        )
        if self.challenge == "met":
            means = (
                "lesion_dice, lesion_hd95_mm, lesion_nsd: means over the reference's lesions of at"
                f" least {LARGE_MM3:g} mm³ (unmatched: 0, {penalty}, 0) and the unmatched ones of"
                " the prediction, of any size (the same); undefined where the reference has none so"
                " large. large_tp and small_tp: lesions of the reference, from that volume on and"
                f" below, matched with Dice ≥ {FOUND_DICE:g}; large_fn, small_fn: the others; their"
                " F1 counts every unmatched lesion of the prediction as false; undefined where the"
                " reference has none of that size."
            )
        return (
            f"BraTS 2026 as brats-evaluation 0.0.10, task {self.task}, regions"
            f" {', '.join(self.regions)}. Dice, HD95 and NSD take each region as one mask: HD95 ="
            " 95th percentile of the distances between surface voxel centres (6-neighbour"
            " surface), both directions pooled, in mm (the package: in voxels for the whole"
            " region, which is the same at 1 mm); NSD = mean of both surfaces' share of voxels"
            f" within {tolerance} of the other. Masks that share no voxel: Dice 0, HD95 {penalty},"
            " NSD 0; both empty: undefined. Lesions are 26-connected components, matched one to"
            f" one so that the sum of Dice is largest, never below Dice {MATCHED_DICE:g}; TP:"
            f" pairs, FP and FN: what is left over; F1 = 2TP/(2TP+FP+FN). {means} Not of the"
            " package: sensitivity (undefined where the reference is empty), specificity, volumes."
        )

    def score_region(self, region: Region) -> Values:
        """The value of every metric but ``ece`` and ``brier``."""
        lesions = Lesions.of(region.prediction, region.truth)
        whole, pairs = _measure(region, lesions, self.tolerance_mm)
        found = len(pairs)
        missed, false = (
            len(lesions.truth_voxels) - 1 - found,
            len(lesions.prediction_voxels) - 1 - found,
        )
        values: Values = {
            "dice": whole and whole.dice,
            "hd95_mm": whole and whole.hd95_mm,
            "nsd": whole and whole.nsd,
            **region.counted(),
            "lesion_f1": f1(found, false, missed),
            "lesion_tp": found,
            "lesion_fp": false,
            "lesion_fn": missed,
        }
        if self.challenge != "met":
            return values | _means(
                pairs.values() if pairs else [NOTHING_SHARED] if missed or false else []
            )
        volumes = lesions.truth_voxels[1:] * float(np.prod(region.spacing))
        every = [
            (pairs.get(index, NOTHING_SHARED), volume >= LARGE_MM3)
            for index, volume in enumerate(volumes, 1)
        ]
        large, small = (
            [q for q, is_large in every if is_large],
            [q for q, is_large in every if not is_large],
        )
        values |= _means([*large, *[NOTHING_SHARED] * false] if large else [])
        return values | _found("large", large, false) | _found("small", small, false)


def _measure(
    region: Region, lesions: Lesions, tolerance: float | None
) -> tuple[LesionScores | None, dict[int, LesionScores]]:
    """Scores of the whole region (None: empty) and of each matched lesion of the reference, each at
    its tolerance.
    """
    # The package passes no voxel size to its metrics of whole regions; their tolerance is half a
    # voxel.
    tolerances = (
        (min(region.spacing) / 2, min(region.spacing))
        if tolerance is None
        else (tolerance, tolerance)
    )
    if not region.shared_voxels:
        return (NOTHING_SHARED if region.prediction_voxels or region.truth_voxels else None), {}
    predicted, true = Surface.voxels(region.prediction), Surface.voxels(region.truth)
    distances = SurfaceDistances.of(predicted, true, region.spacing)
    predicted_lesion, true_lesion = predicted.labels(lesions.prediction), true.labels(lesions.truth)

    def quality(dice: float, part: SurfaceDistances, tolerance: float) -> LesionScores:
        return LesionScores(
            dice, part.hd95_of_both_directions(), part.surface_dice_of_directions(tolerance)
        )

    overlap = (
        2.0
        * lesions.shared_voxels
        / np.maximum(lesions.truth_voxels[:, None] + lesions.prediction_voxels, 1)
    )
    pairs = {
        one: quality(
            float(overlap[one, other]),
            distances.between(predicted_lesion == other, true_lesion == one),
            tolerances[1],
        )
        for one, other in _match(
            overlap, _in_order(true, true_lesion), _in_order(predicted, predicted_lesion)
        )
    }
    return quality(region.dice, distances, tolerances[0]), pairs


def _match(
    overlap: NDArray[np.float64], true: NDArray[np.intp], predicted: NDArray[np.intp]
) -> list[tuple[int, int]]:
    """Pairs of the listed lesions with the largest sum of Dice."""
    from scipy.optimize import linear_sum_assignment

    overlap = overlap[np.ix_(true, predicted)]
    cost = np.where(overlap >= MATCHED_DICE, 1.0 - overlap, 1.0 + MATCHED_DICE)
    return [
        (int(true[i]), int(predicted[j]))
        for i, j in zip(*linear_sum_assignment(cost), strict=True)
        if cost[i, j] < 1.0
    ]


def _in_order(surface: Surface, lesion: NDArray[Any]) -> NDArray[np.intp]:
    """Lesions in the order of the package, X fastest, which decides between equal pairings."""
    _, first = np.unique(lesion[order := np.lexsort(surface.points.T)], return_index=True)
    return lesion[order][np.sort(first)].astype(np.intp)


def _means(qualities: Iterable[LesionScores]) -> Values:
    columns = list(zip(*qualities, strict=True)) or [()] * 3
    return {
        f"lesion_{name}": fmean(column) if column else None
        for name, column in zip(LesionScores._fields, columns, strict=True)
    }


def _found(size: str, lesions: list[LesionScores], false: int) -> Values:
    if not lesions:
        return {f"{size}_f1": None, f"{size}_tp": None, f"{size}_fn": None}
    found = sum(quality.dice >= FOUND_DICE for quality in lesions)
    return {
        f"{size}_f1": f1(found, false, len(lesions) - found),
        f"{size}_tp": found,
        f"{size}_fn": len(lesions) - found,
    }
