"""Cohorts: studies, their patients, label convention and splits."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import overload

from gliodistill.errors import StudyError, note, some
from gliodistill.studies.label_evidence import detect_convention
from gliodistill.studies.labels import CONVENTIONS, LabelConvention, find_convention
from gliodistill.studies.layouts import Found, find_studies
from gliodistill.studies.origin import labels_made_by
from gliodistill.studies.records import ImageFile, StudyRecord


@dataclass(frozen=True)
class Cohort:
    """Studies on disk, not yet read.

    Attributes:
        layout: the layout they were found in.
        convention: label convention of the references, except for studies that declare their own;
            None without references.
        studies: with ids that are unique.
        problems: problems and notes, a line each.
        labels_by: the command that made the label maps, if not an expert: ``pseudo-label`` or
            ``phantom`` (:mod:`gliodistill.studies.origin`).
        label_maps: id → label map without an image.

    Raises:
        StudyError: two studies with the same id.
    """

    layout: str
    convention: LabelConvention | None
    studies: tuple[StudyRecord, ...]
    problems: tuple[str, ...] = ()
    labels_by: str | None = None
    label_maps: Mapping[str, ImageFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        twice = sorted(
            id for id, count in Counter(record.id for record in self.studies).items() if count > 1
        )
        if twice:
            places = [
                str(image.path.parent)
                for record in self.studies
                if record.id == twice[0]
                for image in [*record.images.values()][:1]
            ]
            raise StudyError(
                "two studies with the same id",
                file=places[0] if places else None,
                field="id",
                got=twice[0],
                expected=f"once, also in {places[-1]}" if places else "once",
            )

    def __len__(self) -> int:
        return len(self.studies)

    def __iter__(self) -> Iterator[StudyRecord]:
        return map(self._with_convention, self.studies)

    @overload
    def __getitem__(self, which: int | str) -> StudyRecord: ...
    @overload
    def __getitem__(self, which: slice) -> "Cohort": ...
    def __getitem__(self, which: int | str | slice) -> "StudyRecord | Cohort":
        """A study by its number or its id (``Study.open`` reads it), or a slice as a cohort.

        Raises:
            StudyError: no study of this id.
            IndexError: no study of this number.
        """
        if isinstance(which, slice):
            return replace(self, studies=self.studies[which])
        found = self.studies[which] if isinstance(which, int) else self.select([which]).studies[0]
        return self._with_convention(found)

    def _with_convention(self, record: StudyRecord) -> StudyRecord:
        """The record on its own: it says what its labels mean."""
        return (
            record
            if record.truth is None
            else replace(record, convention=self.convention_of(record))
        )

    def __repr__(self) -> str:
        labelled = sum(record.truth is not None for record in self.studies)
        meaning = f" in {self.convention.name}" if self.convention is not None else ""
        return (
            f"<Cohort in layout {self.layout}: {len(self)} studies of {len(self.patients)}"
            f" patients, {labelled} labelled{meaning}>"
        )

    @property
    def patients(self) -> tuple[str, ...]:
        """Sorted, each once."""
        return tuple(sorted({record.patient for record in self.studies}))

    def convention_of(self, record: StudyRecord) -> LabelConvention | None:
        """The label convention of one study."""
        return record.convention or self.convention

    def labelled(self) -> "Cohort":
        """The studies with a reference."""
        return replace(
            self, studies=tuple(record for record in self.studies if record.truth is not None)
        )

    def note_unlabelled(self) -> None:
        """Issue notes about studies without a label map among labelled ones, and about label maps
        without an image, which training does not use.
        """
        without = {record.id for record in self.studies if record.truth is None}
        if without and len(without) < len(self):
            reasons = [line for line in self.problems if line.partition(": ")[0] in without]
            note(
                f"{len(without)} of {len(self)} studies left out, no label map:"
                f" {some(sorted(without))}" + (f" ({some(reasons)})" if reasons else "")
            )
        if self.label_maps:
            names = sorted(file.path.name for file in self.label_maps.values())
            note(f"{len(names)} label map(s) left out, no image of the same name: {some(names)}")

    def select(self, ids: Iterable[str]) -> "Cohort":
        """The studies of these ids, in this order.

        Raises:
            StudyError: an unknown id.
        """
        known = {record.id: record for record in self.studies}
        wanted = list(ids)
        strangers = [id for id in wanted if id not in known]
        if strangers:
            raise StudyError(
                "no such study",
                file=self.layout,
                field="id",
                got=", ".join(strangers[:4]),
                expected=f"an id like {some(sorted(known))}",
            )
        return replace(self, studies=tuple(known[id] for id in wanted))

    def split(
        self, validation: int | float | str | Sequence[str], seed: int = 0
    ) -> dict[str, "Cohort"]:
        """Two sides, ``"training"`` and ``"validation"``, with no patient on both: see
        :func:`split_patients`.
        """
        training, held_out = split_patients(
            {record.id: record.patient for record in self.studies}, validation, seed
        )
        sides = {"training": self.select(training), "validation": self.select(held_out)}
        check_disjoint(sides)
        return sides


def split_patients(
    patients: Mapping[str, str], validation: int | float | str | Sequence[str], seed: int = 0
) -> tuple[list[str], list[str]]:
    """Study ids for training and for validation, with no patient on both sides.

    The order of patients comes from a hash of seed and patient, so it is reproducible, and
    additional patients change it little.

    Args:
        patients: study id → patient.
        validation: how many patients (int), which share of them (float between 0 and 1), which fold
            of a cross-validation (``"2/5"``: the second of five; each patient is in one of them),
            or the ids of studies (and all studies of their patients). With 0 all are for training.
        seed: of the split.

    Raises:
        StudyError: a side is empty, or a named study does not exist.
    """
    everyone = sorted(
        set(patients.values()),
        key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).digest(),
    )
    if isinstance(validation, int | float):
        share = 0.0 < validation < 1.0 and not isinstance(validation, int)
        count = (
            round(validation * len(everyone))
            if share
            else validation
            if isinstance(validation, int)
            else 0
        )
        held_out = set(everyone[: max(0, count)])
    elif isinstance(validation, str):
        fold, _, folds = validation.partition("/")
        if not (fold.isdecimal() and folds.isdecimal() and 1 <= int(fold) <= int(folds)):
            raise StudyError(
                "no such fold",
                field="validation",
                got=validation,
                expected="1/5 to 5/5, for five folds",
            )
        held_out = set(everyone[int(fold) - 1 :: int(folds)])
    else:
        strangers = [id for id in validation if id not in patients]
        if strangers:
            raise StudyError(
                "no such study",
                field="validation",
                got=some(strangers),
                expected=f"an id like {some(sorted(patients))}",
            )
        held_out = {patients[id] for id in validation}
    nobody = isinstance(validation, int) and validation == 0
    if not (nobody or held_out) or len(held_out) == len(everyone):
        raise StudyError(
            "cannot split",
            field="validation",
            got=f"{validation} of {len(everyone)} patients",
            expected=(
                "a number of patients, a share between 0 and 1 or a fold, that leaves both"
                " sides one"
            ),
        )
    ids = sorted(patients)
    return [id for id in ids if patients[id] not in held_out], [
        id for id in ids if patients[id] in held_out
    ]


def check_disjoint(sides: Mapping[str, Cohort]) -> None:
    """Raise StudyError if a patient is on two sides."""
    seen: dict[str, set[str]] = defaultdict(set)
    for side, cohort in sides.items():
        for patient in cohort.patients:
            seen[patient].add(side)
    both = sorted(patient for patient, where in seen.items() if len(where) > 1)
    if both:
        raise StudyError(
            "a patient on two sides",
            file=" and ".join(sorted(seen[both[0]])),
            field="patient",
            got=some(both),
            expected="each patient on one side",
            hint="split by patient",
        )


def open_cohort(
    path: str | PathLike[str], *, layout: str | None = None, labels: str | None = None
) -> Cohort:
    """Find the studies under ``path`` and their label convention; only label maps are read.

    Args:
        path: a folder in any known layout, or a manifest.
        layout: its name, instead of detecting it.
        labels: the name of the label convention, instead of detecting it.

    Raises:
        StudyError: nothing found, several layouts fit, two studies with the same id.
        LabelError: unknown ``labels``, or a convention that cannot be determined.

    Example:
        >>> import gliodistill as gd
        >>> _ = gd.write_cohort("patients", 2, seed=1, spacing=6.0, jobs=1)
        >>> cohort = gd.open_cohort("patients")
        >>> cohort.layout, cohort.convention.name, len(cohort)
        ('brats', 'brats2021', 2)
    """
    cohort, found = find_cohort(Path(path), layout)
    return replace(cohort, convention=resolve_convention(cohort.studies, found, labels))


def find_cohort(path: Path, layout: str | None = None) -> tuple[Cohort, Found]:
    """The studies under ``path``, without a convention."""
    found = find_studies(path, layout)
    return (
        Cohort(
            found.layout,
            None,
            found.studies,
            tuple(str(problem) for problem in found.problems),
            labels_made_by(path, found.studies),
            found.label_maps,
        ),
        found,
    )


def resolve_convention(
    records: Sequence[StudyRecord], found: Found, labels: str | None
) -> LabelConvention | None:
    """The declared convention, or the detected one, or None without label maps.

    Studies that say what their labels mean say it for themselves; where all do, the result is the
    convention of most of them.
    """
    if labels is not None:
        return find_convention(labels, file=found.layout)
    truths = [record for record in records if record.truth is not None]
    untold = [record for record in truths if record.convention is None]
    if untold:
        return detect_convention(untold, found.label_names).convention
    told = Counter(record.convention.name for record in truths if record.convention is not None)
    return CONVENTIONS[told.most_common(1)[0][0]] if told else None
