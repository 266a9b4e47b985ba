"""From a record or a folder to voxels."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from gliodistill.errors import GliodistillError, LabelError, StudyError
from gliodistill.images.bounds import union
from gliodistill.images.nifti import StoredImage, read_labels, read_stored
from gliodistill.studies.labels import LabelConvention
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study, StudyRecord
from gliodistill.studies.usable import forms_notes


def load_study(record: StudyRecord, convention: LabelConvention | None = None) -> Study:
    """Read every image of ``record`` (in parallel: unpacking lets go of the interpreter) and its
    truth.

    Raises:
        StudyError: the layout noticed a problem that forbids loading, or the grids differ.
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
    )


def load_brain(record: StudyRecord) -> Study:
    """Read the part of the images that is not empty, and no truth.

    The empty space is cut away before anything is scaled to float32, which for a BraTS study leaves
    a third of the
    voxels. Nothing is lost: what is cut is 0 in every sequence.

    Raises:
        StudyError, ImageError: as :func:`load_study`.
    """
    with ThreadPoolExecutor(max_workers=4) as pool:
        stored = _read_images(record, pool)
        study = Study(
            record.id,
            record.patient,
            {sequence: image.voxels for sequence, image in stored.items()},
            normalised=record.normalised,
        )  # one grid?
        filled = [box for box in pool.map(StoredImage.box, stored.values()) if box is not None]
        # Of an empty study a voxel is enough to see that.
        box = union(filled) if filled else (slice(0, 1), slice(0, 1), slice(0, 1))
        images = dict(
            zip(stored, pool.map(lambda image: image.scaled(box), stored.values()), strict=True)
        )
    whole = study.grid.with_data(np.broadcast_to(np.uint8(0), study.grid.shape))
    return replace(study, images=images, whole=whole, notes=tuple(forms_notes(study.images)))


def _read_images(record: StudyRecord, pool: ThreadPoolExecutor) -> dict[MRSequence, StoredImage]:
    """The images as they are stored, in canonical order of the sequences; a 4-D file is unpacked
    once.
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

    A truth whose convention cannot be told is kept with ``convention=None``: segmenting does not
    need it.

    Raises:
        StudyError: no study, several without an ``id``, or an unknown ``id``.
        ImageError: a file that cannot be trusted.
    """
    from gliodistill.studies.cohort import find_cohort, resolve_convention

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
    return chosen.studies[0].load(chosen.studies[0].convention or convention)
