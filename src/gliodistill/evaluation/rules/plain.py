"""``plain``: each region is one mask, as in the BraTS challenges up to 2022."""

from dataclasses import dataclass

import numpy as np

from gliodistill.evaluation.lesions import Lesions, f1
from gliodistill.evaluation.rules.base import Region, Rules, Values
from gliodistill.evaluation.surfaces import Surface, SurfaceDistances

BRATS_DIAGONAL_MM = float(np.sqrt(240.0**2 + 240.0**2 + 155.0**2))
"""Diagonal of the BraTS image, 240×240×155 mm: 373.13 mm, the penalty of the challenges up to 2022.
"""

TOLERANCE_MM = 1.0


@dataclass(frozen=True)
class Plain(Rules):
    """Whole regions; MONAI's surfaces and percentiles."""

    name = "plain"

    @property
    def own_text(self) -> str:
        """The text specific to these rules."""
        return (
            f"Each region ({', '.join(self.regions)}) is one mask per study; no lesion is left out."
            " Dice = 2|P∩T|/(|P|+|T|). HD95 = the larger of the two directed 95th percentiles of"
            " the distance between surface voxel centres (6-neighbour surface), in mm. NSD = share"
            f" of the surface voxels of both masks within {self._tolerance:g} mm of the other's"
            " surface. Both masks empty: Dice 1, HD95 0 mm, NSD 1. One mask empty: Dice 0, HD95"
            " 373.13 mm (diagonal of 240×240×155 mm, as in the BraTS challenges up to 2022,"
            " whatever the image's own size), NSD 0. Sensitivity is undefined (null) where the"
            " reference is empty; specificity is over all voxels outside the reference in the"
            " whole image"
            " and undefined where there are none. Lesions are 26-connected components: a lesion of"
            " the reference is found (TP) or missed (FN) as it shares a voxel with the prediction"
            " or"
            " not; one of the prediction that shares none with the reference is false (FP); F1 ="
            " 2TP/(2TP+FP+FN)."
        )

    @property
    def _tolerance(self) -> float:
        return TOLERANCE_MM if self.tolerance_mm is None else self.tolerance_mm

    def score_region(self, region: Region) -> Values:
        """The value of every metric but ``ece`` and ``brier``."""
        hd95, nsd = self._surface(region)
        lesions = Lesions.of(region.prediction, region.truth)
        found = int(lesions.touching.any(axis=1).sum())
        missed = len(lesions.truth_voxels) - 1 - found
        false = len(lesions.prediction_voxels) - 1 - int(lesions.touching.any(axis=0).sum())
        return {
            "dice": region.dice,
            "hd95_mm": hd95,
            "nsd": nsd,
            **region.counted(),
            "lesion_f1": f1(found, false, missed),
            "lesion_tp": found,
            "lesion_fp": false,
            "lesion_fn": missed,
        }

    def _surface(self, region: Region) -> tuple[float, float]:
        if not region.prediction_voxels or not region.truth_voxels:
            empty = not region.prediction_voxels and not region.truth_voxels
            return (0.0, 1.0) if empty else (BRATS_DIAGONAL_MM, 0.0)
        distances = SurfaceDistances.of(
            Surface.voxels(region.prediction), Surface.voxels(region.truth), region.spacing
        )
        return distances.hd95_of_worse_direction(), distances.surface_dice(self._tolerance)
