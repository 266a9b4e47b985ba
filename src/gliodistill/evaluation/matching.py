"""Finding the prediction of every study, and what its codes and those of the truth mean."""

import functools
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gliodistill.errors import EvaluationError, LabelError
from gliodistill.evaluation.pairs import (
    ComparisonError,
    Pair,
    Pairs,
    check_pair,
    contradiction,
    each,
    how_to_declare,
)
from gliodistill.evaluation.predictions import (
    Predictions,
    find_predictions,
    find_probabilities,
    noted_convention,
    noted_sequences,
)
from gliodistill.evaluation.strata import describe_sequences
from gliodistill.pool import Executor
from gliodistill.studies.cohort import Cohort, resolve_convention
from gliodistill.studies.label_names import by_names
from gliodistill.studies.labels import CONVENTIONS, LabelConvention, find_convention
from gliodistill.studies.references import find_references
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.task import Task

AS_TRUTH = "as the reference"


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
    task: Task | None = None,
    executor: Executor | None = None,
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
        task: whose regions probabilities are of; None = glioma.
        executor: where studies are checked, instead of ``jobs`` threads here.

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
            expected="label maps of every region everywhere",
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
    regions = (task or glioma()).names
    work = functools.partial(check_pair, regions=regions)
    checked = each(pairs, work, jobs, "checking studies", executor)
    for id in sorted(checked):
        outcome = checked[id]
        problems += (
            [f"{id}: {outcome}"]
            if isinstance(outcome, Exception)
            else [f"{id}: {line}" for line in outcome]
        )
    if source == AS_TRUTH and pairs and not problems:
        problems += contradiction(pairs)
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
        general, source = find_convention(declared), "declared"
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
                hint=how_to_declare("prediction"),
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
