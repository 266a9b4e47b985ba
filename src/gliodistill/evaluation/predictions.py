"""Find label maps and probability maps in a folder of predictions."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gliodistill.documents import Fields, Refusal, read_json
from gliodistill.errors import EvaluationError, StudyError
from gliodistill.studies.labels import CONVENTIONS, LabelConvention
from gliodistill.studies.layouts.base import nifti_files, readable, stem
from gliodistill.studies.layouts.label_maps import PROBABILITIES, find_label_maps, names_beside
from gliodistill.studies.records import ImageFile

_SUMMARY = Refusal(EvaluationError, "not a summary of segment")


@dataclass(frozen=True)
class Predictions:
    """The label maps of a folder of predictions.

    Attributes:
        files: study id → label map.
        problems: a line each.
        conventions: of studies whose manifest declares it.
        label_names: the ``labels`` of a ``dataset.json`` beside them, if there is one.
    """

    files: Mapping[str, ImageFile]
    problems: tuple[str, ...] = ()
    conventions: Mapping[str, LabelConvention] = field(default_factory=dict)
    label_names: Mapping[str, Any] | None = None


def find_predictions(folder: Path, known_ids: Collection[str]) -> Predictions:
    """The label maps in ``folder``.

    In this order: label maps named after their study, flat or a folder a case (see
    :mod:`gliodistill.studies.layouts.label_maps`); else the label maps of a cohort in any known
    layout; or those of a manifest.

    Args:
        folder: of predictions, or a manifest.
        known_ids: ids of the studies, which decide whether a name that ends in ``_seg`` is an id.

    Raises:
        EvaluationError: no such folder, or it is empty.
        StudyError: a malformed ``dataset.json``.
    """
    if not folder.exists():
        raise EvaluationError(
            "no such folder of predictions",
            file=folder,
            expected="a folder with <id>.nii.gz or <id>/<id>_seg.nii.gz",
        )
    found = find_label_maps(folder, known_ids) if folder.is_dir() else {}
    if not found:
        return _of_cohort(folder)
    problems = tuple(
        f"{id}: two predictions: {files[0]} and {files[1]}"
        for id, files in found.items()
        if len(files) > 1
    )
    maps = {id: ImageFile(files[0]) for id, files in found.items()}
    return Predictions(maps, problems, label_names=names_beside(folder))


def find_probabilities(folder: Path, ids: Collection[str]) -> tuple[dict[str, Path], list[str]]:
    """Study id → probability map, and the problems noticed: each study must have one,
    ``<id>_prob….nii.gz`` (or ``-prob…``, ``.nii``).

    Args:
        folder: of probability maps.
        ids: of the studies that need one.

    Raises:
        EvaluationError: no such folder.
    """
    if not folder.is_dir():
        raise EvaluationError(
            "no such folder of probabilities",
            file=folder,
            expected="a folder with <id>_prob.nii.gz",
        )
    found: dict[str, Path] = {}
    problems = []
    files = nifti_files(folder)
    for id in ids:
        of_id = [
            file
            for file in files
            if readable(file.name).startswith(tuple(id + mark for mark in PROBABILITIES))
        ]
        if len(of_id) == 1:
            found[id] = of_id[0]
        else:
            problems.append(
                f"{id}: two probability maps: {of_id[0]} and {of_id[1]}"
                if of_id
                else f"{id}: no probability map in {folder}"
            )
    return found, problems


def noted_convention(files: Iterable[ImageFile]) -> LabelConvention | None:
    """The convention in the summaries (``<id>.json``) of ``segment``; None if one lacks it or they
    differ.

    Args:
        files: label maps.
    """
    noted = set()
    for file in files:
        try:
            summary = read_json(file.path.parent / f"{stem(file.path)}.json", _SUMMARY)
            labels = Fields(summary, _SUMMARY).part("labels")
            codes = labels.part("codes")
            noted.add((labels.text("convention"), *sorted((c, codes.text(c)) for c in codes)))
        except EvaluationError:
            return None
    conventions = CONVENTIONS.values()
    return next(
        (
            c
            for c in conventions
            if noted == {(c.name, *sorted((str(code), str(t)) for code, t in c.codes.items()))}
        ),
        None,
    )


def noted_sequences(files: Mapping[str, ImageFile]) -> dict[str, list[str]] | None:
    """The sequences each prediction was made from, by the summaries (``<id>.json``) of ``segment``;
    None if one lacks them.

    Args:
        files: id → label map.
    """
    noted = {}
    for id, file in files.items():
        try:
            summary = read_json(file.path.parent / f"{stem(file.path)}.json", _SUMMARY)
            noted[id] = list(Fields(summary, _SUMMARY).part("sequences").part("used"))
        except EvaluationError:
            return None
    return noted


def _of_cohort(path: Path) -> Predictions:
    from gliodistill.studies.references import find_references

    try:
        cohort, found = find_references(path)
    except StudyError as error:
        raise EvaluationError(
            "no predictions",
            file=path,
            got=error.got,
            expected="<id>.nii.gz or <id>/<id>_seg.nii.gz",
            hint=error.hint if error.hint and "convert" in error.hint else None,
        ) from error
    labelled = {record.id: record for record in cohort.studies if record.truth is not None}
    if not labelled:
        raise EvaluationError(
            "no label map among the studies", file=path, got=f"{len(cohort)} studies without one"
        )
    return Predictions(
        {id: record.truth for id, record in labelled.items() if record.truth is not None},
        conventions={
            id: record.convention
            for id, record in labelled.items()
            if record.convention is not None
        },
        label_names=found.label_names,
    )
