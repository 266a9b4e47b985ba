"""A folder of predictions against a cohort's truth: everything checked first, then every study scored."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from gliodistill.errors import EvaluationError, GliodistillError, LabelError
from gliodistill.evaluation.metrics import bounding_box
from gliodistill.evaluation.predictions import find_predictions
from gliodistill.evaluation.rules import get_rules
from gliodistill.evaluation.scores import Scores, StudyScores, score_study
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
class _Pair:
    id: str
    prediction: ImageFile
    truth: ImageFile


def evaluate(
    predictions: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    *,
    layout: str | None = None,
    labels: str | None = None,
    prediction_labels: str | None = None,
    jobs: int | None = None,
    rules: str = "plain",
    subset: bool = False,
) -> Scores:
    """Score a folder of predicted label maps.

    Ids, grids and label codes of all studies are checked, and every problem reported at once, before anything is
    computed. A study that fails while being scored is recorded in ``failed`` and the others go on: look at
    :attr:`Scores.ok`.

    Args:
        predictions: folder of ``<id>.nii.gz`` or ``<id>/<id>_seg.nii.gz``, or a cohort in any known layout.
        truth: cohort in any known layout; its studies without truth do not count.
        layout: name of the truth's layout, instead of detecting it.
        labels: name of the truth's label convention, instead of detecting it.
        prediction_labels: the same of the predictions; without it they must agree with the truth's.
        jobs: studies scored at once; default: one per processor.
        rules: name of the rule set.
        subset: score only the studies that have a prediction, instead of calling the others missing.

    Raises:
        ComparisonError: predictions and truth do not match (``.problems`` lists all).
        EvaluationError: unknown rules, no predictions, no truth.
        StudyError, LabelError: the truth's cohort cannot be read.
    """
    from gliodistill.studies.cohort import open_cohort

    rule_set, folder = get_rules(rules), Path(predictions)
    if prediction_labels is not None and prediction_labels not in CONVENTIONS:
        raise LabelError(
            "unknown label convention", file=folder, field="prediction-labels", got=prediction_labels, expected=", ".join(CONVENTIONS)
        )
    if jobs is not None and jobs < 1:
        raise EvaluationError("unusable number of jobs", field="jobs", got=jobs, expected="1 or more")
    cohort = open_cohort(truth, layout=layout, labels=labels)
    truths = {record.id: record.truth for record in cohort.studies if record.truth is not None}
    truth_convention = cohort.convention
    if not truths or truth_convention is None:
        raise EvaluationError("no truth to compare with", file=truth, got=f"{len(cohort)} studies without a label map")
    found, problems = find_predictions(folder, {record.id for record in cohort.studies})
    for id in sorted(found.keys() - truths.keys()):
        problems.append(f"{id}: prediction without a truth ({found[id].path})")
    if not subset:
        problems += [f"{id}: no prediction" for id in sorted(truths.keys() - found.keys())]
    pairs = [_Pair(id, found[id], truths[id]) for id in sorted(found.keys() & truths.keys())]

    workers = min(jobs or os.cpu_count() or 1, max(len(pairs), 1))
    meant = CONVENTIONS[prediction_labels] if prediction_labels else truth_convention
    checked = _each(pairs, lambda pair: _check(pair, truth_convention, meant), workers, "checking studies")
    for id in sorted(checked):
        outcome = checked[id]
        problems += [f"{id}: {outcome}"] if isinstance(outcome, Exception) else [f"{id}: {line}" for line in outcome]
    if prediction_labels is None and pairs and not problems:
        problems += _contradiction(pairs, truth_convention)
    if problems:
        raise ComparisonError(folder, problems)

    outcomes = _each(pairs, lambda pair: _score(pair, truth_convention, meant, rules), workers, "scoring studies")
    studies = {id: outcome for id, outcome in sorted(outcomes.items()) if not isinstance(outcome, Exception)}
    failed = {id: _one_line(outcome) for id, outcome in sorted(outcomes.items()) if isinstance(outcome, Exception)}
    provenance = {
        "prediction_labels": f"{meant.name} ({'declared' if prediction_labels else 'as the truth'})",
        "truth_labels": f"{truth_convention.name} ({'declared' if labels else 'detected'})",
        "studies": f"{len(studies)} of {len(truths)} with truth",
    }
    return Scores(rule_set, studies, failed, provenance)


def _each(pairs: list[_Pair], work: Callable[[_Pair], Result], workers: int, what: str) -> dict[str, Result | Exception]:
    """What ``work`` gives for each pair, or the exception it raised."""
    # Threads, not processes: reading, counting and the k-d tree all let go of the interpreter, and nothing has to
    # be importable, pickled or started anew in a caller's script.
    results: dict[str, Result | Exception] = {}
    with ThreadPoolExecutor(max_workers=workers) as pool:
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


def _check(pair: _Pair, truth_convention: LabelConvention, prediction_convention: LabelConvention) -> list[str]:
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


def _score(pair: _Pair, truth_convention: LabelConvention, prediction_convention: LabelConvention, rules: str) -> StudyScores:
    prediction, truth = _read(pair.prediction), _read(pair.truth)
    # Nine tenths of an image are background to both: those voxels are counted, not copied.
    box = bounding_box((prediction.data != 0) | (truth.data != 0)) or (slice(0, 1),) * 3
    predicted, true = prediction.data[box], truth.data[box]
    return score_study(
        prediction_convention.to_regions(predicted),
        truth_convention.to_regions(true),
        truth.spacing,
        rules,
        voxel_ml=truth.voxel_ml,
        beyond=truth.data.size - true.size,
    )


def _contradiction(pairs: list[_Pair], assumed: LabelConvention) -> list[str]:
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


def _declare(name: str) -> str:
    return "declare theirs with --prediction-labels" if name == "prediction" else "declare the right convention with --labels"


def _grid(volume: Volume) -> str:
    spacing = "×".join(f"{step:.4g}" for step in volume.spacing)
    origin = ", ".join(f"{value:.4g}" for value in volume.affine[:3, 3])
    return f"{'×'.join(map(str, volume.shape))} of {spacing} mm from ({origin})"


def _one_line(error: Exception) -> str:
    text = str(error) if isinstance(error, GliodistillError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
