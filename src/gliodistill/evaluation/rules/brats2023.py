"""``brats2023``: lesion by lesion, as the organisers' script of the BraTS 2023 challenges
(rachitsaluja/BraTS-2023-Metrics).

Saluja et al.; surfaces by DeepMind's ``surface-distance``. The values equal those of the script.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.evaluation.lesions import Lesions, f1
from gliodistill.evaluation.rules.base import METRICS, Region, Rules, Values
from gliodistill.evaluation.surfaces import Surface, SurfaceDistances

PENALTY_MM = 374.0
TOLERANCE_MM = 1.0

_DILATIONS = {"men": 1, "met": 1}
_SMALL_MM3 = {"met": 2.0}


@dataclass(frozen=True)
class Brats2023(Rules):
    """Lesions of the reference, merged if they nearly touch, each with the predictions near it."""

    name = "brats2023"

    @property
    def dilations(self) -> int:
        """Number of dilations of the reference, for merging lesions and finding predictions near
        them.
        """
        return _DILATIONS.get(self.challenge, 3)

    @property
    def small_mm3(self) -> float:
        """Lesions of the reference up to this size are ignored."""
        return _SMALL_MM3.get(self.challenge, 50.0)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Lesion-wise values, and those of the whole region, which the script calls legacy."""
        return (*METRICS, "whole_dice", "whole_hd95_mm")

    @property
    def own_text(self) -> str:
        """The text specific to these rules."""
        extra = self.regions[3:]
        unofficial = (
            f" ({', '.join(extra)}: by the same rules, though the organisers' script knows WT, TC"
            " and ET alone)"
            if extra
            else ""
        )
        return (
            f"BraTS 2023, lesion by lesion, task {self.task}, regions"
            f" {', '.join(self.regions)}{unofficial}. The reference is dilated {self.dilations}"
            " times"
            " by its 18 neighbours; 26-connected components of that are its lesions (of the"
            " undilated reference), and every 26-connected component of the prediction that"
            " touches a"
            " dilated lesion belongs to it, whole, even if it belongs to another as well. Per"
            " lesion: Dice, and HD95 over surface patches weighted by area (Nikolov et al. 2018),"
            f" the larger of both directions; 0 and {PENALTY_MM:g} mm for a lesion that nothing"
            f" belongs to. Lesions of at most {self.small_mm3:g} mm³ are left out. A component of"
            " the prediction that belongs to no lesion, of any size, counts as one more lesion of"
            f" Dice 0 and HD95 {PENALTY_MM:g} mm. Dice and HD95 are means over these lesions, 1 and"
            " 0 mm where there are none. lesion_tp, lesion_fn: lesions of the reference that"
            " something"
            " or nothing belongs to; lesion_fp: components that belong to none; F1 ="
            " 2TP/(2TP+FP+FN). whole_dice and whole_hd95_mm take the region as one mask"
            f" ({PENALTY_MM:g} mm where one is empty, 1 and 0 mm where both are), and so does NSD,"
            f" the share of surface area within {self._tolerance:g} mm. Sensitivity is 1 where both"
            " masks are empty, 0 where the reference alone is."
        )

    @property
    def _tolerance(self) -> float:
        return TOLERANCE_MM if self.tolerance_mm is None else self.tolerance_mm

    def score_region(self, region: Region) -> Values:
        """The value of every metric but ``ece`` and ``brier``."""
        lesions = Lesions.of(region.prediction, region.truth, merge=self.dilations)
        distances = _Distances(region, lesions)
        large = lesions.truth_voxels * math.prod(region.spacing) > self.small_mm3
        large[0] = False
        met = lesions.touching.any(axis=1)
        false = len(lesions.prediction_voxels) - 1 - int(lesions.touching.any(axis=0).sum())
        found, missed = int((large & met).sum()), int((large & ~met).sum())

        overlaps, hd95s = [0.0] * (missed + false), [PENALTY_MM] * (missed + false)
        for lesion in np.flatnonzero(large & met):
            near = lesions.touching[lesion]
            size = lesions.truth_voxels[lesion] + lesions.prediction_voxels[near].sum()
            overlaps.append(2.0 * float(lesions.shared_voxels[lesion, near].sum()) / float(size))
            hd95s.append(distances.hd95(int(lesion), near))
        counted = region.counted()
        counted["sensitivity"] = counted["sensitivity"] or (
            0.0 if region.truth_voxels or region.prediction_voxels else 1.0
        )
        return {
            "dice": sum(overlaps) / len(overlaps) if overlaps else 1.0,
            "hd95_mm": sum(hd95s) / len(hd95s) if hd95s else 0.0,
            "nsd": distances.surface_dice(self._tolerance),
            **counted,
            "lesion_f1": f1(found, false, missed),
            "lesion_tp": found,
            "lesion_fp": false,
            "lesion_fn": missed,
            "whole_dice": region.dice,
            "whole_hd95_mm": distances.whole_hd95(),
        }


class _Distances:
    """Measured once between the whole surfaces; a lesion's are a part of them."""

    def __init__(self, region: Region, lesions: Lesions) -> None:
        self.empty = region.prediction_voxels + region.truth_voxels == 0
        self.whole: SurfaceDistances | None = None
        if region.prediction_voxels and region.truth_voxels:
            predicted, true = (
                Surface.patches(mask, region.spacing) for mask in (region.prediction, region.truth)
            )
            self.whole = SurfaceDistances.of(predicted, true, region.spacing)
            # Components are at least a voxel apart, so no patch belongs to two of them.
            self.predicted, self.true = (
                predicted.labels(lesions.prediction),
                true.labels(lesions.truth),
            )

    def hd95(self, lesion: int, near: NDArray[np.bool_]) -> float:
        assert self.whole is not None
        return self.whole.between(near[self.predicted], self.true == lesion).hd95_by_area()

    def whole_hd95(self) -> float:
        if self.whole is not None:
            return self.whole.hd95_by_area()
        return 0.0 if self.empty else PENALTY_MM

    def surface_dice(self, tolerance: float) -> float:
        return self.whole.surface_dice(tolerance) if self.whole is not None else float(self.empty)
