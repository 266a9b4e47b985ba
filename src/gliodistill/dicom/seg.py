"""A label map as a DICOM Segmentation (SEG), in the form BINARY or LABELMAP."""

import warnings
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.content import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence
from highdicom.enum import CoordinateSystemNames
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

from gliodistill.dicom.codes import (
    ABNORMAL,
    ARTIFICIAL_INTELLIGENCE,
    BRAIN,
    REGION_SEGMENTS,
    Segment,
    region_segments,
    tissue_segments,
)
from gliodistill.dicom.provenance import MANUFACTURER, NOTICE, Provenance
from gliodistill.dicom.target import UTF_8, Target
from gliodistill.errors import LabelError
from gliodistill.images.volume import Volume
from gliodistill.studies.labels import LabelConvention
from gliodistill.tasks.task import Task

SERIES_NUMBER = 9001


class Form(StrEnum):
    """How a SEG stores its segments.

    ``BINARY``: one mask a segment, one bit a pixel; segments may overlap. Every viewer reads it.
    ``LABELMAP``: one number a pixel, no overlap; a form of 2024 that few viewers read so far.
    """

    BINARY = "BINARY"
    LABELMAP = "LABELMAP"


def default_segments(
    form: Form, convention: LabelConvention, task: Task | None = None
) -> tuple[Segment, ...]:
    """Regions (nested) of a BINARY SEG, tissues of a LABELMAP, which cannot overlap."""
    if form is Form.BINARY:
        return REGION_SEGMENTS if task is None else region_segments(task)
    return tissue_segments(convention, task)


def tracking(target: Target, segment: Segment) -> tuple[str, str]:
    """Id and UID by which a finding is known in the SEG and in the report of one series. The same
    for every result of the series.
    """
    uid = generate_uid(entropy_srcs=[target.series.uid, target.series.part, segment.label])
    return f"gliodistill {segment.label}", uid


def masks_of(
    labels: NDArray[Any], convention: LabelConvention, segments: Sequence[Segment]
) -> NDArray[np.bool_]:
    """Codes (any shape) → one mask a segment, on a first axis.

    Raises:
        LabelError: a code that the convention does not know.
    """
    convention.check(labels)
    return np.stack(
        [
            np.isin(
                labels,
                [code for code, tissue in convention.codes.items() if tissue in segment.tissues],
            )
            for segment in segments
        ]
    )


def make_seg(
    target: Target,
    labels: Volume,
    convention: LabelConvention,
    provenance: Provenance,
    *,
    form: Form = Form.BINARY,
    segments: Sequence[Segment] | None = None,
    empty_frames: bool = False,
) -> Segmentation:
    """A SEG of a label map.

    Args:
        target: the series that it is drawn on.
        labels: codes, on the grid of the series.
        convention: of the codes.
        provenance: what it was made by.
        form: how segments are stored.
        segments: what is shown; :func:`default_segments` unless given.
        empty_frames: write a frame for every plane and every segment. Without, planes and segments
            with no voxel are left out.

    Raises:
        ImageError: ``labels`` is on another grid.
        LabelError: codes that the convention does not know, or segments that overlap in a LABELMAP.
    """
    form = Form(form)
    chosen = tuple(segments or default_segments(form, convention))
    masks = masks_of(target.on_planes(labels), convention, chosen)
    if not empty_frames:
        present = [index for index, mask in enumerate(masks) if mask.any()] or [0]
        chosen, masks = tuple(chosen[index] for index in present), masks[present]
    if form is Form.LABELMAP and (masks.sum(axis=0, dtype=np.uint8) > 1).any():
        raise LabelError(
            "segments overlap",
            field="segments",
            got=", ".join(segment.label for segment in chosen),
            expected="one segment a voxel in a LABELMAP",
            hint="take the tissues, or a BINARY segmentation",
        )
    sources = target.sources()
    measures = PixelMeasuresSequence(
        pixel_spacing=target.spacing,
        slice_thickness=target.thickness,
        spacing_between_slices=target.series.grid.spacing[2] if target.series.grid else None,
    )
    with warnings.catch_warnings():
        # highdicom warns of what is meant (no voxel at all) and of names with unusual letters.
        warnings.simplefilter("ignore")
        seg = Segmentation(
            source_images=sources,
            pixel_array=_pixels(masks, form),
            segmentation_type=form.value,
            segment_descriptions=[
                _describe(number, segment, target, provenance)
                for number, segment in enumerate(chosen, start=1)
            ],
            series_instance_uid=generate_uid(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name="gliodistill",
            software_versions=provenance.version,
            device_serial_number=provenance.fingerprint[:16] or "0",
            content_label="BRAIN_TUMOUR",
            content_description=NOTICE,
            series_description=f"gliodistill segmentation ({NOTICE.lower()})"[:64],
            specific_character_set=UTF_8,
            # Runs of zeros are the most of a label map; one bit a pixel cannot be run-length coded.
            transfer_syntax_uid=RLELossless if form is Form.LABELMAP else ExplicitVRLittleEndian,
            plane_positions=[
                PlanePositionSequence(CoordinateSystemNames.PATIENT, plane.position or ())
                for plane in target.planes
            ],
            plane_orientation=PlaneOrientationSequence(
                CoordinateSystemNames.PATIENT, target.orientation
            ),
            pixel_measures=measures,
            omit_empty_frames=not empty_frames,
        )
    return seg


def _pixels(masks: NDArray[np.bool_], form: Form) -> NDArray[np.uint8]:
    """Planes × rows × columns × segments, or numbers of segments on planes × rows × columns."""
    if form is Form.BINARY:
        return np.moveaxis(masks, 0, -1).astype(np.uint8)
    numbers = np.zeros(masks.shape[1:], dtype=np.uint8)
    for number, mask in enumerate(masks, start=1):
        numbers[mask] = number
    return numbers


def _describe(
    number: int, segment: Segment, target: Target, provenance: Provenance
) -> SegmentDescription:
    tracking_id, tracking_uid = tracking(target, segment)
    algorithm = AlgorithmIdentificationSequence(
        name=f"gliodistill {provenance.model}"[:64],
        family=ARTIFICIAL_INTELLIGENCE,
        version=provenance.version,
        source=MANUFACTURER,
    )
    if provenance.fingerprint:
        algorithm[0].AlgorithmParameters = f"package={provenance.fingerprint}"
    description = SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=ABNORMAL,
        segmented_property_type=segment.type,
        algorithm_type=SegmentAlgorithmTypeValues(provenance.algorithm),
        algorithm_identification=algorithm,
        tracking_uid=tracking_uid,
        tracking_id=tracking_id,
        anatomic_regions=[BRAIN],
        display_color=CIELabColor.from_rgb(*segment.colour),
    )
    description.SegmentDescription = segment.name
    return description
