"""What every layout is and gives: the small protocol behind ``layouts/``."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gliodistill import documents
from gliodistill.errors import StudyError
from gliodistill.studies.labels import REGIONS, LabelConvention
from gliodistill.studies.problem import Problem
from gliodistill.studies.sequence import Sequence
from gliodistill.studies.study import ImageFile, StudyRecord

TRUTH_SPELLINGS = frozenset(
    {"seg", "segm", "segmentation", "label", "labels", "truth", "gt", "groundtruth"}
)


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
    images: dict[Sequence, ImageFile] = field(default_factory=dict)
    spellings: dict[Sequence, str] = field(default_factory=dict)
    truth: ImageFile | None = None
    problems: list[Problem] = field(default_factory=list)
    known_regions: tuple[str, ...] = REGIONS
    known: ImageFile | None = None
    group: str | None = None
    normalised: bool = False
    convention: LabelConvention | None = None

    def add(self, sequence: Sequence, image: ImageFile, spelling: str) -> None:
        """Take ``image`` as ``sequence``, matched by ``spelling``."""
        if sequence in self.images:
            self.block(
                f"two files for {sequence}: {self.images[sequence].path.name}, {image.path.name}",
                image.path,
            )
            return
        self.images[sequence], self.spellings[sequence] = image, spelling

    def add_truth(self, image: ImageFile) -> None:
        """Take ``image`` as the label map."""
        if self.truth is not None:
            self.block(f"two label maps: {self.truth.path.name}, {image.path.name}", image.path)
            return
        self.truth = image

    def add_named(self, file: Path, spelling: str) -> None:
        """Take ``file`` as whatever ``spelling`` means: a sequence, the truth, or a thing to note."""
        if spelling.lower() in TRUTH_SPELLINGS:
            self.add_truth(ImageFile(file))
        elif (sequence := sequence_of(spelling)) is not None:
            self.add(sequence, ImageFile(file), spelling)
        else:
            self.note("not recognised as a sequence or label map", file)

    def block(self, problem: str, file: Path | None = None) -> None:
        """Something that forbids loading."""
        self.problems.append(Problem(problem, self.id, file, blocking=True))

    def note(self, problem: str, file: Path | None = None) -> None:
        """Something worth telling."""
        self.problems.append(Problem(problem, self.id, file))


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
        noticed += draft.problems
        if not draft.images:
            noticed.append(Problem("no sequence found", draft.id, blocking=True))
            if draft.truth is not None:
                alone[readable(draft.id)] = draft.truth
            continue
        blocking = tuple(str(problem) for problem in draft.problems if problem.blocking)
        images = {
            sequence: draft.images[sequence] for sequence in Sequence if sequence in draft.images
        }
        records.append(
            StudyRecord(
                readable(draft.id),
                readable(draft.patient),
                images,
                draft.truth,
                draft.spellings,
                blocking,
                draft.known_regions,
                draft.known,
                draft.group,
                draft.normalised,
                convention=draft.convention,
            )
        )
    return Found(layout, tuple(records), tuple(noticed), label_names, alone)


def sequence_of(spelling: str) -> Sequence | None:
    """The sequence meant by ``spelling``, or None."""
    try:
        return Sequence.parse(spelling)
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
