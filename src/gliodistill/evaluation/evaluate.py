"""A folder of predictions against a cohort's truth: everything checked first, then every study scored."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from gliodistill.errors import EvaluationError, GliodistillError, LabelError
from gliodistill.evaluation.calibration import Reliability, judged_box
from gliodistill.evaluation.metrics import bounding_box
from gliodistill.evaluation.predictions import find_predictions, find_probabilities
from gliodistill.evaluation.rules import Rules, get_rules
from gliodistill.evaluation.scores import Scores, StudyScores, score_study
from gliodistill.evaluation.tasks import region_masks
from gliodistill.images.volume import Volume
from gliodistill.progress import track
from gliodistill.studies.labels import CONVENTIONS, REGIONS, LabelConvention
from gliodistill.studies.study import ImageFile, StudyRecord

Result = TypeVar("Result")
SHOWN = 6


class ComparisonError(EvaluationError):
    """Predictions and truth that do not match.

    Attributes:
        problems: every one found, a line each (the error's own line shows the first few).
    """

    def __init__(self, predictions: Path, problems: list[str]) -> None:
        self.problems = tuple(problems)
        more = f" | … {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"cannot compare with the truth, {many}: {' | '.join(problems[:SHOWN])}{more}", file=predictions)


@dataclass(frozen=True)
class Pair:
    """A prediction and the truth it is scored against.

    Attributes:
        id: of the study.
        prediction: label map.
        truth: label map on the same grid.
        probabilities: 4-D image with the predicted probability of WT, TC and ET, where there is one.
        images: sequence → image of the truth's study (not read for scoring: a report draws them).
    """

    id: str
    prediction: ImageFile
    truth: ImageFile
    probabilities: Path | None = None
    images: Mapping[str, ImageFile] = field(default_factory=dict)


@dataclass(frozen=True)
class Pairs:
    """Predictions and truth that match: same ids, same grids, label codes that fit.

    Attributes:
        pairs: ordered by id.
        prediction_labels: what the predictions' codes mean.
        truth_labels: what the truth's codes mean.
        provenance: how both were told, and how many studies of the cohort are here.
    """

    pairs: tuple[Pair, ...]
    prediction_labels: LabelConvention
    truth_labels: LabelConvention
    provenance: dict[str, str]


def evaluate(
    predictions: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    *,
    layout: str | None = None,
    labels: str | None = None,
    prediction_labels: str | None = None,
    jobs: int | None = None,
    rules: str = "plain",
    task: str = "gli",
    tolerance_mm: float | None = None,
    probabilities: str | os.PathLike[str] | None = None,
    subset: bool = False,
) -> Scores:
    """Score a folder of predicted label maps: :func:`match_pairs`, then :func:`score_pairs`.

    Ids, grids and label codes of all studies are checked, and every problem reported at once, before anything is
    computed. A study that fails while being scored is recorded in ``failed`` and the others go on: look at
    :attr:`Scores.ok`.

    Args:
        predictions: as in :func:`match_pairs`.
        truth: as in :func:`match_pairs`.
        layout: name of the truth's layout, instead of detecting it.
        labels: name of the truth's label convention, instead of detecting it.
        prediction_labels: the same of the predictions; without it they must agree with the truth's.
        jobs: studies scored at once; default: one per processor.
        rules: name of the rule set.
        task: what was segmented; it decides the regions.
        tolerance_mm: of the surface Dice; default: the rule set's own.
        probabilities: folder of ``<id>_prob….nii.gz``, for calibration.
        subset: score only the studies that have a prediction, instead of calling the others missing.

    Raises:
        ComparisonError: predictions and truth do not match (``.problems`` lists all).
        EvaluationError: unknown rules or task, no predictions, no truth.
        StudyError, LabelError: the truth's cohort cannot be read.
    """
    rule_set = get_rules(rules, task, tolerance_mm)
    pairs = match_pairs(
        predictions,
        truth,
        layout=layout,
        labels=labels,
        prediction_labels=prediction_labels,
        probabilities=probabilities,
        subset=subset,
        jobs=jobs,
    )
    return score_pairs(pairs, rule_set, jobs=jobs)


def match_pairs(
    predictions: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    *,
    layout: str | None = None,
    labels: str | None = None,
    prediction_labels: str | None = None,
    probabilities: str | os.PathLike[str] | None = None,
    subset: bool = False,
    jobs: int | None = None,
) -> Pairs:
    """Find the prediction of every study and check that it can be compared; nothing is scored.

    Args:
        predictions: folder of ``<id>.nii.gz`` or ``<id>/<id>_seg.nii.gz``, a cohort in any known layout, or a manifest.
        truth: cohort in any known layout; its studies without truth do not count.
        layout: name of the truth's layout, instead of detecting it.
        labels: name of the truth's label convention, instead of detecting it.
        prediction_labels: the same of the predictions; without it they must agree with the truth's.
        probabilities: folder of ``<id>_prob….nii.gz``, for calibration.
        subset: leave out studies without a prediction, instead of calling it missing.
        jobs: studies checked at once; default: one per processor.

    Raises:
        ComparisonError: predictions and truth do not match (``.problems`` lists all).
        EvaluationError: no predictions, no truth.
        StudyError, LabelError: the truth's cohort cannot be read.
    """
    from gliodistill.studies.cohort import open_cohort

    folder = Path(predictions)
    if prediction_labels is not None and prediction_labels not in CONVENTIONS:
        raise LabelError(
            "unknown label convention", file=folder, field="prediction-labels", got=prediction_labels, expected=", ".join(CONVENTIONS)
        )
    cohort = open_cohort(truth, layout=layout, labels=labels)
    truths = {record.id: record.truth for record in cohort.studies if record.truth is not None}
    convention = cohort.convention
    if not truths or convention is None:
        raise EvaluationError("no truth to compare with", file=truth, got=f"{len(cohort)} studies without a label map")
    found, problems = find_predictions(folder, {record.id for record in cohort.studies})
    for id in sorted(found.keys() - truths.keys()):
        problems.append(f"{id}: prediction without a truth ({found[id].path})")
    if not subset:
        problems += [f"{id}: no prediction" for id in sorted(truths.keys() - found.keys())]
    ids = sorted(found.keys() & truths.keys())
    maps: dict[str, Path] = {}
    if probabilities is not None:
        maps, doubtful = find_probabilities(Path(probabilities), ids)
        problems += doubtful
    images = {record.id: {str(name): file for name, file in record.images.items()} for record in cohort.studies}
    pairs = tuple(Pair(id, found[id], truths[id], maps.get(id), images[id]) for id in ids)

    meant = CONVENTIONS[prediction_labels] if prediction_labels else convention
    checked = _each(pairs, lambda pair: _check(pair, convention, meant), jobs, "checking studies")
    for id in sorted(checked):
        outcome = checked[id]
        problems += [f"{id}: {outcome}"] if isinstance(outcome, Exception) else [f"{id}: {line}" for line in outcome]
    if prediction_labels is None and pairs and not problems:
        problems += _contradiction(pairs, convention)
    if problems:
        raise ComparisonError(folder, problems)
    provenance = {
        "prediction_labels": f"{meant.name} ({'declared' if prediction_labels else 'as the truth'})",
        "truth_labels": f"{convention.name} ({'declared' if labels else 'detected'})",
        "studies": f"{len(pairs)} of {len(truths)} with truth",
    }
    return Pairs(pairs, meant, convention, provenance)


def score_pairs(pairs: Pairs, rules: Rules, *, jobs: int | None = None) -> Scores:
    """Score every pair; one that fails is recorded in ``failed`` and the others go on.

    Args:
        pairs: as :func:`match_pairs` found them.
        rules: the rule set.
        jobs: studies scored at once; default: one per processor.
    """
    outcomes = _each(pairs.pairs, lambda pair: _score(pair, pairs, rules), jobs, "scoring studies")
    done = {id: outcome for id, outcome in sorted(outcomes.items()) if not isinstance(outcome, Exception)}
    failed = {id: _one_line(outcome) for id, outcome in sorted(outcomes.items()) if isinstance(outcome, Exception)}
    curves: dict[str, list[Reliability]] = {}
    for _, counts in done.values():
        for region, reliability in counts.items():
            curves.setdefault(region, []).append(reliability)
    calibration = {region: Reliability.total(every).bins for region, every in curves.items()}
    return Scores(rules, {id: values for id, (values, _) in done.items()}, failed, pairs.provenance, calibration or None)


def _each(pairs: Sequence[Pair], work: Callable[[Pair], Result], jobs: int | None, what: str) -> dict[str, Result | Exception]:
    """What ``work`` gives for each pair, or the exception it raised."""
    if jobs is not None and jobs < 1:
        raise EvaluationError("unusable number of jobs", field="jobs", got=jobs, expected="1 or more")
    # Threads, not processes: reading, counting and the k-d tree all let go of the interpreter, and nothing has to
    # be importable, pickled or started anew in a caller's script.
    results: dict[str, Result | Exception] = {}
    with ThreadPoolExecutor(max_workers=min(jobs or os.cpu_count() or 1, max(len(pairs), 1))) as pool:
        futures = {pool.submit(work, pair): pair.id for pair in pairs}
        try:
            for future in track(as_completed(futures), what, total=len(futures)):
                error = future.exception()
                if error is None:
                    results[futures[future]] = future.result()
                elif isinstance(error, Exception):
                    results[futures[future]] = error
                else:
                    raise error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def _check(pair: Pair, truth_convention: LabelConvention, prediction_convention: LabelConvention) -> list[str]:
    """What is wrong with one pair, a line each."""
    problems, volumes = [], []
    for name, file, convention in (
        ("prediction", pair.prediction, prediction_convention),
        ("truth", pair.truth, truth_convention),
    ):
        try:
            volume = _read(file)
            box = bounding_box(volume.data != 0)
            if box is not None:
                convention.check(volume.data[box])
        except LabelError as error:
            error_file = LabelError(error.problem, file=file.path, got=error.got, expected=error.expected, hint=_declare(name))
            problems.append(f"{name} {error_file}")
            volumes.append(volume)
        except GliodistillError as error:
            problems.append(f"{name} {error}")
        else:
            volumes.append(volume)
    if len(volumes) == 2 and not volumes[0].same_grid(volumes[1]):
        problems.append(f"grids differ: prediction {_grid(volumes[0])}, truth {_grid(volumes[1])}")
    return problems


def _score(pair: Pair, pairs: Pairs, rules: Rules) -> tuple[StudyScores, dict[str, Reliability]]:
    prediction, truth = _read(pair.prediction), _read(pair.truth)
    # Nine tenths of an image are background to both: those voxels are counted, not copied.
    any_label = (prediction.data != 0) | (truth.data != 0)
    box = bounding_box(any_label) or (slice(0, 1),) * 3
    regions = list(rules.tissues.values())
    predicted = region_masks(prediction.data[box], pairs.prediction_labels, regions)
    true = region_masks(truth.data[box], pairs.truth_labels, regions)
    beyond = truth.data.size - true[0].size
    scores = score_study(predicted, true, truth.spacing, rules, voxel_ml=truth.voxel_ml, beyond=beyond)
    counts: dict[str, Reliability] = {}
    if pair.probabilities is not None:
        judged = judged_box(any_label, truth.spacing)
        real = pairs.truth_labels.to_regions(truth.data[judged])
        for region, probability, mask in zip(REGIONS, _read_probabilities(pair.probabilities, truth), real, strict=True):
            counts[region] = Reliability.of(probability.data[judged], mask)
            scores[region] |= {"ece": counts[region].ece, "brier": counts[region].brier}
    return scores, counts


def _contradiction(pairs: Sequence[Pair], assumed: LabelConvention) -> list[str]:
    """A line if the predictions themselves say that they follow another convention than ``assumed``."""
    from gliodistill.studies.label_evidence import detect_convention

    records = [StudyRecord(pair.id, pair.id, {}, pair.prediction) for pair in pairs]
    try:
        seen = detect_convention(records).convention
    except LabelError:
        return []
    # Only codes that both know can be mixed up; those that the truth's convention does not know were refused before.
    codes = np.array([[sorted(set(seen.codes) & set(assumed.codes))]], dtype=np.uint8)
    if np.array_equal(seen.to_regions(codes), assumed.to_regions(codes)):
        return []
    return [
        f"labels: predictions look like {seen.name}, the truth is {assumed.name}: "
        f"{'/'.join(REGIONS)} would be mixed up; {_declare('prediction')}"
    ]


def _read(file: ImageFile) -> Volume:
    from gliodistill.images.nifti import read_labels

    # Two files may store one grid with other axes; canonical order makes them comparable without resampling.
    return read_labels(file.path, file.channel).canonical()


def _read_probabilities(path: Path, truth: Volume) -> list[Volume]:
    """The probability of WT, TC and ET on the truth's grid."""
    from gliodistill.images.nifti import read_channels

    maps = [volume.canonical() for volume in read_channels(path, list(range(len(REGIONS))))]
    for volume in maps:
        if not volume.same_grid(truth):
            raise EvaluationError("grids differ", file=path, got=_grid(volume), expected=f"that of the truth, {_grid(truth)}")
        low, high = float(volume.data.min()), float(volume.data.max())
        if not (low >= 0.0 and high <= 1.0):
            raise EvaluationError("not probabilities", file=path, got=f"{low:.4g} … {high:.4g}", expected="0 … 1")
    return maps


def _declare(name: str) -> str:
    return "declare theirs with --prediction-labels" if name == "prediction" else "declare the right convention with --labels"


def _grid(volume: Volume) -> str:
    spacing = "×".join(f"{step:.4g}" for step in volume.spacing)
    origin = ", ".join(f"{value:.4g}" for value in volume.affine[:3, 3])
    return f"{'×'.join(map(str, volume.shape))} of {spacing} mm from ({origin})"


def _one_line(error: Exception) -> str:
    text = str(error) if isinstance(error, GliodistillError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
