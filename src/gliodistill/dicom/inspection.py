"""What an export holds and what each series was taken for, as plain values."""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

from gliodistill.dicom.candidate import of_series
from gliodistill.dicom.classify import Choice, classify
from gliodistill.dicom.scan import DicomStudy, Scan
from gliodistill.dicom.series import Series
from gliodistill.errors import StudyError
from gliodistill.studies.naming import parse_sequence
from gliodistill.studies.sequence import MRSequence
from gliodistill.trust.appearance_model import AppearanceModel


def read_overrides(given: Iterable[str]) -> dict[MRSequence, str]:
    """``T1CE=7`` → T1CE: "7".

    Raises:
        StudyError: another form, an unknown sequence, or one sequence twice.
    """
    found: dict[MRSequence, str] = {}
    for text in given:
        name, equals, said = text.partition("=")
        if not equals or not said.strip():
            raise StudyError(
                "unclear choice of a series",
                field="--series",
                got=text,
                expected="SEQUENCE=SERIES, e.g. T1CE=7",
                hint="gliodistill inspect lists the series",
            )
        sequence = parse_sequence(name.strip())
        if sequence in found:
            raise StudyError("a sequence named twice", field="--series", got=text)
        found[sequence] = said.strip()
    if len(set(found.values())) < len(found):
        raise StudyError(
            "one series for two sequences", field="--series", got=", ".join(map(str, given))
        )
    return found


def choose(
    study: DicomStudy,
    reference: AppearanceModel | None = None,
    overrides: Mapping[MRSequence, str] | None = None,
) -> Choice:
    """Tell the sequences of a study (:func:`~gliodistill.dicom.classify.classify`); an override may
    also be a SeriesInstanceUID.

    Raises:
        StudyError: an override that fits no series, or several.
    """
    by_uid: dict[str, list[str]] = {}
    for series in study.series:
        if series.grid is not None:
            by_uid.setdefault(series.uid, []).append(series.key)
    named = {
        sequence: by_uid[said][0] if len(by_uid.get(said, ())) == 1 else said
        for sequence, said in (overrides or {}).items()
    }
    return classify([of_series(series) for series in study.series], reference, named)


def inspect_dicom(
    path: str | PathLike[str],
    reference: AppearanceModel | None = None,
    overrides: Mapping[MRSequence, str] | None = None,
    keep_identity: bool = False,
) -> dict[str, Any]:
    """Patients, studies and series of an export.

    Args:
        path: folder, zip, DICOMDIR or file.
        reference: what the sequences look like.
        overrides: sequence → the series to take; for an export of one study.
        keep_identity: whether names and ids of patients are told.

    Raises:
        ImageError: nothing that can be read as DICOM, or a hostile archive.
        StudyError: an override that fits no series, or an export of several studies.
        GliodistillError: pydicom is not installed.
    """
    with Scan(path, keep_identity) as scan:
        if overrides and len(scan.studies) > 1:
            raise StudyError(
                "a series is chosen for one study",
                file=path,
                field="--series",
                got=f"{len(scan.studies)} studies",
                expected="an export of one study",
            )
        return {
            "path": str(path),
            "layout": "dicom",
            "notes": list(scan.notes),
            "patients": [
                {
                    "patient": patient.key,
                    "identity": patient.identity,
                    "studies": [
                        study_facts(study, choose(study, reference, overrides))
                        for study in patient.studies
                    ],
                }
                for patient in scan.patients
            ],
        }


def study_facts(study: DicomStudy, choice: Choice) -> dict[str, Any]:
    """What each series of a study was taken for and why, as plain values."""
    told = choice.as_dict()
    return {
        "study": study.key,
        "series": [
            _series(series) | opinion
            for series, opinion in zip(study.series, told["series"], strict=True)
        ],
        "chosen": told["chosen"],
        "rules": told["rules"],
    }


def _series(series: Series) -> dict[str, Any]:
    grid = series.grid
    return {
        "part": series.part,
        "modality": series.modality,
        "files": len(series.files),
        "shape": grid and list(grid.shape),
        "spacing": grid and [round(step, 4) for step in grid.spacing],
        "plane": grid and grid.plane,
        "refused": None if series.refused is None else str(series.refused),
    }
