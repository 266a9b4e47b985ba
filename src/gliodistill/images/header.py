"""The 348 bytes at the head of a NIfTI-1 file, believed only as far as they can be checked.

Fields and their meaning: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import ImageError

HEADER_BYTES = 348
DATA_OFFSET = 352
"""Where voxels begin in a single-file image without extensions."""

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
MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""xyzt_units code (unknown, metre, millimetre, micrometre) → mm; unknown is taken as mm."""
SPACING_MM = (0.05, 30.0)
"""Voxel sizes of any head MRI lie well inside."""
SPACING_TOLERANCE = 0.01

_FIELDS = "i10s18sihcB8h3f4h8f3fhcB4f2i80s24s2h6f4f4f4f16s4s"


@dataclass(frozen=True, eq=False)
class Header:
    """What a checked NIfTI-1 header says.

    Attributes:
        shape: voxels along X, Y, Z.
        channels: length of the fourth axis, or None for a 3-D image.
        dtype: of the voxels on disk, with byte order.
        slope, inter: voxel value = slope · stored + inter.
        offset: bytes before the first voxel.
        affine: 4×4 float64, voxel index → mm, RAS+.
    """

    shape: tuple[int, int, int]
    channels: int | None
    dtype: np.dtype[np.generic]
    slope: float
    inter: float
    offset: int
    affine: NDArray[np.float64]

    @property
    def file_bytes(self) -> int:
        """How long the (decompressed) file must be."""
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
    ):  # some writers leave it blank; the voxels of a single-file image cannot begin before 352
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
        )
    if slope == 0:  # the standard's way to say "not scaled"
        slope, inter = 1.0, 0.0
    affine = _affine(
        values[44],
        values[45],
        values[46:52],
        np.array(values[52:64]).reshape(3, 4),
        np.array(pixdim),
        units & 7,
        file,
    )
    return Header(shape, channels, dtype, slope, inter, int(vox_offset), affine)


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
    return (x, y, z), lengths[3] if axes > 3 and lengths[3] > 1 else None


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


def _affine(
    qform_code: int,
    sform_code: int,
    quaternion: tuple[float, ...],
    srow: NDArray[np.float64],
    pixdim: NDArray[np.float64],
    units: int,
    file: Path,
) -> NDArray[np.float64]:
    """The sform if it is set, else the qform; in mm, checked against pixdim and common sense."""
    if units not in MILLIMETRES:
        raise ImageError(
            "unknown unit of length",
            file=file,
            field="xyzt_units",
            got=units,
            expected="2 (mm), 1 (m) or 3 (µm)",
        )
    for name, code in (("sform_code", sform_code), ("qform_code", qform_code)):
        if not 0 <= code <= 5:  # nifti1.h; readers differ in what they make of other codes
            raise ImageError("unknown code", file=file, field=name, got=code, expected="0 to 5")
    affine = np.eye(4)
    if sform_code > 0:
        field, affine[:3] = "sform", srow
    elif qform_code > 0:
        field = "qform"
        affine[:3, :3] = _rotation(quaternion[:3], file) * pixdim[1:4]
        affine[:3, 2] *= -1 if pixdim[0] < 0 else 1
        affine[:3, 3] = quaternion[3:]
    else:
        raise ImageError(
            "header without geometry",
            file=file,
            field="sform_code/qform_code",
            got=(sform_code, qform_code),
            expected="one above 0",
            hint="export it again with a tool that keeps the orientation (e.g. dcm2niix)",
        )
    affine[:3] *= MILLIMETRES[units]
    if not np.isfinite(affine).all():
        raise ImageError(
            "affine is not a number",
            file=file,
            field=field,
            got=affine[:3].tolist(),
            expected="finite numbers",
        )
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if (spacing == 0).any() or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise ImageError(
            "singular affine",
            file=file,
            field=field,
            got=affine[:3, :3].tolist(),
            expected="three independent axes",
        )
    declared = pixdim[1:4] * MILLIMETRES[units]
    if not (np.abs(declared - spacing) <= SPACING_TOLERANCE * spacing).all():
        raise ImageError(
            "voxel size disagrees with the affine",
            file=file,
            field="pixdim",
            got=tuple(round(float(d), 4) for d in declared),
            expected=(
                f"{tuple(round(float(s), 4) for s in spacing)} mm as in the {field}, within 1 %"
            ),
            hint="one of the two is wrong: export the image again",
        )
    if spacing.min() < SPACING_MM[0] or spacing.max() > SPACING_MM[1]:
        raise ImageError(
            "absurd voxel size",
            file=file,
            field=field,
            got=f"{'×'.join(f'{s:.4g}' for s in spacing)} mm",
            expected=f"{SPACING_MM[0]} to {SPACING_MM[1]} mm",
            hint="check the unit in xyzt_units",
        )
    return affine


def _rotation(quaternion: tuple[float, ...], file: Path) -> NDArray[np.float64]:
    """Unit quaternion (b, c, d; a ≥ 0 is implied) → 3×3 rotation, as nifti1.h defines it."""
    b, c, d = quaternion
    rest = 1.0 - (b * b + c * c + d * d)
    if not rest > -1e-5:
        raise ImageError(
            "not a rotation",
            file=file,
            field="quatern_b/c/d",
            got=(b, c, d),
            expected="squares that sum to at most 1",
        )
    if (
        rest < 4e-7
    ):  # half a turn: what is left of 1 is the rounding of three float32 squares, as in nifti1_io.c
        norm = math.sqrt(1.0 - rest)
        a, b, c, d = 0.0, b / norm, c / norm, d / norm
    else:
        a = math.sqrt(rest)
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def build_header(
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    affine: NDArray[np.float64],
    slope: float = 1.0,
) -> bytes:
    """The 352 bytes before the voxels: geometry, type and scale, and not one word about the
    patient. ``shape``: X Y Z (channels).

    The sform holds ``affine``; the qform the nearest rotation (equal to it unless the axes are
    sheared).
    """
    code = next(code for code, name in DTYPES.items() if np.dtype(name) == dtype.newbyteorder("="))
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    rotation = left @ right
    qfac = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    rotation[:, 2] *= qfac
    return struct.pack(
        "<" + _FIELDS + "4x",
        HEADER_BYTES, b"", b"", 0, 0, b"r", 0,
        len(shape), *shape, *[1] * (7 - len(shape)),
        0.0, 0.0, 0.0, 0, code, 8 * dtype.itemsize, 0,
        qfac, *spacing, 0.0, 0.0, 0.0, 0.0,
        float(DATA_OFFSET), slope, 0.0, 0, b"\0", 2,
        0.0, 0.0, 0.0, 0.0, 0, 0, b"", b"", 1, 1,
        *_quaternion(rotation), *affine[:3, 3], *affine[:3].ravel(), b"", b"n+1\0",
    )  # fmt: skip


def _quaternion(rotation: NDArray[np.float64]) -> tuple[float, float, float]:
    """3×3 rotation → (b, c, d) with a ≥ 0: the eigenvector of Bar-Itzhack's matrix (J. Guid.
    Control 23, 2000).
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    matrix = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, yx + xy, xz + zx],
            [xz - zx, yx + xy, yy - xx - zz, zy + yz],
            [yx - xy, xz + zx, zy + yz, zz - xx - yy],
        ]
    )
    a, b, c, d = np.linalg.eigh(matrix)[1][:, -1]
    sign = -1.0 if a < 0 else 1.0
    return float(sign * b), float(sign * c), float(sign * d)
