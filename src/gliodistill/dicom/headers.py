"""The header of a DICOM file as plain values: what is missing, has a wrong VR or is no number is
None, never an exception.
"""

import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gliodistill.errors import ImageError
from gliodistill.extras import load

if TYPE_CHECKING:
    from pydicom import Dataset

DEFLATED = "1.2.840.10008.1.2.1.99"
MOST_HEADER = 512 * 2**20
"""Bytes to which a deflated file may grow."""

MOST_TEXT = 200

TAGS = [
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "ImageType",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ProtocolName",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentTime",
    "AcquisitionNumber",
    "InstanceNumber",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "EchoNumbers",
    "EchoTime",
    "InversionTime",
    "RepetitionTime",
    "FlipAngle",
    "EchoTrainLength",
    "ScanningSequence",
    "SequenceVariant",
    "ScanOptions",
    "SequenceName",
    "PulseSequenceName",
    "MRAcquisitionType",
    "AcquisitionContrast",
    "ContrastBolusAgent",
    "ContrastBolusVolume",
    "ContrastBolusAgentSequence",
    "DiffusionBValue",
    "SliceThickness",
    "SpacingBetweenSlices",
    "Manufacturer",
    "ManufacturerModelName",
    "MagneticFieldStrength",
    "BodyPartExamined",
    "BurnedInAnnotation",
    "DerivationDescription",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "FrameOfReferenceUID",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "IssuerOfPatientID",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ReferencedFileID",
    "DirectoryRecordSequence",
]
MOSAIC = (0x0019, 0x100A)
"""Private to Siemens: images in a mosaic."""
B_VALUES = ((0x0019, 0x100C), (0x0043, 0x1039), (0x2001, 0x1003))
"""Private to Siemens, GE and Philips: b-value of diffusion."""


class FileNotDicom(ImageError):
    """A file of another kind."""


@contextmanager
def tolerant() -> Iterator[None]:
    """While this lasts, pydicom neither warns of values against the standard nor refuses them."""
    config = load("pydicom.config")
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def read_header(file: Path, brief: bool = False) -> "Dataset":
    """The data set of a file without its pixels.

    Args:
        file: of DICOM, with or without the preamble.
        brief: only what :data:`TAGS` lists, which is faster.

    Raises:
        ImageError: it is no DICOM, or damaged.
    """
    pydicom = load()
    tags = [*TAGS, MOSAIC, *B_VALUES] if brief else None
    try:
        with tolerant():
            marked = _check_start(file)
            header: Dataset = pydicom.dcmread(
                file, stop_before_pixels=True, specific_tags=tags, force=not marked
            )
    except ImageError:
        raise
    except Exception as error:  # pydicom raises whatever the bytes lead it to
        raise ImageError(
            "damaged DICOM", file=file, got=words_of(error), expected="a data set that can be read"
        ) from None
    if not marked and "SOPClassUID" not in header:
        raise FileNotDicom("no DICOM", file=file, expected="a SOPClassUID")
    return header


def _check_start(file: Path) -> bool:
    """Whether a file has the preamble; a file that can be no DICOM is refused."""
    with file.open("rb") as stream:
        start = stream.read(132)
        if start[128:] == b"DICM":
            meta = load("pydicom.filereader").read_file_meta_info(file)
            if meta.get("TransferSyntaxUID") == DEFLATED:
                _check_deflated(file)
            return True
    # Without a preamble, a data set begins with group 2 or 8, in either byte order.
    if start[:2] not in (b"\x08\x00", b"\x00\x08", b"\x02\x00"):
        raise FileNotDicom("no DICOM", file=file, expected="the letters DICM at byte 128")
    return False


def _check_deflated(file: Path) -> None:
    """Refuse a bomb: pydicom unpacks the whole of it."""
    content = file.read_bytes()
    at = 132
    length = int.from_bytes(content[at + 8 : at + 12], "little")  # of the file meta group
    unpacked, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    rest = content[at + 12 + length :]
    while rest and not unpacked.eof:
        size += len(unpacked.decompress(rest, 1 << 20))
        rest = unpacked.unconsumed_tail
        if size > MOST_HEADER:
            raise ImageError(
                "a deflated file that grows without end",
                file=file,
                got=f"more than {MOST_HEADER >> 20} MiB",
            )


def words_of(error: Exception) -> str:
    """What a library said, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:MOST_TEXT]}"


def value(data: Any, keyword: str | tuple[int, int]) -> Any:
    """A value as pydicom gives it; None where it is absent, empty or cannot be understood."""
    try:
        if isinstance(keyword, tuple):
            found = data[keyword].value if keyword in data else None
        else:
            found = data.get(keyword)
    except Exception:
        return None
    return None if found is None or found == "" or found == [] else found


def text(data: Any, keyword: str | tuple[int, int]) -> str:
    """As one line; several values with a backslash between, as DICOM has them."""
    found = value(data, keyword)
    if found is None:
        return ""
    parts = found if isinstance(found, list | tuple) or _is_multi(found) else [found]
    try:
        return " ".join("\\".join(str(part) for part in parts).split())[:MOST_TEXT]
    except Exception:
        return ""


def _is_multi(found: Any) -> bool:
    return type(found).__name__ == "MultiValue"


def words(data: Any, keyword: str) -> tuple[str, ...]:
    """Its values in capitals, e.g. of ImageType."""
    return tuple(part.strip().upper() for part in text(data, keyword).split("\\") if part.strip())


def numbers(data: Any, keyword: str | tuple[int, int]) -> tuple[float, ...]:
    """Its values; empty where one is no finite number."""
    found = value(data, keyword)
    if found is None:
        return ()
    parts = found if isinstance(found, list | tuple) or _is_multi(found) else [found]
    try:
        result = tuple(float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        return ()
    return result if all(math.isfinite(number) for number in result) else ()


def number(data: Any, keyword: str | tuple[int, int]) -> float | None:
    """Its first value."""
    found = numbers(data, keyword)
    return found[0] if found else None


def whole(data: Any, keyword: str) -> int | None:
    """Its first value, where that is an integer."""
    found = number(data, keyword)
    return int(found) if found is not None and found == int(found) else None


def items(data: Any, keyword: str) -> list[Any]:
    """Data sets of a sequence."""
    found = value(data, keyword)
    return list(found) if type(found).__name__ == "Sequence" else []


def item(data: Any, keyword: str) -> Any:
    """The first data set of a sequence, or an empty mapping."""
    found = items(data, keyword)
    return found[0] if found else {}
