"""Inspection of a data set: layout, studies, label convention with evidence, and all problems."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gliodistill.errors import GliodistillError
from gliodistill.images.nifti import read_header, read_labels, read_nifti
from gliodistill.images.volume import Volume
from gliodistill.progress import track
from gliodistill.studies.cohort import Cohort, find_cohort, resolve_convention
from gliodistill.studies.image_checks import FORMS, brain_volume, forms_text, size_note, usable
from gliodistill.studies.label_evidence import detect_convention
from gliodistill.studies.label_origin import Origin
from gliodistill.studies.labels import REGIONS, LabelConvention, find_convention
from gliodistill.studies.layouts import Found
from gliodistill.studies.layouts.base import named
from gliodistill.studies.problem import Problem
from gliodistill.studies.records import ImageFile, StudyRecord
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study
from gliodistill.tasks.catalogue import find_task, fitting


@dataclass(frozen=True)
class InspectedImage:
    """One image file of a study.

    Attributes:
        file: relative to the inspected folder if inside it.
        channel: of a 4-D file.
        spelling: the matched part of the name (or description).
        shape: voxels along X, Y, Z; None if the header cannot be read.
        spacing: mm.
        orientation: e.g. ``"LPS"``.
    """

    file: str
    channel: int | None
    spelling: str | None
    shape: tuple[int, int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    orientation: str | None = None


@dataclass(frozen=True)
class InspectedStudy:
    """One study.

    Attributes:
        sequences: ``"T1"``, … → image.
        truth: the label map, if any.
        codes: of the reference, without 0; read only if ``deep``, else None.
        known_regions: those that the reference defines; empty without one.
        known: mask of the voxels with known label, if not all are known.
        partial: whether its label map leaves a region or a voxel open.
        teaches: its known labels, in words.
        group: for a recipe's sampling shares, if any.
        normalised: whether the images are z-scores already.
        convention: its own label convention, if declared.
    """

    id: str
    patient: str
    sequences: Mapping[str, InspectedImage]
    truth: InspectedImage | None
    codes: tuple[int, ...] | None = None
    known_regions: tuple[str, ...] = ()
    known: InspectedImage | None = None
    teaches: str = ""
    group: str | None = None
    normalised: bool = False
    convention: str | None = None
    partial: bool = False


@dataclass(frozen=True)
class Inspection:
    """The result of an inspection of ``path``.

    Attributes:
        convention: its name; None without references or if it cannot be determined (``problems``
            says why).
        tasks: the shipped tasks whose references are coded so; a recipe names one of them.
        evidence: for the convention, a line each.
        problems: each with the study and file it belongs to; ``blocking`` ones prevent loading.
    """

    path: str
    layout: str
    studies: tuple[InspectedStudy, ...]
    convention: str | None
    evidence: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = field(default=())
    tasks: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        content: dict[str, Any] = asdict(replace(self, problems=()))
        content["problems"] = [
            {
                "study": p.study,
                "file": str(p.file) if p.file else None,
                "problem": p.problem,
                "blocking": p.blocking,
            }
            for p in self.problems
        ]
        return content


def inspect(
    path: str | os.PathLike[str],
    *,
    layout: str | None = None,
    labels: str | None = None,
    deep: bool = False,
) -> Inspection:
    """Inspect every study under ``path``.

    Args:
        path: a folder in any known layout, or a manifest.
        layout: its name, instead of detecting it.
        labels: the name of the label convention, instead of detecting it.
        deep: read every voxel (checksums, NaN, background, label codes) instead of headers only.

    Raises:
        StudyError: nothing found, several layouts fit, two studies of one id. All other errors are
            listed in ``problems``.
    """
    root = named(Path(path))
    cohort, found = find_cohort(root, layout)
    problems = list(found.problems)
    convention, evidence = _convention(cohort, found, labels, problems)
    tasks = () if convention is None else _tasks(cohort, convention)
    studies = tuple(
        _study(record, root, convention, deep, problems, tasks)
        for record in track(cohort.studies, "inspecting studies")
    )
    return Inspection(
        str(path),
        cohort.layout,
        studies,
        convention.name if convention else None,
        evidence,
        tuple(problems),
        tasks,
    )


def _tasks(cohort: Cohort, convention: LabelConvention) -> tuple[str, ...]:
    kinds = {Origin.of(record).task for record in cohort.labelled().studies}
    return tuple(fitting(convention, {kind for kind in kinds if kind is not None}))


def _convention(
    cohort: Cohort, found: Found, labels: str | None, problems: list[Problem]
) -> tuple[LabelConvention | None, tuple[str, ...]]:
    if labels is not None:
        return find_convention(labels, file=found.layout), ("declared",)
    truths = cohort.labelled().studies
    told = Counter(record.convention.name for record in truths if record.convention is not None)
    evidence = tuple(f"declared {name} for {count} of them" for name, count in told.items())
    untold = [record for record in truths if record.convention is None]
    if not untold:
        return resolve_convention(truths, found, None), evidence
    try:
        detection = detect_convention(untold, found.label_names)
    except GliodistillError as error:
        problems.append(Problem(str(error)))
        return None, evidence
    return detection.convention, (*evidence, *detection.evidence)


def _study(
    record: StudyRecord,
    root: Path,
    convention: LabelConvention | None,
    deep: bool,
    problems: list[Problem],
    tasks: tuple[str, ...],
) -> InspectedStudy:
    sequences: dict[str, InspectedImage] = {}
    grids: dict[str, Volume] = {}
    codes: tuple[int, ...] | None = None
    read: dict[MRSequence, Volume] = {}
    for sequence, image in record.images.items():
        name = str(sequence)
        sequences[name] = _image(
            image, record, root, record.spellings.get(sequence), problems, grids, name
        )
        if deep:
            volume = _attempt(
                problems,
                record,
                image.path,
                lambda image=image: read_nifti(image.path, image.channel),
            )
            if volume is not None:
                read[sequence] = volume
    truth = None
    if record.truth is not None:
        truth = _image(record.truth, record, root, None, problems, grids, "truth")
        if deep:
            codes = _codes(record, record.truth, record.convention or convention, problems)
    known = None
    if record.known is not None:
        known = _image(record.known, record, root, None, problems, grids, "known")
        if deep:
            _mask(record, record.known, problems)
    first = next(iter(grids), None)
    one_grid = True
    for name, grid in grids.items():
        if first is not None and not grid.same_grid(grids[first]):
            one_grid = one_grid and name in ("truth", "known")
            problems.append(
                Problem(
                    f"{name} lies on another grid than {first}"
                    f" ({grid.difference(grids[first])}): co-register first",
                    record.id,
                    blocking=True,
                )
            )
    if deep and len(read) == len(record.images) and one_grid:
        study = Study(record.id, record.patient, read, normalised=record.normalised)
        _check_images(record, study, problems)
    every = find_task(tasks[0]).names if tasks else REGIONS
    told = replace(record, known_regions=record.known_regions or every)
    return InspectedStudy(
        record.id,
        record.patient,
        sequences,
        truth,
        codes,
        () if truth is None else told.known_regions or (),
        known,
        told.teaches,
        record.group,
        record.normalised,
        convention=record.convention.name if record.convention else None,
        partial=record.partial,
    )


def _check_images(record: StudyRecord, study: Study, problems: list[Problem]) -> None:
    """The problems and notes that segmentation and training would report on the images."""
    checked = _attempt(problems, record, None, lambda: usable(study))
    if checked is None:
        return
    notes = [note.text for note in checked.notes if note.code != FORMS]  # already reported
    if size := size_note(brain_volume(checked), checked.grid.spacing):
        notes.append(size.text)
    for text in notes:
        _add(problems, Problem(text, record.id))


def _image(
    image: ImageFile,
    record: StudyRecord,
    root: Path,
    spelling: str | None,
    problems: list[Problem],
    grids: dict[str, Volume],
    name: str,
) -> InspectedImage:
    shown = (
        str(image.path.relative_to(root)) if image.path.is_relative_to(root) else str(image.path)
    )
    try:
        header = read_header(image.path)
    except GliodistillError as error:
        _add(problems, Problem(str(error), record.id, image.path, blocking=True))
        return InspectedImage(shown, image.channel, spelling)
    if (image.channel or 0) >= (header.channels or 1) or (
        image.channel is None and header.channels is not None
    ):
        wanted = "one 3-D image" if image.channel is None else f"channel {image.channel}"
        _add(
            problems,
            Problem(
                f"{header.channels or 1} channel(s), but {wanted} is wanted",
                record.id,
                image.path,
                blocking=True,
            ),
        )
    # A view without memory, for its geometry.
    grid = grids[name] = Volume(np.broadcast_to(np.uint8(0), header.shape), header.affine)
    if apart := header.forms.apart(header.shape):
        _add(problems, Problem(forms_text(name, f"{apart:.3g}"), record.id, image.path))
    return InspectedImage(
        shown, image.channel, spelling, grid.shape, grid.spacing, grid.orientation
    )


def _codes(
    record: StudyRecord,
    truth: ImageFile,
    convention: LabelConvention | None,
    problems: list[Problem],
) -> tuple[int, ...] | None:
    labels = _attempt(problems, record, truth.path, lambda: read_labels(truth.path, truth.channel))
    if labels is None:
        return None
    if convention is not None:
        _attempt(problems, record, truth.path, lambda: convention.check(labels.data))
    return tuple(int(code) for code in np.unique(labels.data) if code)


def _mask(record: StudyRecord, known: ImageFile, problems: list[Problem]) -> None:
    mask = _attempt(problems, record, known.path, lambda: read_labels(known.path, known.channel))
    if mask is None:
        return
    if mask.data.max(initial=0) > 1:
        what = f"not a mask: values up to {mask.data.max()}"
        _add(problems, Problem(what, record.id, known.path, blocking=True))
    elif not mask.data.any():
        _add(problems, Problem("mask of known voxels is empty", record.id, known.path))


def _attempt(problems: list[Problem], record: StudyRecord, file: Path | None, action: Any) -> Any:
    """The result of ``action``, or None and a problem."""
    try:
        return action()
    except GliodistillError as error:
        _add(problems, Problem(str(error), record.id, file, blocking=True))
        return None


def _add(problems: list[Problem], problem: Problem) -> None:
    if (
        problem not in problems
    ):  # header and voxels, or channels of one file, may have the same problem
        problems.append(problem)
