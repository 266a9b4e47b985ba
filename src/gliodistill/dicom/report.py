"""Sizes of the segments as a DICOM Structured Report: an imaging measurement report (TID 1500)."""

import warnings
from collections.abc import Sequence

from highdicom.seg import Segmentation
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from gliodistill.dicom.codes import ABNORMAL, BRAIN, Segment
from gliodistill.dicom.measure import Size
from gliodistill.dicom.provenance import MANUFACTURER, NOTICE, Provenance
from gliodistill.dicom.seg import tracking
from gliodistill.dicom.target import UTF_8, Target

SERIES_NUMBER = 9003
MRI_OF_HEAD = Code("24590-2", "LN", "MR Brain")
ENGLISH = CodedConcept("en", "RFC5646", "English")


def make_report(
    target: Target,
    seg: Segmentation,
    sizes: Sequence[tuple[Segment, Size]],
    provenance: Provenance,
) -> Comprehensive3DSR:
    """A report of the sizes of segments.

    Args:
        target: the series that the SEG was made for.
        seg: holds the segments, except for empty ones and for regions of a LABELMAP.
        sizes: segment by segment.
        provenance: what the result was made by and from; stated as comments.
    """
    numbers = {item.SegmentLabel: int(item.SegmentNumber) for item in seg.SegmentSequence}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = MeasurementReport(
            observation_context=ObservationContext(
                observer_device_context=ObserverContext(
                    observer_type=codes.DCM.Device,
                    observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                        uid=generate_uid(entropy_srcs=["gliodistill", provenance.fingerprint]),
                        name="gliodistill",
                        manufacturer_name=MANUFACTURER,
                        model_name=f"{provenance.model} {provenance.version}",
                    ),
                )
            ),
            procedure_reported=MRI_OF_HEAD,
            title=codes.DCM.ImagingMeasurementReport,
            language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(ENGLISH),
            imaging_measurements=[
                _group(segment, size, numbers.get(segment.label), target, seg, provenance)
                for segment, size in sizes
            ],
        )
        for sentence in [*provenance.sentences(), *map(_in_words, sizes)]:
            content[0].ContentSequence.append(_comment(sentence))
        return Comprehensive3DSR(
            evidence=[seg, *target.sources()],
            content=content[0],
            series_instance_uid=generate_uid(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name="gliodistill",
            software_versions=provenance.version,
            series_description=f"gliodistill measurements ({NOTICE.lower()})"[:64],
            specific_character_set=UTF_8,
            is_complete=True,
            is_final=False,
        )


def _group(
    segment: Segment,
    size: Size,
    number: int | None,
    target: Target,
    seg: Segmentation,
    provenance: Provenance,
) -> VolumetricROIMeasurementsAndQualitativeEvaluations | MeasurementsAndQualitativeEvaluations:
    """What was measured of a segment; of one that the SEG does not hold, without a reference."""
    tracking_id, tracking_uid = tracking(target, segment)
    identifier = TrackingIdentifier(uid=tracking_uid, identifier=tracking_id)
    sites, measurements = [FindingSite(BRAIN)], _measurements(size)
    if number is None:
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=identifier,
            finding_category=ABNORMAL,
            finding_type=segment.type,
            finding_sites=sites,
            measurements=measurements,
        )
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=identifier,
        referenced_segment=ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=number,
            source_series=SourceSeriesForSegmentation(target.series.uid),
        ),
        finding_category=ABNORMAL,
        finding_type=segment.type,
        finding_sites=sites,
        measurements=measurements,
        algorithm_id=AlgorithmIdentification(
            name=f"gliodistill {provenance.model}", version=provenance.version
        ),
    )


def _measurements(size: Size) -> list[Measurement]:
    found = [(codes.SCT.Volume, size.volume_mm3, codes.UCUM.CubicMillimeter)]
    if size.diameters is not None:
        found += [
            (codes.SCT.LongAxis, size.diameters.longest, codes.UCUM.Millimeter),
            (codes.SCT.PerpendicularAxis, size.diameters.perpendicular, codes.UCUM.Millimeter),
        ]
    return [Measurement(name, round(value, 1), unit) for name, value, unit in found]


def _in_words(measured: tuple[Segment, Size]) -> str:
    segment, size = measured
    said = f"{segment.name} ({segment.label}): {size.volume_mm3 / 1000:.1f} ml"
    if size.diameters is None:
        return f"{said}."
    return (
        f"{said}, longest axial diameter {size.diameters.longest:.0f} mm, perpendicular"
        f" {size.diameters.perpendicular:.0f} mm."
    )


def _comment(sentence: str) -> TextContentItem:
    return TextContentItem(
        name=CodedConcept.from_code(codes.DCM.Comment),
        value=sentence,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
