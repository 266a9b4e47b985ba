"""What a layout finds: the files of a study, not yet read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gliodistill.errors import StudyError
from gliodistill.files import shown_name
from gliodistill.studies.ids import check_id, check_patient
from gliodistill.studies.labels import LabelConvention
from gliodistill.studies.sequence import MRSequence


@dataclass(frozen=True)
class ImageFile:
    """The location of a 3-D image: a NIfTI file, or one channel of a 4-D one (MSD)."""

    path: Path
    channel: int | None = None

    @property
    def shown(self) -> str:
        """The file's name without its folder, and its channel as ``#2``."""
        channel = "" if self.channel is None else f"#{self.channel}"
        return f"{shown_name(self.path.name)}{channel}"


@dataclass(frozen=True)
class Sources:
    """The files of a study, by name without folders.

    Attributes:
        used: sequence → its file; None for an image that came from memory.
        unused: file → why it was not used.
    """

    used: Mapping[MRSequence, str | None] = field(default_factory=dict)
    unused: Mapping[str, str] = field(default_factory=dict)

    def of(self, sequences: tuple[MRSequence, ...]) -> "Sources":
        """The files for a model with these ``sequences``."""
        left = {
            file: f"the model takes no {sequence}"
            for sequence, file in self.used.items()
            if sequence not in sequences and file is not None
        }
        used = {sequence: file for sequence, file in self.used.items() if sequence in sequences}
        return Sources(used, {**self.unused, **left})


@dataclass(frozen=True)
class StudyRecord:
    """One study on disk, not yet read, as found by a layout.

    Attributes:
        id: unique in its cohort; names output files (:mod:`.ids`).
        patient: studies of one patient share it (splits are by patient).
        images: location of each sequence; empty only in a cohort of label maps.
        truth: the label map, if any.
        spellings: spelling of each sequence on disk (shown by ``inspect``).
        problems: what prevents loading (e.g. two files for one sequence), a line each.
        known_regions: the regions that the label map defines; None = all that its codes tell.
        known: mask of the voxels with known label (1; elsewhere 0), if not all are known.
        group: for a recipe's sampling shares, if the cohort has groups.
        normalised: whether the images already are z-scores over the whole brain (e.g. of a crop
            around the tumour).
        unused: name of an unused image → why.
        convention: label convention of the reference, if this study declares it.

    Raises:
        StudyError: an id that cannot name a file, or an unusable name of a patient.
    """

    id: str
    patient: str
    images: Mapping[MRSequence, ImageFile]
    truth: ImageFile | None = None
    spellings: Mapping[MRSequence, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    known_regions: tuple[str, ...] | None = None
    known: ImageFile | None = None
    group: str | None = None
    normalised: bool = False
    unused: Mapping[str, str] = field(default_factory=dict)
    convention: LabelConvention | None = None

    @property
    def partial(self) -> bool:
        """Whether the label map leaves a region or a voxel open."""
        told = self.known_regions is not None or self.known is not None
        return self.truth is not None and told

    @property
    def teaches(self) -> str:
        """The known labels of the study, in words."""
        if self.truth is None:
            return "images only"
        inside = "" if self.known is None else f" inside {self.known.path.name}"
        regions = "all regions" if self.known_regions is None else " ".join(self.known_regions)
        return regions + inside

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
        """Raise StudyError if a problem prevents loading."""
        if self.problems:
            raise StudyError(
                self.problems[0].removeprefix(f"{self.id}: "),
                file=self.id,
                field="study",
                got=f"{len(self.problems)} problem(s)",
                expected="none",
                hint="gliodistill inspect lists every problem",
            )
