"""What an upload holds: its studies, which sequence each image was taken for, and why."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gliodistill.dicom.inspection import choose, study_facts
from gliodistill.dicom.scan import DicomStudy, Scan
from gliodistill.dicom.source import is_dicom
from gliodistill.errors import GliodistillError, StudyError
from gliodistill.inference.cases.base import Case
from gliodistill.inference.cases.dicom import DicomCase, shipped_appearance
from gliodistill.inference.cases.nifti import AUTO, NiftiCase
from gliodistill.serve.telling import told
from gliodistill.serve.uploads import DICOM, NIFTI, ZIP
from gliodistill.studies.layouts import find_studies
from gliodistill.studies.layouts.base import folders, nifti_files
from gliodistill.studies.naming import parse_sequence
from gliodistill.studies.records import ImageFile, StudyRecord
from gliodistill.studies.sequence import MRSequence


@dataclass
class Contents:
    """An upload, opened.

    Attributes:
        studies: as JSON: ``study``, ``form``, ``series`` with what each was taken for, ``chosen``,
            ``rules``, ``problems``.
        notes: on what was passed over.
        failed: parts of which nothing can be used, as errors.
    """

    studies: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"studies": self.studies, "notes": self.notes, "failed": self.failed}


def look_into(folder: Path) -> Contents:
    """Tell the studies of an upload.

    Args:
        folder: of the upload.
    """
    found = Contents()
    studies, notes = _nifti(folder)
    for place in _exports(folder):
        if studies and place.is_dir() and not any(map(is_dicom, place.iterdir())):
            found.notes.append(f"{len(list(place.iterdir()))} other files were passed over")
            continue
        try:
            with Scan(place, strict=False) as scan:
                found.notes += scan.notes
                found.studies += [_of_dicom(scan, study) for study in scan.studies]
        except GliodistillError as error:
            found.failed.append(told(error, folder))
    found.notes += notes
    found.studies += [_of_nifti(study) for study in studies]
    return found


@contextmanager
def open_case(folder: Path, study: str, series: Mapping[str, str]) -> Iterator[Case]:
    """One study of an upload, to be segmented.

    Args:
        folder: of the upload.
        study: as :func:`look_into` calls it.
        series: sequence → the key of the series or file that a person chose for it; all others are
            left out then. Empty: as they were taken by themselves.

    Raises:
        StudyError: no such study or series, or a sequence that is none.
    """
    wanted = {parse_sequence(name): key for name, key in series.items()}
    with open_dicom(folder, study) as opened:
        if opened is not None:
            scan, there = opened
            for key in wanted.values():
                there.find(key)
            if wanted:
                there = replace(
                    there, series=tuple(s for s in there.series if s.key in wanted.values())
                )
            yield DicomCase(scan, there, wanted)
            return
    for one in _nifti(folder)[0]:
        if one.record.id == study:
            yield NiftiCase(_chosen(one, wanted) if wanted else one.record, AUTO)
            return
    raise StudyError("no such study in the upload", got=study, hint="look at it again")


@contextmanager
def open_dicom(folder: Path, study: str) -> Iterator[tuple[Scan, DicomStudy] | None]:
    """The DICOM study of that key, or None."""
    for place in _exports(folder):
        try:
            scan = Scan(place, strict=False)
        except GliodistillError:
            continue  # told when the upload was looked into
        with scan:
            for one in scan.studies:
                if one.key == study:
                    yield scan, one
                    return
    yield None


def _exports(folder: Path) -> list[Path]:
    """The DICOM folder and the zips of an upload."""
    places = [folder / DICOM] if (folder / DICOM).is_dir() else []
    return places + (sorted((folder / ZIP).iterdir()) if (folder / ZIP).is_dir() else [])


def _of_dicom(scan: Scan, study: DicomStudy) -> dict[str, Any]:
    refused = scan.refused.get(study.key)
    problems = [] if refused is None else [told(refused)["message"]]
    facts = study_facts(study, choose(study, shipped_appearance()))
    return {**facts, "form": DICOM, "problems": problems}


@dataclass(frozen=True)
class _Files:
    """A study of NIfTI files.

    Attributes:
        record: as its layout tells it.
        files: key → every image file that may belong to it.
    """

    record: StudyRecord
    files: Mapping[str, ImageFile]


def _nifti(folder: Path) -> tuple[list[_Files], list[str]]:
    """Studies of NIfTI files, and notes; files whose names say nothing make a study that asks."""
    root = folder / NIFTI
    if not root.is_dir():
        return [], []
    try:
        found = find_studies(root)
    except StudyError as error:
        why = (told(error)["problem"] or "",)
        return [
            _Files(
                StudyRecord("_".join(place.relative_to(root).parts), place.name, {}, problems=why),
                {file.name: ImageFile(file) for file in nifti_files(place)},
            )
            for place in _with_images(root)
        ], []
    taken = {image.path for record in found.studies for image in _images(record)}
    notes = [str(problem) for problem in found.problems if problem.file and not problem.blocking]
    return [_Files(record, _around(record, taken)) for record in found.studies], notes


def _with_images(folder: Path) -> Iterator[Path]:
    for place in folders(folder):
        yield from _with_images(place)
        if nifti_files(place):
            yield place


def _images(record: StudyRecord) -> list[ImageFile]:
    return [*record.images.values(), *([] if record.truth is None else [record.truth])]


def _around(record: StudyRecord, taken: set[Path]) -> dict[str, ImageFile]:
    """Files of a study, and those beside them that are of no other."""
    found = {image.shown: image for image in _images(record)}
    for home in {image.path.parent for image in _images(record)}:
        for file in nifti_files(home):
            if file not in taken:
                found.setdefault(file.name, ImageFile(file))
    return dict(sorted(found.items()))


def _of_nifti(study: _Files) -> dict[str, Any]:
    record = study.record
    used = {image.shown: sequence for sequence, image in record.images.items()}
    label = None if record.truth is None else record.truth.shown
    return {
        "study": record.id,
        "form": NIFTI,
        "series": [
            {
                "key": key,
                "name": key,
                "sequence": str(used[key]) if key in used else None,
                "other": "label map" if key == label else record.unused.get(key),
                "used": key in used,
                "evidence": [f"named {record.spellings.get(used[key])}"] if key in used else [],
                "doubts": [],
            }
            for key in study.files
        ],
        "chosen": {str(sequence): image.shown for sequence, image in record.images.items()},
        "rules": {},
        "problems": list(record.problems),
    }


def _chosen(study: _Files, wanted: Mapping[MRSequence, str]) -> StudyRecord:
    """The record with the files that a person chose."""
    missing = [key for key in wanted.values() if key not in study.files]
    if missing:
        raise StudyError(
            "no such file in the study", got=missing[0], expected=", ".join(study.files)
        )
    return replace(
        study.record,
        images={sequence: study.files[key] for sequence, key in wanted.items()},
        spellings={},
        problems=(),
        unused={key: "not chosen" for key in study.files if key not in wanted.values()},
    )
