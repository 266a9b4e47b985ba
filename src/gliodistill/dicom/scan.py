"""A DICOM export → patients, their studies, their series. Two patients are never mixed."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Self

from gliodistill.dicom.frames import DIRECTORY, FileFacts, facts_of
from gliodistill.dicom.geometry import Part, parts_of
from gliodistill.dicom.grids import Slice
from gliodistill.dicom.headers import FileNotDicom, read_header
from gliodistill.dicom.identity import Mask
from gliodistill.dicom.series import Series
from gliodistill.dicom.source import opened
from gliodistill.errors import ImageError, StudyError
from gliodistill.extras import load


@dataclass(frozen=True, eq=False)
class DicomStudy:
    """One examination.

    Attributes:
        key: a short hash of its UID, which stands for it in file names.
        uid: StudyInstanceUID.
        patient: key of the patient.
        series: in the order of their numbers.
    """

    key: str
    uid: str
    patient: str
    series: tuple[Series, ...]

    def find(self, key: str) -> Series:
        """The series of that key.

        Raises:
            StudyError: there is none.
        """
        for series in self.series:
            if series.key == key:
                return series
        raise StudyError(
            "no such series",
            file=self.key,
            got=key,
            expected=", ".join(series.key for series in self.series),
        )


@dataclass(frozen=True, eq=False)
class Patient:
    """One patient.

    Attributes:
        key: a short hash of the UIDs of the studies: of the name or id it could be guessed.
        studies: of the patient.
        identity: name and id; None unless they were asked for.
    """

    key: str
    studies: tuple[DicomStudy, ...]
    identity: str | None = None


class Scan:
    """What an export holds; a context, since files of a zip live in a temporary folder.

    Attributes:
        path: that was given.
        patients: in order of their first file.
        notes: on what was passed over.
        mask: takes the patients' names and ids out of a text.
        refused: key of a study → why it cannot be used, since files of it are damaged; empty if
            ``strict``.
    """

    def __init__(
        self, path: str | PathLike[str], keep_identity: bool = False, strict: bool = True
    ) -> None:
        """Read every header.

        Args:
            path: folder, zip, DICOMDIR or file.
            keep_identity: whether names and ids of patients stay in texts.
            strict: whether damaged files stop the whole export, or only the studies in whose folder
                they lie.

        Raises:
            ImageError: nothing that can be read as DICOM, damaged files, or a hostile archive.
            GliodistillError: pydicom is not installed.
        """
        load()
        self.path = Path(path)
        self._open = ExitStack()
        try:
            files, notes = self._open.enter_context(opened(self.path))
            facts, faults, passed = _facts(self.path, files)
            if faults and (strict or not facts):
                raise faults[0].error
            if not facts:
                raise ImageError(
                    "no DICOM in it", file=path, got=f"{len(files)} other files", expected="DICOM"
                )
            self.refused = {
                study_key(uid): fault.error
                for fault in reversed(faults)
                for uid in _struck(fault.files, facts)
            }
            self.mask = Mask(() if keep_identity else [one.identity for one in facts])
            self.patients = _patients(facts, self.mask, keep_identity)
        except BaseException:
            self._open.close()
            raise
        self.notes: tuple[str, ...] = (*notes, *passed)

    def __getstate__(self) -> dict[str, Any]:
        """For work on one study in another process: without the others."""
        return {**self.__dict__, "patients": (), "_open": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _open=ExitStack())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was unpacked."""
        self._open.close()

    @property
    def studies(self) -> tuple[DicomStudy, ...]:
        """Of all patients."""
        return tuple(study for patient in self.patients for study in patient.studies)

    @property
    def series(self) -> Iterator[Series]:
        """Of all studies."""
        return (series for study in self.studies for series in study.series)

    def one_patient(self) -> Patient:
        """The patient.

        Raises:
            StudyError: there are several.
        """
        if len(self.patients) > 1:
            raise StudyError(
                "files of several patients",
                file=self.path,
                got="; ".join(
                    f"patient {number} ({patient.key}): {len(patient.studies)} studies,"
                    f" {sum(len(study.series) for study in patient.studies)} series"
                    for number, patient in enumerate(self.patients, 1)
                ),
                expected="one patient",
                hint="give each patient a folder of its own",
            )
        return self.patients[0]


@dataclass(frozen=True)
class _Fault:
    """Files that make what lies with them unusable, and the error to say so."""

    files: tuple[Path, ...]
    error: ImageError


def _facts(path: Path, files: list[Path]) -> tuple[list[FileFacts], list[_Fault], list[str]]:
    """What the files say, what is wrong with some, and notes on those that say nothing."""
    facts: list[FileFacts] = []
    other, damaged, copies = 0, [], 0
    faults: list[_Fault] = []
    seen: dict[str, FileFacts] = {}
    for file in files:
        try:
            found = facts_of(file, read_header(file, brief=True))
        except FileNotDicom:
            other += 1
            continue
        except ImageError as error:
            damaged.append((file, error))
            continue
        except OSError as error:
            damaged.append((file, ImageError("cannot be read", file=file, got=error.strerror)))
            continue
        if found.sop_class == DIRECTORY:
            continue
        if found.instance and (earlier := seen.get(found.instance)):
            if _same_file(earlier.file, file):
                copies += 1
                continue
            conflict = ImageError(
                "two different files with one SOPInstanceUID",
                file=path,
                field=f"series {found.series_number}",
                expected="each UID once, or exact copies",
                hint="remove one of the two exports",
            )
            faults.append(_Fault((earlier.file, file), conflict))
            continue
        seen[found.instance] = found
        facts.append(found)
    if damaged:
        # A volume with a slice left out would be wrong in silence.
        first = damaged[0][1]
        broken = ImageError(
            f"{len(damaged)} of {len(files)} files are damaged; first: {first.problem}",
            file=path,
            field=Mask(one.identity for one in facts).hide(str(_below(path, first.file))),
            got=first.got,
            expected="whole files",
            hint="export the study again, or remove the damaged files",
        )
        faults.insert(0, _Fault(tuple(file for file, _ in damaged), broken))
    notes = []
    if other:
        notes.append(f"{other} files that are no DICOM were passed over")
    if copies:
        notes.append(f"{copies} exact copies of files were passed over")
    return facts, faults, notes


