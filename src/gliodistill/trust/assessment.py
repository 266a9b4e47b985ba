"""The expected quality of a segmentation, from the network's own probabilities."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.logits import probabilities
from gliodistill.preparation.prepared import Prepared
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.task import Task
from gliodistill.trust.expected_quality import FEATURES, feature_names
from gliodistill.trust.facts import ModelFacts
from gliodistill.trust.flags import Flag, answer_flags, study_flags

FAINT = 0.01
"""Probabilities below it count as 0, so that many tiny ones do not add up to a tumour."""

DOUBT = (0.2, 0.8)
"""Probabilities between these are undecided."""

SLAB = 16
"""Planes processed at once."""


@dataclass(frozen=True)
class Quality:
    """What is known of a segmentation without a reference.

    Attributes:
        features: region → name → value, the features from which Dice is predicted; without empty
            regions.
        predicted_dice: region → predicted Dice, 0 to 1; None for an empty region, or one with too
            few cases in the model's cross-validation. None if the model has no
            :class:`QualityModel`.
        flags: reasons to distrust it.
    """

    features: Mapping[str, Mapping[str, float]]
    predicted_dice: Mapping[str, float | None] | None
    flags: tuple[Flag, ...]

    def summary(self) -> dict[str, Any]:
        """As JSON: predicted Dice and flags."""
        dice = self.predicted_dice
        rounded = dice and {
            region: None if value is None else round(value, 3) for region, value in dice.items()
        }
        return {"predicted_dice": rounded, "flags": [asdict(flag) for flag in self.flags]}


class Evidence:
    """Sums over the probabilities of a segmentation, collected slab by slab without keeping a map.

    For each (nested) region on the prepared grid, with probability p and segmentation m: Σp, Σp
    inside m, voxels of m, voxels with p above 0.2, and of those the ones below 0.8.

    Args:
        threshold: logit above which a voxel belongs to a region.
        task: of the model; None = glioma.
    """

    def __init__(self, threshold: float, task: Task | None = None) -> None:
        self._threshold, self._task = threshold, task or glioma()
        self._sums = np.zeros((len(self._task.regions), 5))

    def add(self, logits: NDArray[np.float32]) -> None:
        """Add a slab: logits of the regions (R x Y Z, float32)."""
        faint = np.float32(np.log(FAINT / (1 - FAINT)))
        low, high = DOUBT
        for first in range(0, logits.shape[1], SLAB):
            part = logits[:, first : first + SLAB]
            # All regions lie within the outermost, which have a few per cent of the voxels.
            likely = np.logical_or.reduce([part[root] > faint for root in self._task.roots])
            values = self._task.nest(part[:, likely])
            for sums, region in zip(self._sums, values, strict=True):
                region = region[region > faint]
                p, drawn = probabilities(region).astype(np.float64), region > self._threshold
                likely = p > low
                sums += (
                    p.sum(),
                    p[drawn].sum(),
                    drawn.sum(),
                    likely.sum(),
                    (likely & (p < high)).sum(),
                )

    def features(self, voxel_ml: float) -> dict[str, dict[str, float]]:
        """Region → features, of non-empty regions.

        :meth:`expected_dice`; ``doubtful``: share of the voxels with p above 0.2 that have p of at
        most 0.8; ``log_ml``: ln of the volume in ml.
        """
        found = {}
        for region, dice in self.expected_dice().items():
            _, _, drawn, likely, doubtful = self._sums[self._task.names.index(region)]
            values = dice, doubtful / max(likely, 1), np.log(drawn * voxel_ml)
            found[region] = dict(zip(FEATURES, map(float, values), strict=True))
        return found

    def expected_dice(self) -> dict[str, float]:
        """2 Σ_m p / (Σp + |m|): the expected Dice if the probabilities were calibrated; of
        non-empty regions.
        """
        sums = zip(self._task.names, self._sums, strict=True)
        return {
            region: float(2 * inside / (total + drawn))
            for region, (total, inside, drawn, *_) in sums
            if drawn
        }


def assess(
    prepared: Prepared,
    spec: ModelFacts,
    evidence: Evidence,
    depth: NDArray[np.uint8],
    volumes_ml: Mapping[str, float],
) -> Quality:
    """Assess a segmentation.

    Args:
        prepared: the study.
        spec: of the model.
        evidence: of the network's output.
        depth: the final segmentation, a painting of the task (uint8 X Y Z), in the part of the
            brain's box that is on the grid.
        volumes_ml: region → ml of the final segmentation.
    """
    names = feature_names(spec.sequences)[len(FEATURES) :]
    lacking = {name: float(not there) for name, there in zip(names, prepared.present, strict=True)}
    found = evidence.features(float(np.prod(prepared.spacing)) / 1000)
    features = {
        region: {**values, **lacking} for region, values in found.items() if volumes_ml[region] > 0
    }
    predicted = spec.quality.predict(features) if spec.quality else {}
    dropped = {
        region: float(np.exp(values["log_ml"]))
        for region, values in found.items()
        if volumes_ml[region] == 0
    }
    flags = study_flags(prepared, spec) + answer_flags(
        depth, prepared, volumes_ml[spec.task.names[0]], dropped, predicted, spec.quality, spec.task
    )
    return Quality(
        features,
        {region: predicted.get(region) for region in spec.task.names} if spec.quality else None,
        tuple(flags),
    )
