"""Strict reading and anonymous writing of NIfTI-1."""

import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import ImageError, LabelError, OutputError
from gliodistill.files import atomic_file
from gliodistill.images.header import DATA_OFFSET, Header, build_header, parse_header
from gliodistill.images.qform_sform import Forms
from gliodistill.images.stored import (
    apply_scaling,
    as_volume,
    check_finite,
    choose_channel,
    open_source,
    read_errors,
    read_stored,
    read_voxels,
)
from gliodistill.images.volume import Volume

COMPRESSION = 3
"""zlib level: label maps are as small as with 9, float images within a few per cent, in a fraction
of the time.
"""
LABEL_TOLERANCE = 1e-3
"""Tolerance of labels from integers (scaled headers round)."""


def read_nifti(path: str | os.PathLike[str], channel: int | None = None) -> Volume:
    """Read one 3-D image.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        channel: which image of a 4-D file, from 0.

    Returns:
        float32 on X Y Z, with the header's scaling applied.

    Raises:
        ImageError: something is missing, damaged, contradictory or not finite.
    """
    return read_channels(path, [channel])[0]


def read_channels(path: str | os.PathLike[str], channels: Iterable[int | None]) -> list[Volume]:
    """Read several images of one 4-D file, decompressed once; see :func:`read_nifti`."""
    return [image.scaled() for image in read_stored(path, channels)]


def read_labels(path: str | os.PathLike[str], channel: int | None = None) -> Volume:
    """Read a label map.

    Returns:
        uint8 on X Y Z, the stored codes after the header's scaling.

    Raises:
        ImageError: as :func:`read_nifti`.
        LabelError: values that are not integers from 0 to 255.
    """
    file = Path(path)
    header, stored = read_voxels(file)
    chosen = choose_channel(stored, header, channel, file)
    if chosen.dtype == np.uint8 and (header.slope, header.inter) == (1.0, 0.0):
        # A copy is writable and does not hold the other channels.
        return as_volume(chosen.copy(order="K"), header)
    values = check_finite(apply_scaling(chosen, header), file)
    low, high = float(values.min()), float(values.max())
    rounded = np.rint(values)
    broken = np.abs(values - rounded) > LABEL_TOLERANCE
    if broken.any():
        soft = low >= 0 and high <= 1 + LABEL_TOLERANCE
        raise LabelError(
            "probabilities, not a label map" if soft else "interpolated, not a label map",
            file=file,
            field="labels",
            got=f"{int(broken.sum())} voxels between integers, e.g. {float(values[broken][0]):g}",
            expected="integers",
            hint=(
                "threshold the probabilities of each region and write codes"
                if soft
                else "resample label maps with nearest neighbour"
            ),
        )
    if low < 0 or high > 255:
        raise LabelError(
            "negative codes, not a label map" if low < 0 else "codes beyond 255, not a label map",
            file=file,
            field="labels",
            got=f"values from {low:g} to {high:g}",
            expected="0 to 255",
            hint="write 0 for unlabelled voxels" if low < 0 else None,
        )
    return as_volume(rounded.astype(np.uint8), header)


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read and check only the header (neither voxels nor their checksum).

    Raises:
        ImageError: as :func:`read_nifti`, as far as header and file size show it.
    """
    file = Path(path)
    with read_errors(file), open_source(file) as source:
        header = parse_header(source.take(DATA_OFFSET), file)
        source.check_room(header.file_bytes)
        return header


def write_nifti(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Write ``volume`` atomically; equal volumes give equal bytes. The header has the qform and
    sform of its file.

    Nothing about the patient, the machine or the time is written. bool becomes uint8, float16
    float32, 64-bit integers int32.

    Raises:
        ImageError: NaN or Inf voxels, or an array no NIfTI type holds.
        OutputError: a name that is not ``.nii`` or ``.nii.gz``, or a system error.
    """
    _write([volume], path, ())


def write_channels(
    volumes: Sequence[Volume], path: str | os.PathLike[str], slope: float = 1.0
) -> None:
    """Write volumes of one grid and type as one 4-D file; otherwise as :func:`write_nifti`.

    Args:
        volumes: the channels, in order.
        path: ``.nii`` or ``.nii.gz``.
        slope: scaling of the stored values.
    """
    _write(volumes, path, (len(volumes),), slope)


def _write(
    volumes: Sequence[Volume],
    path: str | os.PathLike[str],
    channels: tuple[int, ...],
    slope: float = 1.0,
) -> None:
    file = Path(path)
    if not file.name.lower().endswith((".nii", ".nii.gz")):
        raise OutputError(
            "cannot decide the format",
            file=file,
            field="name",
            got=file.name,
            expected="a name ending in .nii or .nii.gz",
        )
    stored = [_storable(volume.data, file) for volume in volumes]
    first = volumes[0]
    forms = first.forms or Forms.of(first.affine)
    header = build_header((*first.shape, *channels), stored[0].dtype, forms, slope)
    with atomic_file(file) as temporary, temporary.open("wb") as handle:
        # wbits 31 writes a gzip member whose header has no time and no name. Always zlib: output
        # must not depend on installed packages.
        packer = (
            zlib.compressobj(COMPRESSION, wbits=31) if file.name.lower().endswith(".gz") else None
        )
        pack = packer.compress if packer else bytes
        handle.write(pack(header))
        for data in stored:
            for plane in range(data.shape[2]):
                handle.write(pack(data[:, :, plane].tobytes(order="F")))
        if packer:
            handle.write(packer.flush())


def _storable(data: NDArray[Any], file: Path) -> NDArray[Any]:
    if max(data.shape) > 32767:
        raise ImageError(
            "too large for NIfTI-1",
            file=file,
            field="shape",
            got=data.shape,
            expected="at most 32767 along each axis",
        )
    if data.dtype == np.bool_:
        return data.astype(np.uint8)
    if data.dtype == np.float16:
        data = data.astype(np.float32)
    if data.dtype in (np.int64, np.uint64):
        limits = np.iinfo(np.int32)
        if data.min() < limits.min or data.max() > limits.max:
            raise ImageError(
                "values too large",
                file=file,
                field="voxels",
                got=f"up to {data.max()}",
                expected="32-bit integers",
            )
        return data.astype(np.int32)
    if data.dtype.kind not in "iuf" or data.dtype.itemsize > 8:
        raise ImageError(
            "array type that NIfTI cannot hold",
            file=file,
            field="dtype",
            got=data.dtype,
            expected="integers or floats",
        )
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        bad = int(np.count_nonzero(~np.isfinite(data)))
        raise ImageError(
            "voxels that are not numbers",
            file=file,
            field="voxels",
            got=f"{bad} NaN or Inf",
            expected="none",
        )
    return data.astype(data.dtype.newbyteorder("<"), copy=False)
