"""Ensembles of models and mirrorings: the unweighted mean of probabilities, and the members'
agreement.

The mean over models is that of Lachinov et al. (BrainLes 2019); the mean over mirrored inputs is
data distillation (Radosavovic et al., CVPR 2018). A *member* is one model with one mirroring; all
members are weighted equally. The papers average four classes and take the arg-max. Here the
probabilities of WT, TC and ET are averaged, which models with ``regions`` and with ``classes`` both
give, so that they may be mixed (our reading).
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.images.volume import Volume
from gliodistill.inference.predictor import Predictor
from gliodistill.inference.tta import NO_TTA, Mirroring, names
from gliodistill.logits import FLOOR, probabilities
from gliodistill.preparation.preparation import Preparation
from gliodistill.preparation.prepared import Prepared
from gliodistill.studies.image_checks import usable
from gliodistill.studies.study import Study
from gliodistill.trust.calibration import calibrated

RULE = (
    "mean probability of WT, TC and ET over models × mirrorings, all members weighted equally; a"
    " region where it is"
    " above 0.5, TC only inside WT and ET only inside TC; agreement = mean Dice over all pairs of"
    " members; confidence = smallest |2p − 1| and disagreement = largest 2σ of any region; maps are"
    " stored · 255"
)


class Labeller(Protocol):
    """What labels studies: an ensemble of models, or a teacher of another tool."""

    def __len__(self) -> int:
        """Members."""

    def describe(self) -> dict[str, Any]:
        """What decides its predictions, as JSON."""

    def facts(self, id: str) -> dict[str, Any]:
        """What else decides the prediction for one study, as JSON."""

    def ask(self, study: Study) -> "Consensus":
        """Predict a study."""


@dataclass(frozen=True, eq=False)
class Consensus:
    """The ensemble's prediction for one study, on the study's own grid.

    Attributes:
        probability: of WT, TC, ET (float32, 3 X Y Z, in [0, 1]); the mean over members, made nested
            (TC ≤ WT, ET ≤ TC); 0 outside the brain.
        deviation: standard deviation over members (float32, 3 X Y Z, in [0, 0.5]), before that.
        agreement: region → mean Dice over all pairs of members, each thresholded at 0.5 (both
            empty: 1); None with one member.
        grid: any volume on the study's grid.
        seconds: time taken.
    """

    probability: NDArray[np.float32]
    deviation: NDArray[np.float32]
    agreement: dict[str, float] | None
    grid: Volume
    seconds: float

    @property
    def regions(self) -> NDArray[np.bool_]:
        """WT, TC, ET (bool, 3 X Y Z): probability above 0.5; nested, as the probabilities are."""
        return self.probability > 0.5

    def confidence(self) -> NDArray[np.float32]:
        """Confidence: the smallest |2p − 1| of any region, X Y Z in [0, 1]."""
        sure: NDArray[np.float32] = np.abs(2 * self.probability - 1).min(axis=0)
        return sure

    def disagreement(self) -> NDArray[np.float32]:
        """Disagreement: the largest 2σ of any region, X Y Z in [0, 1]; 1 if half of the members
        predict 0 and half 1.
        """
        split: NDArray[np.float32] = 2 * self.deviation.max(axis=0)
        return split


class Ensemble:
    """An ensemble of models.

    Args:
        models: one or more, of any networks, preparations and kinds of output.
        tta: mirrorings of each model's input (:func:`~gliodistill.inference.tta.parse_tta`).

    Raises:
        PackageError: no model, or one twice.
    """

    def __init__(self, models: Sequence[Predictor], tta: tuple[Mirroring, ...] = NO_TTA) -> None:
        fingerprints = [model.package.fingerprint for model in models]
        if not models:
            raise PackageError("no model", field="models", got=0, expected="one or more")
        if len(set(fingerprints)) < len(fingerprints):
            twice = next(
                m.package.name for m in models if fingerprints.count(m.package.fingerprint) > 1
            )
            raise PackageError(
                "a model given twice",
                field="models",
                got=twice,
                expected="each once, since all are weighted equally",
            )
        self.models, self.tta = tuple(models), tta
        self.task = models[0].package.spec.task
        for model in models:
            if model.package.spec.task.parts != self.task.parts:
                raise PackageError(
                    "models of different tasks",
                    file=model.package.folder,
                    field="task",
                    got=model.package.spec.task,
                    expected=self.task,
                )

    def __len__(self) -> int:
        """Members: models × mirrorings."""
        return len(self.models) * len(self.tta)

    def describe(self) -> dict[str, Any]:
        """What decides its predictions, as JSON."""
        return {
            "models": [
                {
                    "name": m.package.identity,
                    "sha256": m.package.fingerprint,
                    "weights_sha256": m.package.weights_sha256,
                }
                for m in self.models
            ],
            "runtimes": [type(model.runtime).__name__ for model in self.models],
            "tta": names(self.tta),
            "rule": RULE,
        }

    def facts(self, id: str) -> dict[str, Any]:
        """What else decides the prediction for one study: nothing."""
        return {}

    def ask(self, study: Study) -> Consensus:
        """Predict a study.

        Memory: two float32 maps of three regions on the study's grid, and one bit per voxel, region
        and member.

        Raises:
            StudyError: it lacks a sequence that some model needs, or its images are empty.
        """
        began = time.perf_counter()
        prepared = self._prepare(study)
        canonical = study.grid.canonical()
        task = self.task
        total = np.zeros((len(task.regions), *canonical.shape), dtype=np.float32)
        squares = np.zeros_like(total)
        drawn = []
        for model, view, logits in self._members(prepared):
            on_grid, part = view.on_grid
            values = calibrated(view.in_box(np.maximum(logits, FLOOR)), model.temperatures(view))
            probability = probabilities(values)[:, *part]
            place = (slice(None), *on_grid)
            total[place] += probability
            squares[place] += probability**2
            if len(self) > 1:
                whole = np.zeros(total.shape, dtype=bool)
                whole[place] = task.nest(probability > 0.5)
                drawn.append(np.packbits(whole.reshape(len(whole), -1), axis=1))
        mean = total / len(self)
        deviation = np.sqrt(np.maximum(squares / len(self) - mean**2, 0))
        agreement = (
            {region: _agreement([m[i] for m in drawn]) for i, region in enumerate(task.names)}
            if drawn
            else None
        )
        probability, deviation = (
            np.ascontiguousarray(study.grid.from_canonical(values))
            for values in (task.nest(mean), deviation)
        )
        return Consensus(probability, deviation, agreement, study.grid, time.perf_counter() - began)

    def _prepare(self, study: Study) -> dict[Preparation, Prepared]:
        """One prepared study for each preparation, after every model has checked the study."""
        study = usable(study)
        prepared: dict[Preparation, Prepared] = {}
        for model in self.models:
            model.check(study)
        for model in self.models:
            if model.package.preparation not in prepared:
                prepared[model.package.preparation] = model.package.preparation.apply(study)
        return prepared

    def _members(
        self, prepared: dict[Preparation, Prepared]
    ) -> Iterator[tuple[Predictor, Prepared, NDArray[np.float32]]]:
        """Yield each member's model, prepared study and logits of the regions, mirrored back."""
        for model in self.models:
            view = prepared[model.package.preparation]
            for mirroring in self.tta:
                axes = tuple(axis + 1 for axis in mirroring)
                logits = model.region_logits(np.ascontiguousarray(np.flip(view.image, axes)))
                yield model, view, np.ascontiguousarray(np.flip(logits, axes))


def _agreement(drawn: list[NDArray[np.uint8]]) -> float:
    """Mean Dice over all pairs of masks (packed bits, one array per member)."""
    anyone = np.bitwise_or.reduce(drawn)
    filled = np.flatnonzero(anyone)
    voxels = np.unpackbits(np.stack([mask[filled] for mask in drawn]), axis=1).astype(np.float32)
    overlap = voxels @ voxels.T  # sums below 2²⁴: exact in float32
    sizes = np.diagonal(overlap)
    first, second = np.triu_indices(len(drawn), 1)
    both = sizes[first] + sizes[second]
    dice = np.where(both > 0, 2 * overlap[first, second] / np.maximum(both, 1), 1.0)
    return float(dice.mean(dtype=np.float64))
