"""A label map as an RT Structure Set: contours on each plane of the series."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

from gliodistill.dicom.codes import REGION_SEGMENTS, Segment
from gliodistill.dicom.contours import contours
from gliodistill.dicom.provenance import MANUFACTURER, NOTICE, Provenance
from gliodistill.dicom.seg import masks_of
from gliodistill.dicom.target import UTF_8, Reference, Target, code_item
from gliodistill.images.volume import Volume
from gliodistill.studies.labels import LabelConvention

SERIES_NUMBER = 9002
STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"
"""The class by which a structure set refers to a study (retired otherwise)."""


def make_rtstruct(
    target: Target,
    labels: Volume,
    convention: LabelConvention,
    provenance: Provenance,
    segments: Sequence[Segment] = REGION_SEGMENTS,
) -> Dataset:
    """A structure set of a label map.

    Args:
        target: the series that it is drawn on.
        labels: codes, on the grid of the series.
        convention: of the codes.
        provenance: what it was made by.
        segments: the structures; one without a voxel has no contour.

    Raises:
        ImageError: ``labels`` is on another grid.
        LabelError: codes that the convention does not know.
    """
    masks = masks_of(target.on_planes(labels), convention, segments)
    data = _header(target, provenance)
    data.ReferencedFrameOfReferenceSequence = [_frame_of_reference(target)]
    data.StructureSetROISequence = [
        _structure(number, segment, target, provenance)
        for number, segment in enumerate(segments, start=1)
    ]
    data.ROIContourSequence = [
        _drawn(number, segment, mask, target)
        for number, (segment, mask) in enumerate(zip(segments, masks, strict=True), start=1)
    ]
    data.RTROIObservationsSequence = [
        _observation(number, segment) for number, segment in enumerate(segments, start=1)
    ]
    return data


def _header(target: Target, provenance: Provenance) -> Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    data = Dataset()
    data.file_meta = meta
    data.SpecificCharacterSet = UTF_8
    data.SOPClassUID, data.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    data.update(target.identity)
    data.StudyInstanceUID, data.SeriesInstanceUID = target.series.study_uid, generate_uid()
    data.Modality, data.SeriesNumber, data.InstanceNumber = "RTSTRUCT", SERIES_NUMBER, 1
    data.SeriesDescription = f"gliodistill contours ({NOTICE.lower()})"[:64]
    data.OperatorsName = ""
    data.Manufacturer, data.ManufacturerModelName = MANUFACTURER, "gliodistill"
    data.SoftwareVersions = provenance.version
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = target.frame_of_reference, ""
    data.StructureSetLabel = "BRAIN_TUMOUR"
    data.StructureSetDescription = " ".join(provenance.sentences())[:1024]
    now = datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    data.InstanceCreationDate = data.StructureSetDate = data.SeriesDate = date
    data.InstanceCreationTime = data.StructureSetTime = data.SeriesTime = time
    data.ApprovalStatus = "UNAPPROVED"
    return data


def _frame_of_reference(target: Target) -> Dataset:
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = target.series.uid
    series.ContourImageSequence = [
        reference.item()
        for reference in {
            reference.instance: Reference(reference.sop_class, reference.instance, None)
            for reference in target.references
        }.values()
    ]
    study.ReferencedSOPClassUID = STUDY_COMPONENT
    study.ReferencedSOPInstanceUID = target.series.study_uid
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = target.frame_of_reference
    frame.RTReferencedStudySequence = [study]
    return frame


def _structure(number: int, segment: Segment, target: Target, provenance: Provenance) -> Dataset:
    item = Dataset()
    item.ROINumber = number
    item.ReferencedFrameOfReferenceUID = target.frame_of_reference
    item.ROIName, item.ROIDescription = segment.label, segment.name
    item.ROIGenerationAlgorithm = provenance.algorithm
    return item


def _drawn(number: int, segment: Segment, mask: NDArray[np.bool_], target: Target) -> Dataset:
    """The contours of a structure; ``mask`` on planes × rows × columns."""
    item = Dataset()
    item.ReferencedROINumber = number
    item.ROIDisplayColor = list(segment.colour)
    affine = target.to_patient()
    found = []
    for k in np.flatnonzero(mask.any(axis=(1, 2))).tolist():
        for corners in contours(mask[k]):
            places = np.column_stack([corners, np.full((len(corners), 2), (k, 1))]) @ affine.T
            contour = Dataset()
            contour.ContourImageSequence = [target.references[k].item()]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(corners)
            contour.ContourData = [f"{value:.4f}" for value in places[:, :3].ravel()]
            found.append(contour)
    if found:
        item.ContourSequence = found
    return item


def _observation(number: int, segment: Segment) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.RTROIInterpretedType, item.ROIInterpreter = "", ""
    item.ROIObservationLabel = segment.label
    item.RTROIIdentificationCodeSequence = [code_item(segment.type)]
    return item
