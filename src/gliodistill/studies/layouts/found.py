"""What every layout is and gives: the small protocol behind ``layouts/``."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gliodistill import documents
from gliodistill.errors import StudyError
from gliodistill.files import shown_name
from gliodistill.studies.labels import REGIONS, LabelConvention
from gliodistill.studies.naming import Reading, parse_sequence
from gliodistill.studies.problem import Problem
from gliodistill.studies.records import ImageFile, StudyRecord
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.words import WORDS, Kind

TRUTH_SPELLINGS = frozenset(WORDS[Kind.LABEL].split())


@dataclass(frozen=True)
class Found:
    """The studies of one folder.

    Attributes:
        layout: its name.
        studies: sorted by id.
        problems: everything noticed on the way.
        label_names: code → what the data set's own description calls it, or region name → codes, if
            it has one.
        label_maps: id → label map that no image was found for; good to score against.
    """

    layout: str
    studies: tuple[StudyRecord, ...]
    problems: tuple[Problem, ...] = ()
    label_names: Mapping[str, Any] | None = None
    label_maps: Mapping[str, ImageFile] = field(default_factory=dict)


class Layout(Protocol):
    """A module with a name, a test by evidence, and a finder."""

    NAME: str

    def matches(self, root: Path) -> bool:
        """Whether ``root`` looks like this layout (cheap: names only)."""

    def find(self, root: Path) -> Found:
        """Every study below ``root``; nothing is read but descriptions."""


@dataclass
class Draft:
    """A study while its files are gathered: notices duplicates instead of choosing among them."""

    id: str
    patient: str
    images: dict[MRSequence, ImageFile] = field(default_factory=dict)
    spellings: dict[MRSequence, str] = field(default_factory=dict)
    truth: ImageFile | None = None
    problems: list[Problem] = field(default_factory=list)
    known_regions: tuple[str, ...] = REGIONS
    known: ImageFile | None = None
    group: str | None = None
    normalised: bool = False
    unused: dict[str, str] = field(default_factory=dict)
    read: list[tuple[Path, Reading]] = field(default_factory=list)
    prefers_plain: bool = False
    """Whether a file that is called after its sequence and nothing else wins over others of it."""
    convention: LabelConvention | None = None

    def add(self, sequence: MRSequence, image: ImageFile, spelling: str) -> None:
        """Take ``image`` as ``sequence``, matched by ``spelling``."""
        if sequence in self.images:
            there = self.images[sequence].shown
            self.block(f"two files for {sequence}: {there}, {image.shown}", image.path)
            return
        self.images[sequence], self.spellings[sequence] = image, spelling

    def add_truth(self, image: ImageFile) -> None:
        """Take ``image`` as the label map."""
        if self.truth is not None:
            self.block(f"two label maps: {self.truth.shown}, {image.shown}", image.path)
            return
        self.truth = image

    def take(self, file: Path, reading: Reading) -> None:
        """Take ``file`` as its name reads; :meth:`settle` decides once all names are known."""
        self.read.append((file, reading))

    def settle(self) -> None:
        """Give each file that was taken its place: a sequence, the label map, a note or a question."""
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
        """``T1_post`` may be after treatment where ``T2_post`` lies there too."""
        treated = any(r.post and r.sequence and not r.after for _, r in self.read)
        why = "may be T1 after contrast, or T1 after treatment"
        return [
            (file, reading.doubted(why, MRSequence.T1) if reading.after and treated else reading)
            for file, reading in self.read
        ]

    def ask(self, reading: Reading, file: Path) -> None:
        """A name that rules cannot decide forbids loading: the user says what it is."""
        ends = " or ".join(f"_{str(sequence).lower()}" for sequence in sorted(reading.candidates))
        self.block(
            f"cannot tell what it is: {reading.why}; rename it to end in {ends}, take it away, or"
            " list the files in a manifest (CSV with columns id, t1, t1ce, t2, flair)",
            file,
        )

    def block(self, problem: str, file: Path | None = None) -> None:
        """Something that forbids loading."""
        self.problems.append(Problem(problem, self.id, file, blocking=True))

    def note(self, problem: str, file: Path | None = None) -> None:
        """Something worth telling."""
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
    """``root`` by a path that ends in the folder's own name, also where it was given as ``.`` or
    ``..``: names of folders become ids.
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
    """Sorted sub-folders, hidden ones left out."""
    return [entry for entry in entries(folder) if entry.is_dir()]


def nifti_files(folder: Path) -> list[Path]:
    """Sorted NIfTI files directly in ``folder``."""
    return [entry for entry in entries(folder) if is_nifti(entry.name) and entry.is_file()]


def is_nifti(name: str) -> bool:
    """Whether ``name`` ends in .nii or .nii.gz."""
    return name.lower().endswith((".nii", ".nii.gz"))


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have (too long) names none."""
    try:
        return path.is_file()
    except OSError:
        return False


def stem(file: Path) -> str:
    """File name without .nii or .nii.gz."""
    return re.sub(r"\.nii(\.gz)?$", "", file.name, flags=re.IGNORECASE)


def readable(name: str) -> str:
    """A name from disk as text: one that is not UTF-8 is read as Latin-1, so that an id made of it
    can be written anywhere.
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
