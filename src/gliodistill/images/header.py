"""Strict parsing of the 348-byte NIfTI-1 header.

Fields and their meaning: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import ImageError
from gliodistill.images.geometry import check_sides, checked_affine, read_forms
from gliodistill.images.qform_sform import Forms

HEADER_BYTES = 348
DATA_OFFSET = 352
"""Offset of the voxels in a single-file image without extensions."""
DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""NIfTI datatype code → NumPy kind and size, for the types that are read."""
REFUSED = {
    1: "binary",
    32: "complex64",
    128: "RGB24",
    1536: "float128",
    1792: "complex128",
    2048: "complex256",
    2304: "RGBA32",
}
SCALING_HINT = (
    "nibabel and ITK read a slope of NaN as no scaling; if that is meant, save nibabel's"
    " image.dataobj.get_unscaled() as a new image"
)
MAX_VOXELS = 512**3
"""Most voxels of an image: 256 mm at 0.5 mm along each axis. Head MRI needs no more, and a small
gzip file of zeros can have any number. A file with channels may hold four such images.
"""
MAX_CHANNELS = 4
_FIELDS = "i10s18sihcB8h3f4h8f3fhcB4f2i80s24s2h6f4f4f4f16s4s"


@dataclass(frozen=True, eq=False)
class Header:
    """The checked fields of a NIfTI-1 header.

    Attributes:
        shape: voxels along X, Y, Z.
        channels: length of the fourth axis, or None for a 3-D image.
        dtype: of the voxels on disk, with byte order.
        slope, inter: voxel value = slope · stored + inter.
        offset: bytes before the first voxel.
        affine: 4×4 float64, voxel index → mm, RAS+: the sform if it is set, else the qform.
        forms: both as stored.
    """

    shape: tuple[int, int, int]
    channels: int | None
    dtype: np.dtype[np.generic]
    slope: float
    inter: float
    offset: int
    affine: NDArray[np.float64]
    forms: Forms

    @property
    def file_bytes(self) -> int:
        """Length of the (decompressed) file."""
        return self.offset + math.prod(self.shape) * (self.channels or 1) * self.dtype.itemsize


def parse_header(content: bytes, file: Path) -> Header:
    """Check the first 348 bytes of a NIfTI-1 file.

    Raises:
        ImageError: not NIfTI-1, or a field that contradicts itself or the others.
    """
    if len(content) < HEADER_BYTES:
        raise ImageError(
            "file too short",
            file=file,
            field="header",
            got=f"{len(content)} bytes",
            expected=f"{HEADER_BYTES} or more",
        )
    order = _byte_order(content, file)
    values = struct.unpack(order + _FIELDS, content[:HEADER_BYTES])
    dim, datatype, bitpix = values[7:15], values[19], values[20]
    pixdim, vox_offset, slope, inter = values[22:30], values[30], values[31], values[32]
    units, magic = values[35], values[-1]
    _check_magic(magic, file)
    shape, channels = _shape(dim, file)
    dtype = _dtype(datatype, bitpix, order, file)
    if (
        vox_offset == 0
    ):  # some writers leave it empty; voxels of a single-file image begin at 352 or later
        vox_offset = DATA_OFFSET
    if not (
        math.isfinite(vox_offset)
        and DATA_OFFSET <= vox_offset < 2**31
        and vox_offset == int(vox_offset)
    ):
        raise ImageError(
            "voxels begin at an impossible place",
            file=file,
            field="vox_offset",
            got=vox_offset,
            expected="an integer ≥ 352",
        )
    if not (math.isfinite(slope) and math.isfinite(inter)):
        raise ImageError(
            "scaling is not a number",
            file=file,
            field="scl_slope/scl_inter",
            got=(slope, inter),
            expected="finite numbers",
            hint=SCALING_HINT,
        )
    if slope == 0:  # the standard's way to say "not scaled"
        slope, inter = 1.0, 0.0
    forms = read_forms(values, pixdim, units & 7, file)
    affine = checked_affine(forms, file)
    check_sides(forms, file)
    return Header(shape, channels, dtype, slope, inter, int(vox_offset), affine, forms)


