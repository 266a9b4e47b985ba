"""Frames: each plane of pixels with its place, and what else tells it from other planes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliodistill.dicom.grids import Slice
from gliodistill.dicom.headers import (
    B_VALUES,
    MOSAIC,
    item,
    items,
    number,
    numbers,
    text,
    value,
    whole,
    words,
)
from gliodistill.errors import ImageError

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED = ("1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
"""Enhanced MR, and what was converted to it."""

DIRECTORY = "1.2.840.10008.1.3.10"
MOST_FRAMES = 20_000
MOST_SIDE = 4096
"""Rows, columns; the largest MR matrix in use has 1024."""

TEXTS = [
    "SeriesDescription",
    "ProtocolName",
    "SequenceName",
    "PulseSequenceName",
    "MRAcquisitionType",
    "AcquisitionContrast",
    "ContrastBolusAgent",
    "Manufacturer",
    "ManufacturerModelName",
    "BodyPartExamined",
    "BurnedInAnnotation",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentTime",
]
LISTS = ("ImageType", "ScanningSequence", "SequenceVariant", "ScanOptions")
NUMBERS = [
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "FlipAngle",
    "EchoTrainLength",
    "ContrastBolusVolume",
    "SliceThickness",
    "SpacingBetweenSlices",
    "MagneticFieldStrength",
]


@dataclass(frozen=True)
class Frame:
    """A plane of pixels.

    Attributes:
        piece: where it is stored.
        position: of the centre of its first pixel, mm in LPS+; None where that is not said.
        orientation: directions of a row and of a column in LPS+, six numbers.
        spacing: mm between rows, and between columns.
        size: rows and columns.
        instance: InstanceNumber, or the frame's own.
        kinds: what tells planes at one place from each other: a name → a value.
    """

    piece: Slice
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    size: tuple[int, int]
    instance: int
    kinds: dict[str, Any]


@dataclass(frozen=True)
class FileFacts:
    """What is told of one file.

    Attributes:
        file: it.
        identity: PatientID with its issuer, PatientName and PatientBirthDate; nothing that is made
            of these leaves the scan.
        study, series, instance: UIDs.
        sop_class, modality, frame_of_reference, description: as written.
        series_number: SeriesNumber.
        attributes: see :class:`~gliodistill.dicom.series.Series`.
        frames: of its pixels; none where it holds no MR image.
        refused: why there are none.
    """

    file: Path
    identity: tuple[str, str, str]
    study: str
    series: str
    instance: str
    sop_class: str
    modality: str
    frame_of_reference: str | None
    description: str
    series_number: int | None
    attributes: dict[str, Any]
    frames: tuple[Frame, ...]
    refused: str | None


NEEDED = ("StudyInstanceUID", "SeriesInstanceUID")
NEEDED_OF_IMAGES = ("Rows", "Columns")


def facts_of(file: Path, header: Any) -> FileFacts:
    """Read a header (of :func:`~gliodistill.dicom.headers.read_header`).

    Raises:
        ImageError: what every file has is not there: it was cut short.
    """
    name = " ".join(re.split(r"[\W_]+", text(header, "PatientName").casefold())).strip()
    identity = (
        f"{text(header, 'PatientID').strip()}@{text(header, 'IssuerOfPatientID')}".rstrip("@"),
        name,
        text(header, "PatientBirthDate"),
    )
    sop_class = text(header, "SOPClassUID")
    if "DirectoryRecordSequence" in header:
        sop_class = DIRECTORY
    _check_whole(file, header, sop_class)
    refused = _refused(header, sop_class)
    frames: tuple[Frame, ...] = ()
    attributes = _attributes(header)
    if refused is None:
        enhanced = bool(items(header, "PerFrameFunctionalGroupsSequence"))
        frames = _of_groups(file, header) if enhanced else (_classic(file, header),)
        if enhanced:
            attributes |= _group_attributes(header)
        if len(frames) != (whole(header, "NumberOfFrames") or 1):
            refused, frames = "NumberOfFrames differs from the frames that are described", ()
    return FileFacts(
        file,
        identity,
        text(header, "StudyInstanceUID"),
        text(header, "SeriesInstanceUID"),
        text(header, "SOPInstanceUID"),
        sop_class,
        text(header, "Modality").upper(),
        text(header, "FrameOfReferenceUID") or None,
        text(header, "SeriesDescription") or text(header, "ProtocolName"),
        whole(header, "SeriesNumber"),
        attributes,
        frames,
        refused,
    )


def _check_whole(file: Path, header: Any, sop_class: str) -> None:
    if sop_class == DIRECTORY:
        return
    needed = NEEDED + (NEEDED_OF_IMAGES if sop_class in (MR, *ENHANCED) else ())
    lacking = [keyword for keyword in needed if not text(header, keyword)]
    if lacking or not sop_class:
        raise ImageError(
            "damaged DICOM",
            file=file,
            got=f"no {', no '.join(lacking) or 'SOPClassUID'}",
            expected="a whole file",
        )


def _refused(header: Any, sop_class: str) -> str | None:
    """Why a file holds no MR image that can be read."""
    if sop_class not in (MR, *ENHANCED):
        return f"no MR image: {text(header, 'Modality') or 'no modality'}, {_class_name(sop_class)}"
    rows, columns = whole(header, "Rows") or 0, whole(header, "Columns") or 0
    if not (0 < rows <= MOST_SIDE and 0 < columns <= MOST_SIDE):
        return f"{rows} rows and {columns} columns, not 1 to {MOST_SIDE}"
    if (whole(header, "SamplesPerPixel") or 1) != 1 or not text(
        header, "PhotometricInterpretation"
    ).startswith("MONOCHROME"):
        kind = text(header, "PhotometricInterpretation") or "no PhotometricInterpretation"
        return f"a colour image, not one of greys ({kind})"
    if "MOSAIC" in words(header, "ImageType") or value(header, MOSAIC) is not None:
        return "a Siemens mosaic: echo-planar images in one, none of the four sequences"
    frames = whole(header, "NumberOfFrames") or 1
    if frames > MOST_FRAMES:
        return f"{frames} frames, more than {MOST_FRAMES}"
    if frames > 1 and not items(header, "PerFrameFunctionalGroupsSequence"):
        return "several frames, without a position for each"
    return None


def _class_name(uid: str) -> str:
    from gliodistill.extras import load

    try:
        return str(load("pydicom.uid").UID(uid).name)[:60] or "no SOPClassUID"
    except Exception:
        return "an unknown SOP class"


def _attributes(header: Any) -> dict[str, Any]:
    found: dict[str, Any] = {key: text(header, key) for key in TEXTS}
    found |= {key: words(header, key) for key in LISTS}
    found |= {key: number(header, key) for key in NUMBERS}
    found["BValue"] = _b_value(header)
    if not found["ContrastBolusAgent"] and items(header, "ContrastBolusAgentSequence"):
        agent = item(header, "ContrastBolusAgentSequence")
        found["ContrastBolusAgent"] = text(agent, "CodeMeaning") or "an agent without name"
    return {key: part for key, part in found.items() if part not in (None, "", ())}


def _b_value(header: Any) -> float | None:
    plain = number(header, "DiffusionBValue")
    if plain is not None:
        return plain
    for tag in B_VALUES:
        found = value(header, tag)
        if isinstance(found, bytes):  # implicit VR: unknown to pydicom
            found = found.decode("latin-1").strip("\0 ")
        first = str(found[0] if isinstance(found, list | tuple) and found else found)
        try:
            b = float(first.split("\\")[0])
        except ValueError:
            continue
        if 0 <= b < 1e9:
            return b % 100_000  # GE adds 1e9 to say that it is one
        return b % 100_000 if b < 2e9 else None
    return None


def _classic(file: Path, header: Any) -> Frame:
    return Frame(
        Slice(file),
        _exactly(3, numbers(header, "ImagePositionPatient")),
        _exactly(6, numbers(header, "ImageOrientationPatient")),
        _exactly(2, numbers(header, "PixelSpacing")),
        (whole(header, "Rows") or 0, whole(header, "Columns") or 0),
        whole(header, "InstanceNumber") or 0,
        {
            "echo": number(header, "EchoTime"),
            "b": _b_value(header),
            "frame of reference": text(header, "FrameOfReferenceUID"),
            "image type": words(header, "ImageType"),
            "inversion": number(header, "InversionTime"),
            "repetition in time": whole(header, "TemporalPositionIdentifier"),
            "acquisition": whole(header, "AcquisitionNumber"),
            "trigger": number(header, "TriggerTime"),
            "time": text(header, "AcquisitionTime"),
            "content time": text(header, "ContentTime"),
        },
    )


def _of_groups(file: Path, header: Any) -> tuple[Frame, ...]:
    """Frames of an Enhanced image."""
    shared = item(header, "SharedFunctionalGroupsSequence")
    size = (whole(header, "Rows") or 0, whole(header, "Columns") or 0)
    frames = []
    for at, own in enumerate(items(header, "PerFrameFunctionalGroupsSequence")):

        def group(keyword: str, own: Any = own) -> Any:
            return item(own, keyword) or item(shared, keyword)

        content, diffusion = group("FrameContentSequence"), group("MRDiffusionSequence")
        frames.append(
            Frame(
                Slice(file, at),
                _exactly(3, numbers(group("PlanePositionSequence"), "ImagePositionPatient")),
                _exactly(6, numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient")),
                _exactly(2, numbers(group("PixelMeasuresSequence"), "PixelSpacing")),
                size,
                at,
                {
                    "echo": number(group("MREchoSequence"), "EffectiveEchoTime"),
                    "b": number(diffusion, "DiffusionBValue"),
                    "image type": words(group("MRImageFrameTypeSequence"), "FrameType")
                    + words(group("MRImageFrameTypeSequence"), "ComplexImageComponent"),
                    "diffusion": text(diffusion, "DiffusionDirectionality"),
                    "repetition in time": whole(content, "TemporalPositionIndex"),
                    "acquisition": whole(content, "FrameAcquisitionNumber"),
                    "stack": text(content, "StackID"),
                    "time": text(content, "FrameAcquisitionDateTime"),
                },
            )
        )
    return tuple(frames)


def _group_attributes(header: Any) -> dict[str, Any]:
    """How an Enhanced image was made, under the names that classic images use."""
    shared = item(header, "SharedFunctionalGroupsSequence")
    first = item(header, "PerFrameFunctionalGroupsSequence")

    def group(keyword: str) -> Any:
        return item(shared, keyword) or item(first, keyword)

    timing, modifier = (
        group("MRTimingAndRelatedParametersSequence"),
        group("MRModifierSequence"),
    )
    times = numbers(modifier, "InversionTimes")
    found: dict[str, Any] = {
        "RepetitionTime": number(timing, "RepetitionTime"),
        "FlipAngle": number(timing, "FlipAngle"),
        "EchoTrainLength": number(timing, "EchoTrainLength"),
        "EchoTime": number(group("MREchoSequence"), "EffectiveEchoTime"),
        "InversionTime": times[0] if times else None,
        "SliceThickness": number(group("PixelMeasuresSequence"), "SliceThickness"),
        "BValue": number(group("MRDiffusionSequence"), "DiffusionBValue"),
    }
    return {key: part for key, part in found.items() if part is not None}


def _exactly(count: int, found: tuple[float, ...]) -> tuple[float, ...] | None:
    return found if len(found) == count else None
