"""What a scanner gave us: named sequences on one grid, and perhaps the truth, or a part of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

from gliodistill.errors import StudyError
from gliodistill.files import shown_name
from gliodistill.images.volume import Volume
from gliodistill.studies.ids import check_id, check_patient
from gliodistill.studies.labels import REGIONS, LabelConvention
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.usable import Note


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

    def load(self, convention: LabelConvention | None = None) -> "Study":
        """Read every image, check that they share one grid, and (with a ``convention``) the truth's
        codes.

        Raises:
            ImageError, StudyError, LabelError: see :class:`Study`.
        """
        from gliodistill.studies.reading import load_study

        return replace(load_study(self, convention), sources=self.sources)

    def load_brain(self) -> "Study":
        """Read the images without the empty space around the brain, and no truth: what segmenting
        needs, at less memory.

        Raises:
            ImageError, StudyError: as :meth:`load`.
        """
        from gliodistill.studies.reading import load_brain

        return replace(load_brain(self), sources=self.sources)


@dataclass(frozen=True, eq=False)
class Study:
    """Named sequences on one grid.

    Attributes:
        id, patient: as in :class:`StudyRecord`.
        images: sequence → float32 volume, all on one grid; any non-empty subset of the four.
        truth: integer codes of ``convention`` on the same grid, or None.
        convention: what the codes of ``truth`` mean.
        whole: where only the part of the images that is not empty was read: the grid they were cut
            from (its voxels do not count); else None.
        known_regions, normalised: as in :class:`StudyRecord`.
        known: 1 where the label of a voxel is known, 0 elsewhere, on the same grid; None = all is.
        sources: the files it was read from.
        notes: what its user has to know of it.
        checked: whether :func:`~gliodistill.studies.usable.usable` has looked at the images; until
            then they are as their files have them.

    Raises:
        StudyError: no sequence, grids that differ (names the two and how they differ), or a mask
            with other values than 0 and 1.
    """

    id: str
    patient: str
    images: Mapping[MRSequence, Volume]
    truth: Volume | None = None
    convention: LabelConvention | None = None
    whole: Volume | None = None
    known_regions: tuple[str, ...] = REGIONS
    known: Volume | None = None
    normalised: bool = False
    sources: Sources = field(default_factory=Sources)
    notes: tuple[Note, ...] = ()
    checked: bool = False

    def __post_init__(self) -> None:
        if not self.images:
            raise StudyError(
                "study has no sequence",
                file=self.id,
                expected="at least one of T1, T1CE, T2, FLAIR",
            )
        named = {str(sequence): image for sequence, image in self.images.items()}
        if self.truth is not None:
            named["truth"] = self.truth
        if self.known is not None:
            named["known"] = self.known
        first, *others = named
        for other in others:
            if not named[other].same_grid(named[first]):
                raise StudyError(
                    "images on different grids",
                    file=self.id,
                    field=other,
                    got=f"{_millimetres(named[other])}; {named[other].difference(named[first])}",
                    expected=f"the grid of {first}, {_millimetres(named[first])}",
                    hint="co-register the sequences first",
                )
        if self.known is not None and self.known.data.max(initial=0) > 1:
            raise StudyError(
                "not a mask",
                file=self.id,
                field="known",
                got=f"values up to {self.known.data.max()}",
                expected="1 where the label is known, 0 elsewhere",
            )
        # Affines that differ by less than it takes to matter become one, so that none can matter.
        affine = named[first].affine
        images = {s: Volume(i.data, affine, i.forms) for s, i in self.images.items()}
        object.__setattr__(self, "images", images)
        for name in ("truth", "known"):
            if (volume := getattr(self, name)) is not None:
                object.__setattr__(self, name, Volume(volume.data, affine, volume.forms))

    @classmethod
    def open(cls, path: str | PathLike[str], *, id: str | None = None) -> "Study":
        """Read the one study in a folder of any known layout (``id`` chooses among several)."""
        from gliodistill.studies.reading import open_study

        return open_study(Path(path), id)

    @property
    def sequences(self) -> tuple[MRSequence, ...]:
        """The sequences present, in canonical order."""
        return tuple(sequence for sequence in MRSequence if sequence in self.images)

    @property
    def grid(self) -> Volume:
        """The study's shape and affine: any one image, or what the images were cut from."""
        return self.whole or self.images[self.sequences[0]]


def _millimetres(volume: Volume) -> str:
    spacing = "×".join(f"{s:.3g}" for s in volume.spacing)
    origin = ", ".join(f"{o:.3g}" for o in volume.affine[:3, 3])
    voxels = "×".join(map(str, volume.shape))
    return f"{voxels} voxels of {spacing} mm {volume.orientation} from ({origin})"
