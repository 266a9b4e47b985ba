"""Find the cases at the paths that a user gives, in any form."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from gliodistill.dicom.source import looks_like_dicom
from gliodistill.errors import GliodistillError, StudyError
from gliodistill.inference.cases.base import Case
from gliodistill.inference.cases.nifti import AUTO, NiftiCase, check_form
from gliodistill.studies.cohort import find_cohort
from gliodistill.studies.layouts import Found
from gliodistill.studies.sequence import MRSequence

if TYPE_CHECKING:
    from gliodistill.inference.cases.dicom import DicomCase


@dataclass
class Cases:
    """What :func:`find_cases` found.

    Attributes:
        cases: in the order of the paths.
        found: of each path that is no DICOM, with its problems and notes.
        notes: on DICOM that was passed over.
        failed: path, as it is called in messages → why nothing of it can be used, where there are
            other paths.
    """

    cases: list[Case] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: dict[str, GliodistillError] = field(default_factory=dict)


@contextmanager
def find_cases(
    paths: Sequence[str | PathLike[str]],
    *,
    layout: str | None = None,
    form: str = AUTO,
    series: Mapping[MRSequence, str] | None = None,
    keep_identity: bool = False,
) -> Iterator[Cases]:
    """The cases at some paths; files of a zip live until the context ends.

    Args:
        paths: studies or folders of them in any layout, DICOM folders, zips, DICOMDIRs or files,
            or folders of zips.
        layout: of studies that are no DICOM, if it cannot be determined.
        form: what NIfTI is taken for: ``"auto"``, ``"prepared"`` or ``"scanned"``.
        series: sequence → the DICOM series to take; for one DICOM study.
        keep_identity: whether names and ids of patients may be told.

    Raises:
        GliodistillError: nothing is found at the one path, an option does not fit what is there, or
            pydicom is not installed.
    """
    check_form(form)
    result = Cases()
    places = [place for path in paths for place in _exports(Path(path))]
    with ExitStack() as stack:
        dicom: list[DicomCase] = []
        for path, shown in places:
            if not looks_like_dicom(path):
                cohort, found = find_cohort(path, layout)
                result.found.append(found)
                result.cases += [NiftiCase(record, form) for record in cohort.studies]
                continue
            try:
                read, notes = _of_dicom(stack, path, series or {}, keep_identity)
            except GliodistillError as error:
                if len(places) == 1:
                    raise
                result.failed[shown] = _renamed(error, shown)
                continue
            dicom += read
            result.cases += read
            result.notes += notes
        _check_options(dicom, form, series, keep_identity)
        yield result


@contextmanager
def one_case(path: str | PathLike[str]) -> Iterator[Case]:
    """The one case at a path.

    Raises:
        StudyError: there are several.
    """
    with find_cases([path]) as found:
        if len(found.cases) != 1:
            ids = ", ".join(case.id for case in found.cases[:4])
            raise StudyError(
                "several studies",
                file=path,
                got=f"{len(found.cases)}: {ids}",
                expected="one",
                hint="gliodistill segment takes many",
            )
        yield found.cases[0]


def _exports(path: Path) -> list[tuple[Path, str]]:
    """The path, or the zips in a folder that holds nothing but zips; each with what it is called
    in messages, since the name of a zip may be that of a patient.
    """
    if path.is_dir():
        entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
        if entries and all(one.suffix.lower() == ".zip" and one.is_file() for one in entries):
            return [
                (one, f"{path}, zip {number} of {len(entries)} by name")
                for number, one in enumerate(entries, 1)
            ]
    return [(path, str(path))]


def _renamed(error: GliodistillError, file: str) -> GliodistillError:
    return type(error)(
        error.problem,
        file=file,
        field=error.field,
        got=error.got,
        expected=error.expected,
        hint=error.hint,
    )


def _of_dicom(
    stack: ExitStack, path: Path, series: Mapping[MRSequence, str], keep_identity: bool
) -> "tuple[list[DicomCase], list[str]]":
    from gliodistill.dicom.scan import Scan
    from gliodistill.inference.cases.dicom import DicomCase

    scan = stack.enter_context(Scan(path, keep_identity, strict=False))
    cases = [
        DicomCase(scan, study, series, patient.identity)
        for patient in scan.patients
        for study in patient.studies
    ]
    return cases, list(scan.notes)


def _check_options(
    dicom: "list[DicomCase]",
    form: str,
    series: Mapping[MRSequence, str] | None,
    keep_identity: bool,
) -> None:
    """Refuse options that do not fit what was found."""
    if series and len(dicom) != 1:
        raise StudyError(
            "a series is chosen for one DICOM study",
            field="--series",
            got=f"{len(dicom)} DICOM studies",
            expected="an export of one study",
        )
    if keep_identity and not dicom:
        raise GliodistillError("no DICOM", field="--keep-identity", expected="DICOM")
    if form != AUTO and dicom:
        raise GliodistillError(
            "DICOM is always taken as scanned", field="--input", got=form, expected=AUTO
        )