def _byte_order(content: bytes, file: Path) -> str:
    for order in "<>":
        (size,) = struct.unpack(order + "i", content[:4])
        if size == HEADER_BYTES:
            return order
        if size == 540:
            raise ImageError(
                "NIfTI-2 is not read",
                file=file,
                field="sizeof_hdr",
                got=540,
                expected=348,
                hint="convert it to NIfTI-1",
            )
    (size,) = struct.unpack("<i", content[:4])
    raise ImageError(
        "not a NIfTI-1 file", file=file, field="sizeof_hdr", got=size, expected=HEADER_BYTES
    )


def _check_magic(magic: bytes, file: Path) -> None:
    if magic == b"n+1\0":
        return
    if magic == b"ni1\0":
        raise ImageError(
            "header of a .hdr/.img pair",
            file=file,
            field="magic",
            got="ni1",
            expected="n+1",
            hint="convert the pair to one .nii.gz",
        )
    raise ImageError(
        "not a NIfTI-1 file",
        file=file,
        field="magic",
        got=magic,
        expected="n+1",
        hint="convert it to .nii.gz",
    )


def _shape(dim: tuple[int, ...], file: Path) -> tuple[tuple[int, int, int], int | None]:
    axes = dim[0]
    if not 3 <= axes <= 7:
        raise ImageError(
            "not a 3-D image", file=file, field="dim[0]", got=axes, expected="3, or 4 with channels"
        )
    lengths = dim[1 : axes + 1]
    if min(lengths) < 1:
        raise ImageError(
            "empty or negative axis",
            file=file,
            field="dim",
            got=lengths,
            expected="positive lengths",
        )
    if max(lengths[4:], default=1) > 1:
        raise ImageError(
            "too many axes",
            file=file,
            field="dim",
            got=lengths,
            expected="X Y Z, or X Y Z and channels",
        )
    x, y, z = lengths[:3]
    channels = lengths[3] if axes > 3 and lengths[3] > 1 else None
    voxels = x * y * z
    if voxels > MAX_VOXELS or voxels * (channels or 1) > MAX_VOXELS * MAX_CHANNELS:
        raise ImageError(
            "too many voxels",
            file=file,
            field="dim",
            got=lengths,
            expected=f"at most {MAX_VOXELS} an image (512 × 512 × 512), and {MAX_CHANNELS} times"
            " that in all channels",
            hint="resample it to coarser voxels, or crop it to the head",
        )
    return (x, y, z), channels


def _dtype(datatype: int, bitpix: int, order: str, file: Path) -> np.dtype[np.generic]:
    if datatype not in DTYPES:
        raise ImageError(
            "unsupported voxel type",
            file=file,
            field="datatype",
            got=f"{datatype} ({REFUSED.get(datatype, 'unknown')})",
            expected="integers or float32/float64",
            hint="convert to a single real value per voxel",
        )
    dtype = np.dtype(order + DTYPES[datatype])
    if bitpix != 8 * dtype.itemsize:
        raise ImageError(
            "voxel type and size disagree",
            file=file,
            field="bitpix",
            got=bitpix,
            expected=f"{8 * dtype.itemsize} for {dtype.name}",
        )
    return dtype


def build_header(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], forms: Forms, slope: float = 1.0
) -> bytes:
    """The 352 bytes before the voxels: geometry, type and scale, without patient data. ``shape``: X
    Y Z (channels).
    """
    code = next(code for code, name in DTYPES.items() if np.dtype(name) == dtype.newbyteorder("="))
    return struct.pack(
        "<" + _FIELDS + "4x",
        HEADER_BYTES, b"", b"", 0, 0, b"r", 0,
        len(shape), *shape, *[1] * (7 - len(shape)),
        0.0, 0.0, 0.0, 0, code, 8 * dtype.itemsize, 0,
        forms.qfac, *forms.pixdim, 0.0, 0.0, 0.0, 0.0,
        float(DATA_OFFSET), slope, 0.0, 0, b"\0", 2,
        0.0, 0.0, 0.0, 0.0, 0, 0, b"", b"", *forms.codes,
        *forms.quaternion, *forms.offset, *forms.srow, b"", b"n+1\0",
    )  # fmt: skip