def _struck(files: tuple[Path, ...], facts: list[FileFacts]) -> set[str]:
    """UIDs of the studies that files which cannot be used may belong to: those of the nearest
    folder above each that holds DICOM.
    """
    found: set[str] = set()
    for file in files:
        for folder in file.parents:
            if near := {one.study for one in facts if one.file.is_relative_to(folder)}:
                found |= near
                break
    return found


def _below(path: Path, file: str | PathLike[str] | None) -> Path:
    """A file's place in what the user gave; of a zip, its number."""
    found = Path(file or path)
    return found.relative_to(path) if found.is_relative_to(path) else Path(found.name)


def _same_file(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        return hashlib.file_digest(first, "sha256").digest() == (
            hashlib.file_digest(second, "sha256").digest()
        )


def study_key(uid: str) -> str:
    """A short hash of a StudyInstanceUID, which stands for the study in names and logs."""
    return _short("study", uid)


def _short(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:8]


def _patients(facts: list[FileFacts], mask: Mask, keep_identity: bool) -> tuple[Patient, ...]:
    groups: list[tuple[tuple[str, str, str], list[FileFacts]]] = []
    # The most complete identities first, so that an incomplete one finds whom it belongs to.
    for one in sorted(facts, key=lambda one: -sum(map(bool, one.identity))):
        for identity, group in groups:
            if _same_person(identity, one, group):
                group.append(one)
                break
        else:
            groups.append((one.identity, [one]))
    order = {one.file: place for place, one in enumerate(facts)}
    patients = []
    for identity, group in groups:
        group.sort(key=lambda one: order[one.file])
        uids = sorted({one.study for one in group})
        key = _short("patient", *uids)
        studies = [
            DicomStudy(
                study_key(uid),
                uid,
                key,
                tuple(_series(key, [one for one in group if one.study == uid], mask)),
            )
            for uid in uids
        ]
        told = ", ".join(filter(None, identity)) if keep_identity else None
        patients.append((order[group[0].file], Patient(key, tuple(studies), told)))
    return tuple(patient for _, patient in sorted(patients, key=lambda pair: pair[0]))


def _same_person(identity: tuple[str, str, str], one: FileFacts, group: list[FileFacts]) -> bool:
    """Whether nothing contradicts it, and an id, a name or the study says so."""
    agree = [
        mine == other for mine, other in zip(identity, one.identity, strict=True) if mine and other
    ]
    if not all(agree):
        return False
    shared = any(
        mine and mine == other for mine, other in zip(identity[:2], one.identity[:2], strict=True)
    )
    return shared or any(other.study == one.study for other in group)


def _series(patient: str, facts: list[FileFacts], mask: Mask) -> Iterator[Series]:
    grouped: dict[str, list[FileFacts]] = {}
    for one in facts:
        grouped.setdefault(one.series, []).append(one)
    ordered = sorted(
        grouped.items(),
        key=lambda pair: (pair[1][0].series_number is None, pair[1][0].series_number or 0, pair[0]),
    )
    for key, (uid, group) in zip(_keys(group for _, group in ordered), ordered, strict=True):
        by_file = {one.file: one for one in group}
        parts = _parts(group, f"series {key}")
        for number, part in enumerate(parts, 1):
            one = by_file[part.slices[0].file]
            yield Series(
                key if len(parts) == 1 else f"{key}.{number}",
                uid,
                one.study,
                patient,
                one.series_number,
                mask.hide(one.description),
                one.modality,
                one.sop_class,
                one.frame_of_reference,
                part.name,
                part.slices,
                part.grid,
                part.refused,
                {
                    name: mask.hide(told) if isinstance(told, str) else told
                    for name, told in one.attributes.items()
                },
            )


def _keys(groups: Iterable[list[FileFacts]]) -> Iterator[str]:
    """The numbers of series; with a letter from the second of one number on, "?" without one."""
    taken: Counter[str] = Counter()
    for group in groups:
        number = group[0].series_number
        name = "?" if number is None else str(number)
        again = taken[name]
        taken[name] += 1
        yield name + (ascii_lowercase[again % 26] * (1 + again // 26) if again else "")


def _parts(group: list[FileFacts], where: str) -> list[Part]:
    """The volumes of a series, and what of it is no image."""
    parts = parts_of([frame for one in group for frame in one.frames], where)
    reasons: dict[str, list[Slice]] = {}
    for one in group:
        if one.refused:
            reasons.setdefault(one.refused, []).append(Slice(one.file))
    return parts + [
        Part("", tuple(slices), None, ImageError(reason, field=where))
        for reason, slices in reasons.items()
    ]
