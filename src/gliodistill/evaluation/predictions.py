"""Finding the label maps of a folder of predictions, and their probability maps."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from gliodistill.documents import Fields, Refusal, read_json
from gliodistill.errors import EvaluationError, StudyError
from gliodistill.studies.labels import CONVENTIONS, LabelConvention
from gliodistill.studies.study import ImageFile

ENDINGS = (".nii.gz", ".nii")
SUFFIXES = ("_seg", "-seg")
PROBABILITIES = ("_prob", "-prob")
_SUMMARY = Refusal(EvaluationError, "not a summary of segment")


def find_predictions(
    folder: Path, known_ids: Collection[str]
) -> tuple[dict[str, ImageFile], list[str]]:
    """Study id → label map, and the problems noticed.

    Taken, in this order: ``<id>.nii.gz`` or ``<id>_seg.nii.gz`` in the folder itself,
    ``<id>/<id>_seg.nii.gz`` or ``<id>/<id>.nii.gz`` in sub-folders (``-seg`` and ``.nii`` as well);
    where there is none of these, the truths of a cohort in any known layout. A manifest (a file)
    says for itself. Probability maps of known studies are passed over.

    Args:
        folder: of predictions, or a manifest.
        known_ids: ids of the truth, which settle whether a name that ends in ``_seg`` is an id
            itself.

    Raises:
        EvaluationError: no such folder, or nothing in it.
    """
    if folder.is_file():
        return _of_cohort(folder), []
    if not folder.is_dir():
        raise EvaluationError(
            "no such folder of predictions",
            file=folder,
            expected="a folder with <id>.nii.gz or <id>/<id>_seg.nii.gz",
        )
    found: dict[str, list[Path]] = defaultdict(list)
    beside = tuple(f"{id}{mark}" for id in known_ids for mark in PROBABILITIES)
    for file in _nifti(folder):
        if _stem(file) in known_ids or not file.name.startswith(beside):
            found[_id_of(file, known_ids)].append(file)
    for inner in sorted(
        entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    ):
        for file in _nifti(inner):
            # In a study's own folder lie images as well: only a label map carries exactly the
            # folder's name.
            if _stem(file) in {inner.name, *(inner.name + suffix for suffix in SUFFIXES)}:
                found[inner.name].append(file)
    if found:
        problems = [
            f"{id}: two predictions: {files[0]} and {files[1]}"
            for id, files in sorted(found.items())
            if len(files) > 1
        ]
        return {id: ImageFile(files[0]) for id, files in sorted(found.items())}, problems
    return _of_cohort(folder), []


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
    files = _nifti(folder)
    for id in ids:
        of_id = [
            file
            for file in files
            if file.name.startswith(tuple(id + mark for mark in PROBABILITIES))
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
    """The convention that ``segment`` noted in the ``<id>.json`` beside each map; None where one
    lacks it or they differ.

    Args:
        files: label maps.
    """
    noted = set()
    for file in files:
        try:
            summary = read_json(file.path.parent / f"{_stem(file.path)}.json", _SUMMARY)
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
    """The sequences that each prediction was made of, as ``segment`` noted them in the
    ``<id>.json`` beside it; None where one lacks it.

    Args:
        files: id → label map.
    """
    noted = {}
    for id, file in files.items():
        try:
            summary = read_json(file.path.parent / f"{_stem(file.path)}.json", _SUMMARY)
            noted[id] = list(Fields(summary, _SUMMARY).part("sequences").part("used"))
        except EvaluationError:
            return None
    return noted


def _of_cohort(path: Path) -> dict[str, ImageFile]:
    from gliodistill.studies.cohort import find_cohort

    try:
        cohort, _ = find_cohort(path)
    except StudyError as error:
        raise EvaluationError(
            "no predictions",
            file=path,
            got=error.got,
            expected="<id>.nii.gz or <id>/<id>_seg.nii.gz",
        ) from error
    labelled = {record.id: record.truth for record in cohort.studies if record.truth is not None}
    if not labelled:
        raise EvaluationError(
            "no label map among the studies", file=path, got=f"{len(cohort)} studies without one"
        )
    return labelled


def _nifti(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.name.lower().endswith(ENDINGS) and not file.name.startswith(".") and file.is_file()
    )


def _stem(file: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", file.name, flags=re.IGNORECASE)


def _id_of(file: Path, known_ids: Collection[str]) -> str:
    stem = _stem(file)
    if stem in known_ids:
        return stem
    for suffix in SUFFIXES:
        if stem.endswith(suffix):
            return stem.removesuffix(suffix)
    return stem
