"""Match predictions with references, and check all pairs before anything is scored."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from gliodistill.errors import EvaluationError, GliodistillError, LabelError
from gliodistill.evaluation.predictions import (
    Predictions,
    find_predictions,
    find_probabilities,
    noted_convention,
    noted_sequences,
)
from gliodistill.evaluation.strata import describe_sequences
from gliodistill.images.bounds import filled_box
from gliodistill.images.volume import Volume
from gliodistill.progress import track
from gliodistill.studies.cohort import Cohort, resolve_convention
from gliodistill.studies.label_names import by_names
from gliodistill.studies.labels import CONVENTIONS, REGIONS, LabelConvention, find_convention
from gliodistill.studies.records import ImageFile, StudyRecord
from gliodistill.studies.references import find_references

Result = TypeVar("Result")
SHOWN = 6
LOOKED_AT = 8
"""Number of predictions whose anatomy is checked."""
AS_TRUTH = "as the reference"


class ComparisonError(EvaluationError):
    """Predictions and references that do not match.

    Attributes:
        problems: every one found, a line each (the error's own line shows the first few).
    """

    def __init__(self, predictions: Path, problems: list[str]) -> None:
        self.problems = tuple(problems)
        more = f" | … {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(
            f"cannot compare with the reference, {many}: {' | '.join(problems[:SHOWN])}{more}",
            file=predictions,
        )


@dataclass(frozen=True)
class Pair:
    """A prediction and its reference.

    Attributes:
        id: of the study.
        prediction: label map.
        truth: label map on the same grid.
        prediction_labels: label convention of the prediction.
        truth_labels: label convention of the reference.
        probabilities: 4-D image with the predicted probability of WT, TC and ET, if there is one.
        images: sequence → image of the reference's study (not used for scoring; shown in reports).
    """

    id: str
    prediction: ImageFile
    truth: ImageFile
    prediction_labels: LabelConvention
    truth_labels: LabelConvention
    probabilities: Path | None = None
    images: Mapping[str, ImageFile] = field(default_factory=dict)


@dataclass(frozen=True)
class Pairs:
    """Matched predictions and references: same ids, same grids, valid label codes.

    Attributes:
        pairs: ordered by id.
        provenance: how the label conventions were determined, and the number of studies.
        left_out: studies with a reference but no prediction, if a subset was requested.
    """

    pairs: tuple[Pair, ...]
    provenance: dict[str, str]
    left_out: tuple[str, ...] = ()


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
        predictions: folder of ``<id>.nii.gz`` or ``<id>/<id>_seg.nii.gz``, a cohort in any known
        layout, or a manifest.
        truth: cohort in any known layout (studies without reference are ignored), a folder of label
            maps, or a manifest.
        layout: layout of the references, instead of detecting it.
        labels: label convention of the references, instead of detecting it.
        prediction_labels: that of the predictions; default: that of their manifest,
            ``dataset.json`` or summaries of ``segment``, else that of the references.
        probabilities: folder of ``<id>_prob….nii.gz``, for calibration.
        subset: leave out studies without a prediction, instead of reporting them as missing.
        jobs: studies checked at once; default: one per processor.

    Raises:
        ComparisonError: predictions and references do not match (``.problems`` lists all).
        EvaluationError: no predictions, no references.
        StudyError, LabelError: the references cannot be read.
    """
    folder = Path(predictions)
    if prediction_labels is not None:
        find_convention(prediction_labels, file=folder, field="prediction-labels")
    cohort, conventions = _open_truth(Path(truth), layout, labels)
    truths = {record.id: record.truth for record in cohort.studies if record.truth is not None}
    partial = [record for record in cohort.studies if record.partial]
    if partial:
        raise EvaluationError(
            "reference has partial labels",
            file=truth,
            field="known_regions" if partial[0].known is None else "known",
            got=f"{partial[0].id}: {partial[0].teaches} ({len(partial)} of {len(truths)} studies)",
            expected="label maps of WT, TC and ET everywhere",
            hint="leave these studies out of the manifest",
        )
    found = find_predictions(folder, {record.id for record in cohort.studies})
    problems = list(found.problems)
    strangers = sorted(found.files.keys() - truths.keys())
    missing = sorted(truths.keys() - found.files.keys())
    problems += [
        f"{id}: prediction without a reference ({found.files[id].path})" for id in strangers
    ]
    if not subset:
        problems += [f"{id}: no prediction" for id in missing]
    ids = sorted(found.files.keys() & truths.keys())
    maps: dict[str, Path] = {}
    if probabilities is not None:
        maps, doubtful = find_probabilities(Path(probabilities), ids)
        problems += doubtful
    images = {
        record.id: {str(name): file for name, file in record.images.items()}
        for record in cohort.studies
    }
    meant, source = _prediction_labels(found, ids, conventions, prediction_labels, folder)
    pairs = tuple(
        Pair(
            id,
            found.files[id],
            truths[id],
            meant[id],
            conventions[id],
            maps.get(id),
            images[id],
        )
        for id in ids
    )
    checked = each(pairs, _check, jobs, "checking studies")
    for id in sorted(checked):
        outcome = checked[id]
        problems += (
            [f"{id}: {outcome}"]
            if isinstance(outcome, Exception)
            else [f"{id}: {line}" for line in outcome]
        )
    if source == AS_TRUTH and pairs and not problems:
        problems += _contradiction(pairs)
    if problems:
        raise ComparisonError(folder, problems)
    told = "declared" if labels else "detected"
    provenance = {
        "prediction_labels": _describe(pair.prediction_labels for pair in pairs) + f" ({source})",
        "truth_labels": _describe(pair.truth_labels for pair in pairs) + f" ({told})",
        "studies": f"{len(pairs)} of {len(truths)} with reference",
        "sequences": describe_sequences({pair.id: pair.images for pair in pairs}),
    }
    if used := noted_sequences({pair.id: pair.prediction for pair in pairs}):
        provenance["predicted_from"] = describe_sequences(used)
    return Pairs(pairs, provenance, tuple(missing))


def _open_truth(
    path: Path, layout: str | None, labels: str | None
) -> tuple[Cohort, dict[str, LabelConvention]]:
    """The cohort, and the label convention of each reference."""
    cohort, found = find_references(path, layout)
    general = resolve_convention(cohort.studies, found, labels)
    conventions = {
        record.id: convention
        for record in cohort.studies
        if record.truth is not None and (convention := record.convention or general) is not None
    }
    if not conventions:
        raise EvaluationError(
            "no reference to compare with",
            file=path,
            got=f"{len(cohort)} studies without a label map",
        )
    return cohort, conventions


def _prediction_labels(
    found: Predictions,
    ids: Sequence[str],
    truth: Mapping[str, LabelConvention],
    declared: str | None,
    folder: Path,
) -> tuple[dict[str, LabelConvention], str]:
    """The label convention of each prediction, and its source.

    Raises:
        LabelError: it is unknown, and the references have several.
    """
    noted = noted_convention(found.files[id] for id in ids)
    general: LabelConvention | None = None
    if declared is not None:
        general, source = CONVENTIONS[declared], "declared"
    elif any(id in found.conventions for id in ids):
        source = "declared in their manifest"
    elif noted is not None:
        general, source = noted, "noted in their summaries"
    elif found.label_names:
        general, source = by_names(found.label_names, str(folder)), "named in dataset.json"
    else:
        source = AS_TRUTH
    if general is None and len({truth[id].name for id in ids}) > 1:
        untold = [id for id in ids if id not in found.conventions]
        if untold:
            raise LabelError(
                "references have several conventions, and predictions do not declare theirs",
                file=folder,
                field="prediction-labels",
                got=", ".join(untold[:4]) + (", …" if len(untold) > 4 else ""),
                expected=", ".join(CONVENTIONS),
                hint=_declare("prediction"),
            )
    if declared is None and found.conventions:
        return {id: found.conventions.get(id, general or truth[id]) for id in ids}, source
    return {id: general or truth[id] for id in ids}, source


def _describe(conventions: Iterable[LabelConvention]) -> str:
    """``brats2021``, or ``brats2021 3, msd 2`` if studies differ."""
    counts = Counter(convention.name for convention in conventions)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def each(
    pairs: Sequence[Pair], work: Callable[[Pair], Result], jobs: int | None, what: str
) -> dict[str, Result | Exception]:
    """What ``work`` gives for each pair, or the exception it raised, by id.

    Args:
        pairs: to work through.
        work: called once per pair.
        jobs: pairs at once; default: one per processor.
        what: a verb and noun for the progress bar.
    """
    if jobs is not None and jobs < 1:
        raise EvaluationError(
            "unusable number of jobs", field="jobs", got=jobs, expected="1 or more"
        )
    # Threads: reading, counting and the k-d tree release the GIL, and nothing has to be pickled.
    results: dict[str, Result | Exception] = {}
    with ThreadPoolExecutor(
        max_workers=min(jobs or os.cpu_count() or 1, max(len(pairs), 1))
    ) as pool:
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


def read_map(file: ImageFile) -> Volume:
    """A label map, its axes in canonical order."""
    from gliodistill.images.nifti import read_labels

    # Files may store the same grid with other axes; canonical order avoids resampling.
    return read_labels(file.path, file.channel).canonical()


def _grid(volume: Volume) -> str:
    spacing = "×".join(f"{step:.4g}" for step in volume.spacing)
    origin = ", ".join(f"{value:.4g}" for value in volume.affine[:3, 3])
    return f"{'×'.join(map(str, volume.shape))} of {spacing} mm from ({origin})"


def _check(pair: Pair) -> list[str]:
    """The problems of one pair, a line each."""
    problems, volumes = [], []
    for name, file, convention in (
        ("prediction", pair.prediction, pair.prediction_labels),
        ("truth", pair.truth, pair.truth_labels),
    ):
        try:
            volume = read_map(file)
        except GliodistillError as error:
            problems.append(f"{name} {error}")
            continue
        volumes.append(volume)
        box = filled_box(volume.data)
        try:
            convention.check(volume.data[box] if box is not None else volume.data)
        except LabelError as error:
            told = LabelError(
                error.problem,
                file=file.path,
                got=error.got,
                expected=error.expected,
                hint=_declare(name),
            )
            problems.append(f"{name} {told}")
    if len(volumes) == 2 and not volumes[0].same_grid(volumes[1]):
        problems.append(
            f"grids differ: prediction {_grid(volumes[0])}, reference {_grid(volumes[1])}"
            f" ({volumes[0].difference(volumes[1])})"
        )
    if pair.probabilities is not None and len(volumes) == 2:
        problems += _check_probabilities(pair.probabilities, volumes[1])
    return problems


def _check_probabilities(path: Path, truth: Volume) -> list[str]:
    from gliodistill.images.nifti import read_header

    try:
        header = read_header(path)
    except GliodistillError as error:
        return [f"probabilities {error}"]
    # Only a grid, without voxels.
    grid = Volume(np.broadcast_to(np.uint8(0), header.shape), header.affine).canonical()
    problems = []
    if header.channels != len(REGIONS):
        problems.append(
            f"probabilities {path}: {header.channels or 1} channels instead of {len(REGIONS)}"
            f" ({', '.join(REGIONS)})"
        )
    if not grid.same_grid(truth):
        problems.append(
            f"grids differ: probabilities {_grid(grid)}, reference {_grid(truth)}"
            f" ({grid.difference(truth)})"
        )
    return problems


def _contradiction(pairs: Sequence[Pair]) -> list[str]:
    """A problem if the predictions' codes indicate another convention than assumed."""
    from gliodistill.studies.label_evidence import detect_convention

    assumed = pairs[0].truth_labels
    step = max(1, len(pairs) // LOOKED_AT)
    records = [StudyRecord(pair.id, pair.id, {}, pair.prediction) for pair in pairs[::step]]
    try:
        seen = detect_convention(records).convention
    except LabelError:
        return []
    # Only codes of both conventions can be confused; others were refused before.
    codes = np.array([[sorted(set(seen.codes) & set(assumed.codes))]], dtype=np.uint8)
    if np.array_equal(seen.to_regions(codes), assumed.to_regions(codes)):
        return []
    return [
        f"labels: predictions resemble {seen.name}, the reference is {assumed.name}: "
        f"{'/'.join(REGIONS)} would be confused; {_declare('prediction')}"
    ]


def _declare(name: str) -> str:
    return (
        "declare theirs with --prediction-labels"
        if name == "prediction"
        else "declare the right convention with --labels"
    )
