"""The door: one label map on the grid of a series → its DICOM files."""

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gliodistill.dicom.provenance import Provenance
from gliodistill.dicom.series import Series
from gliodistill.errors import OutputError, StudyError
from gliodistill.extras import load
from gliodistill.files import atomic_file, make_folder
from gliodistill.images.volume import Volume
from gliodistill.studies.labels import LabelConvention

if TYPE_CHECKING:
    from gliodistill.dicom.codes import Segment
    from gliodistill.tasks.task import Task

PREFERRED = ("T1CE", "FLAIR", "T2", "T1")
"""The sequence that radiologists read a result on, the first of these that is there."""

FORMS = ("BINARY", "LABELMAP")


def preferred(series: Mapping[str, Series]) -> str:
    """The name of the sequence whose series a result is drawn on.

    Args:
        series: name of a sequence → its series.

    Raises:
        StudyError: there is none.
    """
    for name in PREFERRED:
        if name in series:
            return name
    raise StudyError("no series to draw a result on", expected=", ".join(PREFERRED))


def write_results(
    series: Series,
    labels: Volume,
    convention: LabelConvention,
    folder: str | PathLike[str],
    provenance: Provenance,
    *,
    name: str = "T1CE",
    form: str = "BINARY",
    segments: Sequence["Segment"] | None = None,
    empty_frames: bool = False,
    rtstruct: bool = False,
    deidentify: bool = False,
    task: "Task | None" = None,
) -> dict[str, Path]:
    """Write a label map as DICOM: a segmentation, a report, and contours where asked for.

    The report measures what the segmentation shows, and the task's regions in any case. Each file
    is whole or absent, and none is written before all are made.

    Args:
        series: of the images that the label map was made for.
        labels: codes, on the grid of the series (axes in any order).
        convention: of the codes.
        folder: for the files; made where it is missing.
        provenance: what the result was made by and from.
        name: what file names begin with: the sequence. Nothing of the patient is in them.
        form: ``BINARY``, which every viewer reads, or ``LABELMAP``.
        segments: regions or tissues; by default the task's regions, and in a LABELMAP the tissues.
        empty_frames: write planes and segments without a voxel too.
        rtstruct: write contours too.
        deidentify: leave out who the patient is.
        task: what was segmented; None = glioma.

    Returns:
        ``"seg"``, ``"report"`` and ``"rtstruct"`` → the file.

    Raises:
        ImageError: the series is on no regular grid, or ``labels`` on another.
        LabelError: codes that the convention does not know, or segments that overlap in a LABELMAP.
        OutputError: a file cannot be written, or a name or form that cannot be.
        GliodistillError: highdicom is not installed.
    """
    load("pydicom")
    load("highdicom")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name):
        raise OutputError("unusable file name", field="name", got=name, expected="e.g. T1CE")
    if form not in FORMS:
        raise OutputError("unknown form", field="form", got=form, expected=", ".join(FORMS))
    from gliodistill.dicom.codes import REGION_SEGMENTS, region_segments
    from gliodistill.dicom.measure import size
    from gliodistill.dicom.report import make_report
    from gliodistill.dicom.rtstruct import make_rtstruct
    from gliodistill.dicom.seg import Form, default_segments, make_seg, masks_of
    from gliodistill.dicom.target import Target

    target = Target.of(series, deidentify)
    chosen = tuple(segments or default_segments(Form(form), convention, task))
    seg = make_seg(
        target,
        labels,
        convention,
        provenance,
        form=Form(form),
        segments=chosen,
        empty_frames=empty_frames,
    )
    drawn = {segment.label for segment in chosen}
    regions = REGION_SEGMENTS if task is None else region_segments(task)
    measured = [*chosen, *(region for region in regions if region.label not in drawn)]
    masks = masks_of(labels.data, convention, measured)
    sizes = [
        (segment, size(labels.with_data(mask)))
        for segment, mask in zip(measured, masks, strict=True)
    ]
    made: dict[str, Any] = {"seg": seg, "report": make_report(target, seg, sizes, provenance)}
    if rtstruct:
        made["rtstruct"] = make_rtstruct(target, labels, convention, provenance, chosen)
    make_folder(folder)
    files = {}
    for kind, data in made.items():
        files[kind] = Path(folder) / f"{name}_{kind}.dcm"
        with atomic_file(files[kind]) as temporary:
            data.save_as(temporary, enforce_file_format=True)
    return files
