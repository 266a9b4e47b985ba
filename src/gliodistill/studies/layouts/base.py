"""The protocol of layouts, and the studies they find."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gliodistill import documents
from gliodistill.errors import StudyError
from gliodistill.files import shown_name
from gliodistill.studies.labels import LabelConvention
from gliodistill.studies.naming import Reading, parse_sequence
from gliodistill.studies.problem import Problem
from gliodistill.studies.records import ImageFile, StudyRecord
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.vocabulary import WORDS, Kind

TRUTH_SPELLINGS = frozenset(WORDS[Kind.LABEL].split())


@dataclass(frozen=True)
class Found:
    """The studies of one folder.

    Attributes:
        layout: its name.
        studies: sorted by id.
        problems: problems and notes.
        label_names: code → name in the data set's description, or region name → codes, if there is
            one.
        label_maps: id → label map without an image, usable as a reference for scoring.
    """

    layout: str
    studies: tuple[StudyRecord, ...]
    problems: tuple[Problem, ...] = ()
    label_names: Mapping[str, Any] | None = None
    label_maps: Mapping[str, ImageFile] = field(default_factory=dict)


class Layout(Protocol):
    """A module with a name, a detector and a finder."""

    NAME: str

    def matches(self, root: Path) -> bool:
        """Whether ``root`` has this layout (cheap: names only)."""

    def find(self, root: Path) -> Found:
        """All studies below ``root``; only descriptions are read."""


@dataclass
class Draft:
    """A study whose files are being collected; duplicates are reported."""

    id: str
    patient: str
    images: dict[MRSequence, ImageFile] = field(default_factory=dict)
    spellings: dict[MRSequence, str] = field(default_factory=dict)
    truth: ImageFile | None = None
    problems: list[Problem] = field(default_factory=list)
    known_regions: tuple[str, ...] | None = None
    known: ImageFile | None = None
    group: str | None = None
    normalised: bool = False
    unused: dict[str, str] = field(default_factory=dict)
    read: list[tuple[Path, Reading]] = field(default_factory=list)
    prefers_plain: bool = False
    """Whether a file named only after its sequence takes precedence over others of it."""
    convention: LabelConvention | None = None

    def add(self, sequence: MRSequence, image: ImageFile, spelling: str) -> None:
        """Add ``image`` as ``sequence``, matched by ``spelling``."""
        if sequence in self.images:
            there = self.images[sequence].shown
            self.block(f"two files for {sequence}: {there}, {image.shown}", image.path)
            return
        self.images[sequence], self.spellings[sequence] = image, spelling

    def add_truth(self, image: ImageFile) -> None:
        """Add ``image`` as the label map."""
        if self.truth is not None:
            self.block(f"two label maps: {self.truth.shown}, {image.shown}", image.path)
            return
        self.truth = image

    def take(self, file: Path, reading: Reading) -> None:
        """Add ``file`` with the reading of its name; :meth:`settle` decides when all names are
        known.
        """
        self.read.append((file, reading))

    def settle(self) -> None:
        """Assign each file: a sequence, the label map, a note or a problem."""
        taken, self.read = self._with_doubts(), []
        plain = {r.sequence: file for file, r in taken if r.plain} if self.prefers_plain else {}
        for file, reading in taken:
            if reading.sequence in plain and not reading.plain:
                chosen = shown_name(plain[reading.sequence].name)
                self.note(f"{reading.sequence} is {chosen}; not used", file)
            elif reading.sequence is not None:
                self.add(reading.sequence, ImageFile(file), reading.spelling)
        for file, reading in taken:
            if reading.label:
                self.add_truth(ImageFile(file))
            elif reading.undecided and reading.candidates <= self.images.keys():
                self.note(f"{reading.why}; not used", file)
            elif reading.undecided:
                self.ask(reading, file)
            elif reading.sequence is None:
                self.note(f"{reading.why}; not used", file)

    def _with_doubts(self) -> list[tuple[Path, Reading]]:
        """``T1_post`` may be after treatment if there is a ``T2_post`` too."""
        treated = any(r.post and r.sequence and not r.after for _, r in self.read)
        why = "may be T1 after contrast, or T1 after treatment"
        return [
            (file, reading.doubted(why, MRSequence.T1) if reading.after and treated else reading)
            for file, reading in self.read
        ]

    def ask(self, reading: Reading, file: Path) -> None:
        """Report an undecided name, which prevents loading."""
        ends = " or ".join(f"_{str(sequence).lower()}" for sequence in sorted(reading.candidates))
        self.block(
            f"cannot decide what it is: {reading.why}; rename it to end in {ends}, remove it, or"
            " list the files in a manifest (CSV with columns id, t1, t1ce, t2, flair)",
            file,
        )

    def block(self, problem: str, file: Path | None = None) -> None:
        """Report a problem that prevents loading."""
        self.problems.append(Problem(problem, self.id, file, blocking=True))

    def note(self, problem: str, file: Path | None = None) -> None:
        """Report a note."""
        self.problems.append(Problem(problem, self.id, file))
        if file is not None:
            self.unused[shown_name(file.name)] = problem.removesuffix("; not used")


def gather(
    layout: str,
    drafts: Iterable[Draft],
    problems: Iterable[Problem] = (),
    label_names: Mapping[str, Any] | None = None,
    label_maps: Mapping[str, ImageFile] | None = None,
) -> Found:
    """Drafts → records. One without any sequence becomes a problem, and its label map one without
    an image; ids must differ (:class:`Cohort` checks).
    """
    records, noticed, alone = [], list(problems), dict(label_maps or {})
    for draft in sorted(drafts, key=lambda d: d.id):
        draft.settle()
        noticed += draft.problems
        blocking = tuple(str(problem) for problem in draft.problems if problem.blocking)
        if not draft.images and not blocking:
            noticed.append(Problem("no sequence found", draft.id, blocking=True))
            if draft.truth is not None:
                alone[draft.id] = draft.truth
            continue
        images = {
            sequence: draft.images[sequence] for sequence in MRSequence if sequence in draft.images
        }
        records.append(
            StudyRecord(
                draft.id,
                draft.patient,
                images,
                draft.truth,
                draft.spellings,
                blocking,
                draft.known_regions,
                draft.known,
                draft.group,
                draft.normalised,
                unused=draft.unused,
                convention=draft.convention,
            )
        )
    return Found(layout, tuple(records), tuple(noticed), label_names, alone)


def sequence_of(spelling: str) -> MRSequence | None:
    """The sequence meant by ``spelling``, or None."""
    try:
        return parse_sequence(spelling)
    except StudyError:
        return None


def named(root: Path) -> Path:
    """``root`` as a path that ends in the folder's name, also if given as ``.`` or ``..``, because
    folder names become ids.
    """
    return root.resolve() if root.name in ("", "..") else root


def entries(folder: Path) -> list[Path]:
    """Sorted content of ``folder`` without hidden files (``.DS_Store``, ``._x``, our own partial
    files).
    """
    return (
        sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        if folder.is_dir()
        else []
    )


def folders(folder: Path) -> list[Path]:
    """Sorted sub-folders, without hidden ones."""
    return [entry for entry in entries(folder) if entry.is_dir()]


def nifti_files(folder: Path) -> list[Path]:
    """Sorted NIfTI files directly in ``folder``."""
    return [entry for entry in entries(folder) if is_nifti(entry.name) and entry.is_file()]


def is_nifti(name: str) -> bool:
    """Whether ``name`` ends in .nii or .nii.gz."""
    return name.lower().endswith((".nii", ".nii.gz"))


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for a name that is too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def stem(file: Path) -> str:
    """File name without .nii or .nii.gz."""
    return re.sub(r"\.nii(\.gz)?$", "", file.name, flags=re.IGNORECASE)


def readable(name: str) -> str:
    """A name from disk as text: one that is not UTF-8 is read as Latin-1, so that it can become an
    id.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("latin-1")
    return name


def read_json(file: Path) -> Any:
    """Parsed JSON.

    Raises:
        StudyError: unreadable or malformed.
    """
    refusal = documents.Refusal(StudyError, "cannot read the description")
    return documents.read_json(file, refusal, (dict, list))
