"""Pixels of a series as one array of intensities.

What the header says is applied: bits that are not stored are masked off, then MONOCHROME1 is turned
so that more is brighter, padding becomes the lowest intensity, and values are rescaled slice by
slice.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.dicom.grids import Slice
from gliodistill.dicom.headers import (
    DEFLATED,
    item,
    items,
    number,
    numbers,
    read_header,
    text,
    tolerant,
    whole,
    words_of,
)
from gliodistill.errors import ImageError
from gliodistill.extras import load


def read_voxels(
    slices: Sequence[Slice], shape: tuple[int, int, int], where: str
) -> NDArray[np.float32]:
    """Intensities on axes column, row, slice.

    Args:
        slices: in order.
        shape: columns, rows, slices, as the headers have them.
        where: what errors call the series; they name no file, since exports name files after
            patients.

    Raises:
        ImageError: pixels are missing, of another size, in a coding for which no decoder is
            installed, or not finite.
    """
    columns, rows, count = shape
    stacked = np.empty((count, rows, columns), np.float32)
    padded = np.zeros(stacked.shape, np.bool_)
    places: dict[Path, list[int]] = {}
    for place, piece in enumerate(slices):
        places.setdefault(piece.file, []).append(place)
    for file, wanted in places.items():
        field = f"{where}, slice {wanted[0] + 1}"
        planes = _planes(file, [slices[place].frame for place in wanted], field)
        for place, (plane, padding) in zip(wanted, planes, strict=True):
            if plane.shape != (rows, columns):
                raise ImageError(
                    "pixels of another size",
                    field=f"{where}, slice {place + 1}",
                    got="×".join(map(str, plane.shape)),
                    expected=f"{rows}×{columns}",
                )
            stacked[place] = plane
            if padding is not None:
                padded[place] = padding
    if padded.any():
        rest = stacked[~padded]
        stacked[padded] = rest.min() if rest.size else 0
    if not np.isfinite(stacked).all():
        raise ImageError("intensities that are no numbers", field=where)
    return stacked.transpose(2, 1, 0)


def _planes(
    file: Path, frames: list[int], where: str
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_] | None]]:
    """Intensities of some frames of a file (rows × columns), and which of them are padding."""
    header = read_header(file)
    shared, groups = (
        item(header, "SharedFunctionalGroupsSequence"),
        items(header, "PerFrameFunctionalGroupsSequence"),
    )
    for frame, stored in zip(frames, _stored(file, header, frames, where), strict=True):
        own = groups[frame] if frame < len(groups) else {}
        rescale = item(own, "PixelValueTransformationSequence") or item(
            shared, "PixelValueTransformationSequence"
        )
        rescale = rescale or header
        padding = _padding(header, stored)
        slope, intercept = (number(rescale, key) for key in ("RescaleSlope", "RescaleIntercept"))
        plane = stored.astype(np.float32)
        if text(header, "PhotometricInterpretation") == "MONOCHROME1":
            low, high = _range(header)
            plane = np.float32(low + high) - plane
        if slope not in (None, 0.0, 1.0):
            plane *= np.float32(slope)
        if intercept:
            plane += np.float32(intercept)
        yield plane, padding


def _stored(file: Path, header: Any, frames: list[int], where: str) -> Iterator[NDArray[Any]]:
    """Stored values, as they are before any rescaling."""
    pixels = load("pydicom.pixels")
    syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    try:
        with tolerant():
            indices = frames if (whole(header, "NumberOfFrames") or 1) > 1 else None
            for plane in pixels.iter_pixels(_source(file, syntax), indices=indices, raw=True):
                yield _masked(header, plane, syntax is not None and syntax.is_encapsulated)
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever the bytes lead them to
        name = syntax.name if syntax is not None else "no transfer syntax"
        words = words_of(error)
        if "missing dependencies" in words:
            words = "no decoder is installed for it"
        raise ImageError(
            "pixels cannot be decoded",
            field=where,
            got=f"{name}: {words}",
            expected="pixels as the header describes them",
        ) from None


def _source(file: Path, syntax: Any) -> Any:
    """What pydicom can take pixels from: the file as it is, unless it is deflated or without file
    meta information.
    """
    if syntax is not None and syntax != DEFLATED:
        return file
    data = load().dcmread(file, force=True)
    if syntax is None:
        uids, (implicit, little) = load("pydicom.uid"), data.original_encoding
        plain = uids.ExplicitVRLittleEndian if little else uids.ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = uids.ImplicitVRLittleEndian if implicit else plain
    return data


def _masked(header: Any, plane: NDArray[Any], encoded: bool) -> NDArray[Any]:
    """Without the bits that are not stored, which may hold overlays."""
    allocated, stored = whole(header, "BitsAllocated"), whole(header, "BitsStored")
    high = whole(header, "HighBit")
    if encoded or plane.dtype.kind not in "iu" or not allocated or not stored:
        return plane
    high = stored - 1 if high is None else high
    if not 0 < stored <= high + 1 <= allocated or stored == allocated:
        return plane
    # Up until the sign is in the highest bit, and down again: works for both kinds of integers.
    return (plane << (allocated - high - 1)) >> (allocated - stored)


def _range(header: Any) -> tuple[int, int]:
    """Lowest and highest value that can be stored."""
    bits = whole(header, "BitsStored") or whole(header, "BitsAllocated") or 16
    if whole(header, "PixelRepresentation") == 1:
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def _padding(header: Any, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where there is no image (PixelPaddingValue, PixelPaddingRangeLimit)."""
    value = numbers(header, "PixelPaddingValue")
    if not value:
        return None
    limit = numbers(header, "PixelPaddingRangeLimit") or value
    low, high = sorted((value[0], limit[0]))
    found: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return found
