"""What a layout finds: the files of a study, not yet read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gliodistill.errors import StudyError
from gliodistill.files import shown_name
from gliodistill.studies.ids import check_id, check_patient
from gliodistill.studies.labels import REGIONS, LabelConvention
from gliodistill.studies.sequence import MRSequence


@dataclass(frozen=True)
class ImageFile:
    """Where one 3-D image lies: a NIfTI file, or one channel of a 4-D one (MSD)."""

    path: Path
    channel: int | None = None

    @property
    def shown(self) -> str:
        """The file's name without its folder, and its channel as ``#2``."""
        channel = "" if self.channel is None else f"#{self.channel}"
        return f"{shown_name(self.path.name)}{channel}"


@dataclass(frozen=True)
class Sources:
    """The files a study was made of, by name and without folders.

    Attributes:
        used: sequence → its file; None for an image that came from memory.
        unused: file that lay there → why it was not used.
    """

    used: Mapping[MRSequence, str | None] = field(default_factory=dict)
    unused: Mapping[str, str] = field(default_factory=dict)

    def of(self, sequences: tuple[MRSequence, ...]) -> "Sources":
        """What a model that takes ``sequences`` uses of them."""
        left = {
            file: f"the model takes no {sequence}"
            for sequence, file in self.used.items()
            if sequence not in sequences and file is not None
        }
        used = {sequence: file for sequence, file in self.used.items() if sequence in sequences}
        return Sources(used, {**self.unused, **left})


@dataclass(frozen=True)
class StudyRecord:
    """One study on disk, not yet read: what a layout finds.

    Attributes:
        id: unique in its cohort; names output files (:mod:`.ids`).
        patient: studies of one patient share it (splits are by patient).
        images: where each sequence lies; none only in a cohort of label maps to score against.
        truth: the label map, if any.
        spellings: how the name on disk spells each sequence (``inspect`` shows the match).
        problems: what forbids loading (e.g. two files for one sequence), one line each.
        known_regions: of WT, TC, ET, those that the label map tells; in the others it says nothing.
        known: a mask of the voxels whose label is known (1; elsewhere 0), where not all are.
        group: what recipes weigh it by, where the cohort names groups.
        normalised: whether the images are z-scores over the whole brain already (of a crop, whose
            own mean would be that of the tumour).
        unused: images that lie there and are not used, by name → why.
        convention: what the truth's codes mean, where this study says so itself.

    Raises:
        StudyError: an id that cannot name a file, or an unusable name of a patient.
    """

    id: str
    patient: str
    images: Mapping[MRSequence, ImageFile]
    truth: ImageFile | None = None
    spellings: Mapping[MRSequence, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    known_regions: tuple[str, ...] = REGIONS
    known: ImageFile | None = None
    group: str | None = None
    normalised: bool = False
    unused: Mapping[str, str] = field(default_factory=dict)
    convention: LabelConvention | None = None

    @property
    def partial(self) -> bool:
        """Whether the label map leaves a region or a voxel open."""
        return self.truth is not None and (self.known_regions != REGIONS or self.known is not None)

    @property
    def teaches(self) -> str:
        """What a network can learn from the study, in words."""
        if self.truth is None:
            return "images only"
        inside = "" if self.known is None else f" inside {self.known.path.name}"
        return " ".join(self.known_regions) + inside

    def __repr__(self) -> str:
        labelled = ", labelled" if self.truth is not None else ""
        return f"<StudyRecord {self.id}: {' '.join(self.images) or 'no sequence'}{labelled}>"

    def __post_init__(self) -> None:
        file = next((image.path for image in (*self.images.values(), self.truth) if image), None)
        check_id(self.id, file)
        check_patient(self.patient, file)

    @property
    def sources(self) -> Sources:
        """Its files, by name."""
        return Sources({s: image.shown for s, image in self.images.items()}, self.unused)

    def check(self) -> None:
        """Raise StudyError for what forbids loading."""
        if self.problems:
            raise StudyError(
                self.problems[0].removeprefix(f"{self.id}: "),
                file=self.id,
                field="study",
                got=f"{len(self.problems)} problem(s)",
                expected="none",
                hint="gliodistill inspect lists every problem",
            )
