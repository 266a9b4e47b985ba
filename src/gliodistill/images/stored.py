"""An image as its file holds it: which voxels lie there, and how they are scaled."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import ImageError
from gliodistill.images.bounds import Box, filled_box, whole
from gliodistill.images.gzipped import GzipSource, PlainSource
from gliodistill.images.header import DATA_OFFSET, Header, parse_header
from gliodistill.images.volume import Volume

NAN_HINT = (
    "nibabel keeps them, ITK reads them as 0; if they are the background, set them to 0, e.g. with"
    " numpy.nan_to_num(image.get_fdata(), nan=0, posinf=0, neginf=0), and save the image again"
)


@dataclass(frozen=True, eq=False)
class StoredImage:
    """A 3-D image as stored in its file; its voxels are scaled only on request.

    Attributes:
        voxels: X Y Z, of the file's type, not scaled and not yet checked to be finite.
        header: of the file.
        file: its path.
    """

    voxels: Volume
    header: Header
    file: Path

    def box(self) -> Box | None:
        """A box outside of which every voxel is 0 once scaled; None where all are 0."""
        if self.header.inter != 0:
            return whole(self.voxels.shape)
        return filled_box(self.voxels.data)

    def scaled(self, box: Box | None = None) -> Volume:
        """The image (float32), or the part of it in ``box`` with the affine of that part.

        Raises:
            ImageError: voxels of that part that are not finite.
        """
        if box is None:
            return self.voxels.with_data(
                check_finite(apply_scaling(self.voxels.data, self.header), self.file)
            )
        affine = self.voxels.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
        return Volume(
            check_finite(apply_scaling(self.voxels.data[box], self.header), self.file), affine
        )


def read_stored(path: str | os.PathLike[str], channels: Iterable[int | None]) -> list[StoredImage]:
    """Read images of one file as stored; otherwise as :func:`read_channels`, which scales
    them.
    """
    file = Path(path)
    header, stored = read_voxels(file)
    return [
        StoredImage(as_volume(choose_channel(stored, header, channel, file), header), header, file)
        for channel in channels
    ]


def open_source(file: Path) -> GzipSource | PlainSource:
    """The bytes of a ``.nii`` or ``.nii.gz`` file, unpacked.

    Raises:
        ImageError: a name that ends in neither.
    """
    name = file.name.lower()
    if name.endswith(".nii.gz"):
        return GzipSource(file)
    if name.endswith(".nii"):
        return PlainSource(file)
    hint = {
        ".img": "convert the .hdr/.img pair to one .nii.gz",
        ".hdr": "convert the .hdr/.img pair to one .nii.gz",
    }.get(file.suffix.lower())
    raise ImageError(
        "not a NIfTI file name",
        file=file,
        field="name",
        got=file.name,
        expected="a name ending in .nii or .nii.gz",
        hint=hint,
    )


class read_errors:
    """Turn an OSError into an ImageError."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise ImageError(
                "cannot read",
                file=self.file,
                field="file",
                got=error.strerror or error,
                expected="a readable .nii or .nii.gz file",
            ) from error


def as_volume(voxels: NDArray[Any], header: Header) -> Volume:
    """Voxels (X Y Z) where the header places them."""
    return Volume(voxels, header.affine, header.forms)


def read_voxels(file: Path) -> tuple[Header, NDArray[Any]]:
    """Header and stored voxels on X Y Z (channels)."""
    with read_errors(file), open_source(file) as source:
        header = parse_header(source.take(DATA_OFFSET), file)
        source.check_room(header.file_bytes)
        content = source.rest(header.file_bytes - DATA_OFFSET)
    shape = (*header.shape, header.channels or 1)
    stored = np.frombuffer(content, dtype=header.dtype, offset=header.offset - DATA_OFFSET)
    return header, stored.reshape(shape, order="F")


def choose_channel(
    stored: NDArray[Any], header: Header, channel: int | None, file: Path
) -> NDArray[Any]:
    """One channel (X Y Z) of the stored voxels; the only one where ``channel`` is None.

    Raises:
        ImageError: several channels and no ``channel``, or no such channel.
    """
    count = header.channels or 1
    if channel is None:
        if count > 1:
            raise ImageError(
                "4-D image",
                file=file,
                field="dim",
                got=(*header.shape, count),
                expected="a 3-D image",
                hint="say which channel to read",
            )
        channel = 0
    if not 0 <= channel < count:
        raise ImageError(
            "no such channel", file=file, field="channel", got=channel, expected=f"0 to {count - 1}"
        )
    return stored[..., channel]


def apply_scaling(stored: NDArray[Any], header: Header) -> NDArray[np.float32]:
    """Apply slope · stored + inter, computed in float64 and rounded to float32; in the file's order
    of voxels.
    """
    if (header.slope, header.inter) == (1.0, 0.0) and stored.dtype.itemsize <= 4:
        return stored.astype(np.float32, order="F")
    planes = stored.T  # in memory order
    values = np.empty(planes.shape, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        if (
            stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2
        ):  # few possible values: each is scaled once
            bits = np.dtype(f"u{stored.dtype.itemsize}")
            every = (
                np.arange(np.iinfo(bits).max + 1).astype(bits).view(stored.dtype.newbyteorder("="))
            )
            table = (every.astype(np.float64) * header.slope + header.inter).astype(np.float32)
            for plane, value in zip(planes, values, strict=True):
                np.take(
                    table, plane.astype(every.dtype, copy=False).view(bits), out=value, mode="clip"
                )
        else:
            for plane, value in zip(planes, values, strict=True):
                value[:] = plane.astype(np.float64) * header.slope + header.inter
    return values.T


def check_finite(values: NDArray[np.float32], file: Path) -> NDArray[np.float32]:
    """The values, or an ImageError where some are NaN or Inf."""
    finite = np.isfinite(values)
    if not finite.all():
        bad = int(values.size - np.count_nonzero(finite))
        raise ImageError(
            "voxels that are not numbers",
            file=file,
            field="voxels",
            got=f"{bad} NaN or Inf of {values.size}",
            expected="none",
            hint=NAN_HINT,
        )
    return values
