"""Evaluation of a folder of predictions against a cohort's references."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from gliodistill.errors import EvaluationError, GliodistillError
from gliodistill.evaluation.arrays import Map, score_arrays
from gliodistill.evaluation.calibration import Reliability, calibration_box
from gliodistill.evaluation.matching import match_pairs
from gliodistill.evaluation.pairs import ComparisonError, Pair, Pairs, each, read_map
from gliodistill.evaluation.rules import Rules, get_rules
from gliodistill.evaluation.scores import Scores, StudyScores, score_study
from gliodistill.evaluation.tasks import region_masks
from gliodistill.images.bounds import filled_box
from gliodistill.images.volume import Volume
from gliodistill.pool import Executor

__all__ = ["ComparisonError", "Pair", "Pairs", "evaluate", "match_pairs", "score_pairs"]


def evaluate(
    predictions: str | os.PathLike[str] | Map,
    truth: str | os.PathLike[str] | Map,
    *,
    spacing: Sequence[float] | None = None,
    layout: str | None = None,
    labels: str | None = None,
    prediction_labels: str | None = None,
    jobs: int | None = None,
    rules: str = "plain",
    task: str = "gli",
    tolerance_mm: float | None = None,
    probabilities: str | os.PathLike[str] | None = None,
    subset: bool = False,
    executor: Executor | None = None,
) -> Scores:
    """Score a folder of predicted label maps (:func:`match_pairs`, then :func:`score_pairs`), or
    one prediction in memory (:func:`~gliodistill.evaluation.arrays.score_arrays`).

    Ids, grids and label codes of all studies are checked, and every problem reported at once,
    before anything is computed. A study that fails while being scored is recorded in ``failed`` and
    the others are still scored; see :attr:`Scores.ok`.

    Args:
        predictions: as in :func:`match_pairs`; or label codes (integers on X Y Z, an array or a
            volume) or masks of the regions (bool on R X Y Z).
        truth: as in :func:`match_pairs`; or the same in memory, on the same grid.
        spacing: of arrays: voxel size along X, Y, Z in mm.
        layout: layout of the references, instead of detecting it.
        labels: label convention of the references, instead of detecting it.
        prediction_labels: that of the predictions; see :func:`match_pairs`.
        jobs: studies scored at once; default: one per processor.
        rules: name of the rule set.
        task: what was segmented; it decides the regions: a challenge (``gli``, ``met``, …), a
            shipped task, or the path of one's own.
        tolerance_mm: of the surface Dice; default: the rule set's own.
        probabilities: folder of ``<id>_prob….nii.gz``, for calibration.
        subset: score only the studies that have a prediction, instead of reporting the others as
            missing.
        executor: where folders are scored, instead of ``jobs`` threads here.

    Raises:
        ComparisonError: predictions and references do not match (``.problems`` lists all).
        EvaluationError: unknown rules or task, no predictions, no references.
        StudyError, LabelError: the references cannot be read.

    Example:
        >>> import gliodistill as gd
        >>> _ = gd.write_cohort("patients", 1, seed=1, spacing=6.0, jobs=1)
        >>> scores = gd.evaluate("patients", "patients", rules="brats2023", jobs=1)
        >>> scores.studies["Phantom_001_00000"]["WT"]["dice"]
        1.0
        >>> import numpy as np
        >>> reference = np.zeros((8, 8, 8), np.uint8)
        >>> reference[2:6, 2:6, 2:6] = 4
        >>> prediction = np.roll(reference, 1, axis=0)
        >>> scores = evaluate(prediction, reference, spacing=(1, 1, 1), labels="brats2021")
        >>> scores.mean("ET")
        0.75
    """
    rule_set = get_rules(rules, task, tolerance_mm)
    if isinstance(predictions, np.ndarray | Volume) and isinstance(truth, np.ndarray | Volume):
        return score_arrays(
            predictions,
            truth,
            rule_set,
            spacing=spacing,
            labels=labels,
            prediction_labels=prediction_labels,
        )
    if isinstance(predictions, np.ndarray | Volume) or isinstance(truth, np.ndarray | Volume):
        raise EvaluationError(
            "a folder against an array",
            field="truth",
            got=type(truth).__name__,
            expected="two folders, or two arrays or volumes",
        )
    pairs = match_pairs(
        predictions,
        truth,
        layout=layout,
        labels=labels,
        prediction_labels=prediction_labels,
        probabilities=probabilities,
        subset=subset,
        jobs=jobs,
        task=rule_set.described,
        executor=executor,
    )
    return score_pairs(pairs, rule_set, jobs=jobs, executor=executor)


def score_pairs(
    pairs: Pairs, rules: Rules, *, jobs: int | None = None, executor: Executor | None = None
) -> Scores:
    """Score every pair; one that fails is recorded in ``failed``, and the others are still scored.

    Args:
        pairs: as :func:`match_pairs` found them.
        rules: the rule set.
        jobs: studies scored at once; default: one per processor.
        executor: where they are scored, instead of ``jobs`` threads here.
    """
    work = partial(_score, rules=rules)
    outcomes = each(pairs.pairs, work, jobs, "scoring studies", executor)
    done = {
        id: outcome
        for id, outcome in sorted(outcomes.items())
        if not isinstance(outcome, Exception)
    }
    failed = {
        id: _one_line(outcome)
        for id, outcome in sorted(outcomes.items())
        if isinstance(outcome, Exception)
    }
    curves: dict[str, list[Reliability]] = {}
    for _, counts in done.values():
        for region, reliability in counts.items():
            curves.setdefault(region, []).append(reliability)
    calibration = {region: Reliability.total(every).bins for region, every in curves.items()}
    return Scores(
        rules,
        {id: values for id, (values, _) in done.items()},
        failed,
        pairs.provenance,
        calibration or None,
    )


def _score(pair: Pair, rules: Rules) -> tuple[StudyScores, dict[str, Reliability]]:
    prediction, truth = read_map(pair.prediction), read_map(pair.truth)
    # Most of an image is background in both: those voxels are counted, not copied.
    any_label = (prediction.data != 0) | (truth.data != 0)
    box = filled_box(any_label) or (slice(0, 1),) * 3
    regions = list(rules.tissues.values())
    predicted = region_masks(prediction.data[box], pair.prediction_labels, regions)
    true = region_masks(truth.data[box], pair.truth_labels, regions)
    scores = score_study(
        predicted, true, truth.spacing, rules, voxel_ml=truth.voxel_ml, image=truth.data.shape
    )
    counts: dict[str, Reliability] = {}
    if pair.probabilities is not None:
        judged = calibration_box(any_label, truth.spacing)
        task = rules.described
        real = task.regions_of(truth.data[judged], pair.truth_labels)
        maps = _read_probabilities(pair.probabilities, len(task.regions))
        for region, probability, mask in zip(task.names, maps, real, strict=True):
            counts[region] = Reliability.of(probability.data[judged], mask)
            scores[region] |= {"ece": counts[region].ece, "brier": counts[region].brier}
    return scores, counts


def _read_probabilities(path: Path, count: int) -> list[Volume]:
    """The probability of each region."""
    from gliodistill.images.nifti import read_channels

    maps = [volume.canonical() for volume in read_channels(path, list(range(count)))]
    for volume in maps:
        low, high = float(volume.data.min()), float(volume.data.max())
        if not (low >= 0.0 and high <= 1.0):
            raise EvaluationError(
                "not probabilities", file=path, got=f"{low:.4g} … {high:.4g}", expected="0 … 1"
            )
    return maps


def _one_line(error: Exception) -> str:
    text = str(error) if isinstance(error, GliodistillError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
