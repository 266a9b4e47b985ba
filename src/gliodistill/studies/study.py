"""Studies: named sequences on one grid, with a reference if there is one.

:func:`load_study` reads a record of a cohort, :func:`open_study` the one study at a path.
"""

from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

import numpy as np

from gliodistill.errors import GliodistillError, LabelError, StudyError
from gliodistill.images.bounds import union
from gliodistill.images.nifti import read_labels
from gliodistill.images.stored import StoredImage, read_stored
from gliodistill.images.volume import Volume
from gliodistill.studies.cohort import find_cohort, resolve_convention
from gliodistill.studies.image_checks import Note, forms_notes
from gliodistill.studies.labels import LabelConvention
from gliodistill.studies.records import Sources, StudyRecord
from gliodistill.studies.sequence import MRSequence


class GridError(StudyError):
    """Images of a study that lie on different grids."""


@dataclass(frozen=True, eq=False)
class Study:
    """Named sequences on one grid.

    Attributes:
        id, patient: as in :class:`StudyRecord`.
        images: sequence → float32 volume, all on one grid; any non-empty subset of the four.
        truth: integer codes of ``convention`` on the same grid, or None.
        convention: meaning of the codes of ``truth``.
        whole: the full grid, if only the non-empty part of the images was read (its voxels are not
            used); else None.
        known_regions, normalised: as in :class:`StudyRecord`.
        known: 1 where the label of a voxel is known, 0 elsewhere, on the same grid; None = all
            known.
        sources: the files it was read from.
        notes: on the study.
        checked: whether :func:`~gliodistill.studies.image_checks.usable` has corrected the
            images.

    Raises:
        StudyError: no sequence, grids that differ (names the two and how they differ), or a mask
            with other values than 0 and 1.

    Example:
        >>> import numpy as np
        >>> from gliodistill import MRSequence, Study, Volume
        >>> flair = Volume(np.ones((4, 5, 6), dtype=np.float32), np.eye(4))
        >>> study = Study("a1", "anna", {MRSequence.FLAIR: flair})
        >>> [str(sequence) for sequence in study.sequences], study.grid.shape
        (['FLAIR'], (4, 5, 6))
    """

    id: str
    patient: str
    images: Mapping[MRSequence, Volume]
    truth: Volume | None = None
    convention: LabelConvention | None = None
    whole: Volume | None = None
    known_regions: tuple[str, ...] | None = None
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
                raise GridError(
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
        # Affines within the tolerance are made equal.
        affine = named[first].affine
        images = {s: Volume(i.data, affine, i.forms) for s, i in self.images.items()}
        object.__setattr__(self, "images", images)
        for name in ("truth", "known"):
            if (volume := getattr(self, name)) is not None:
                object.__setattr__(self, name, Volume(volume.data, affine, volume.forms))

    @classmethod
    def open(cls, path: "str | PathLike[str] | StudyRecord", *, id: str | None = None) -> "Study":
        """Read the one study in a folder of any known layout (``id`` chooses among several), or one
        of a cohort: ``Study.open(cohort[0])``.
        """
        if isinstance(path, StudyRecord):
            return load_study(path, path.convention)
        return open_study(Path(path), id)

    def __repr__(self) -> str:
        grid = repr(self.grid).removeprefix("<Volume ").rpartition(",")[0]
        named = f" in {self.convention.name}" if self.convention is not None else ""
        labelled = f", labelled{named}" if self.truth is not None else ""
        return f"<Study {self.id}: {' '.join(self.sequences)}, {grid}{labelled}>"

    @property
    def sequences(self) -> tuple[MRSequence, ...]:
        """The sequences present, in canonical order."""
        return tuple(sequence for sequence in MRSequence if sequence in self.images)

    @property
    def grid(self) -> Volume:
        """The study's shape and affine: of any image, or of the full grid."""
        return self.whole or self.images[self.sequences[0]]


def load_study(record: StudyRecord, convention: LabelConvention | None = None) -> Study:
    """Read every image of ``record`` (in parallel: decompression releases the GIL) and its
    reference.

    Raises:
        StudyError: the layout reported a problem that prevents loading, or the grids differ.
        ImageError: a file that cannot be trusted.
        LabelError: codes that ``convention`` does not know.
    """
    with ThreadPoolExecutor(max_workers=4) as pool:
        truth = (
            pool.submit(read_labels, record.truth.path, record.truth.channel)
            if record.truth and not record.problems
            else None
        )
        mask = (
            pool.submit(read_labels, record.known.path, record.known.channel)
            if record.known and not record.problems
            else None
        )
        stored = _read_images(record, pool)
        images = dict(zip(stored, pool.map(StoredImage.scaled, stored.values()), strict=True))
        labels = truth.result() if truth else None
        known = mask.result() if mask else None
    if labels is not None and convention is not None and record.truth is not None:
        try:
            convention.check(labels.data)
        except LabelError as error:
            raise LabelError(
                error.problem,
                file=record.truth.path,
                field=error.field,
                got=error.got,
                expected=error.expected,
                hint=error.hint,
            ) from error
    return Study(
        record.id,
        record.patient,
        images,
        labels,
        convention if labels is not None else None,
        None,
        record.known_regions,
        known,
        record.normalised,
        record.sources,
    )


def load_brain(record: StudyRecord) -> Study:
    """Read the non-empty part of the images, and no reference (:func:`brain_of`).

    Raises:
        StudyError, ImageError: as :func:`load_study`.
    """
    return brain_of(record, read_images(record))


def read_images(record: StudyRecord) -> dict[MRSequence, StoredImage]:
    """The images as they are stored, in canonical order of the sequences, each on its own grid.

    Raises:
        StudyError, ImageError: as :func:`load_study`.
    """
    with ThreadPoolExecutor(max_workers=4) as pool:
        return _read_images(record, pool)


def brain_of(record: StudyRecord, stored: Mapping[MRSequence, StoredImage]) -> Study:
    """The non-empty part of a study's images.

    Empty space, which is 0 in every sequence, is cropped before conversion to float32; a third of a
    BraTS study's voxels remain.

    Args:
        record: the study.
        stored: its images, of :func:`read_images`.

    Raises:
        StudyError: the grids differ.
        ImageError: voxels that are not finite.
    """
    with ThreadPoolExecutor(max_workers=4) as pool:
        study = Study(
            record.id,
            record.patient,
            {sequence: image.voxels for sequence, image in stored.items()},
            normalised=record.normalised,
        )  # one grid?
        filled = [box for box in pool.map(StoredImage.box, stored.values()) if box is not None]
        # One voxel of an empty study is enough.
        box = union(filled) if filled else (slice(0, 1), slice(0, 1), slice(0, 1))
        images = dict(
            zip(stored, pool.map(lambda image: image.scaled(box), stored.values()), strict=True)
        )
    whole = study.grid.with_data(np.broadcast_to(np.uint8(0), study.grid.shape))
    return replace(
        study,
        images=images,
        whole=whole,
        sources=record.sources,
        notes=tuple(forms_notes(study.images)),
    )


def _read_images(record: StudyRecord, pool: ThreadPoolExecutor) -> dict[MRSequence, StoredImage]:
    """The images as they are stored, in canonical order of the sequences; a 4-D file is
    decompressed once.
    """
    record.check()
    files: dict[Path, list[MRSequence]] = defaultdict(list)
    for sequence, image in record.images.items():
        files[image.path].append(sequence)

    def read(path: Path) -> list[StoredImage]:
        return read_stored(path, [record.images[sequence].channel for sequence in files[path]])

    found = {
        s: image
        for path, images in zip(files, pool.map(read, files), strict=True)
        for s, image in zip(files[path], images, strict=True)
    }
    return {sequence: found[sequence] for sequence in MRSequence if sequence in found}


def open_study(path: Path, id: str | None = None) -> Study:
    """Read the one study at ``path``, in any known layout.

    A reference without a known convention has ``convention=None``; segmentation does not need it.

    Raises:
        StudyError: no study, several without an ``id``, or an unknown ``id``.
        ImageError: a file that cannot be trusted.
    """
    cohort, found = find_cohort(path)
    if id is None and len(cohort.studies) > 1:
        raise StudyError(
            "several studies",
            file=path,
            field="id",
            got=(
                f"{len(cohort.studies)}: {', '.join(record.id for record in cohort.studies[:4])}, …"
            ),
            expected="one",
            hint="choose one by its id",
        )
    chosen = cohort if id is None else cohort.select([id])
    try:
        convention = resolve_convention(chosen.studies, found, None)
    except GliodistillError:
        convention = None
    return load_study(chosen.studies[0], chosen.studies[0].convention or convention)


def _millimetres(volume: Volume) -> str:
    spacing = "×".join(f"{s:.3g}" for s in volume.spacing)
    origin = ", ".join(f"{o:.3g}" for o in volume.affine[:3, 3])
    voxels = "×".join(map(str, volume.shape))
    return f"{voxels} voxels of {spacing} mm {volume.orientation} from ({origin})"
