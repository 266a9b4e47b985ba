"""The forms in which tools write their outputs for a study, found by name in a folder.

| form | files |
|---|---|
| nnU-Net | ``<id>.npz`` with ``probabilities`` (K Z Y X), its label map ``<id>.nii.gz`` beside it |
| one file | ``<id>.nii.gz`` with a channel for each region or class |
| a file a region | ``<id>/WT.nii.gz``, or ``<id>_WT.nii.gz``, and TC, ET |
| label map | ``<id>.nii.gz`` with codes |
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import ImageError, StudyError
from gliodistill.images.nifti import read_channels, read_header
from gliodistill.images.volume import Volume
from gliodistill.studies.labels import REGIONS

Form = Literal["npz", "channels", "regions", "labels"]
SUFFIXES = (".nii.gz", ".nii")
ARRAYS = ("probabilities", "softmax")
"""Names of the array in an ``.npz``: of nnU-Net 2, and of version 1."""


@dataclass(frozen=True)
class Stored:
    """A tool's output for one study.

    Attributes:
        form: of its files.
        files: WT, TC, ET for ``regions``, else one.
        label_map: of an ``npz``, whose grid it shares, if there is one.
    """

    form: Form
    files: tuple[Path, ...]
    label_map: Path | None = None


def find_stored(folder: Path, id: str) -> Stored:
    """The output for the study ``id``.

    Raises:
        StudyError: there is none, or its probabilities are there in two forms.
    """
    one = next(iter(_images(folder, id)), None)
    found = []
    if (archive := folder / f"{id}.npz").is_file():
        found.append(Stored("npz", (archive,), one))
    elif one is not None and read_header(one).channels is not None:
        found.append(Stored("channels", (one,)))
    for place, start in ((folder / id, ""), (folder, f"{id}_"), (folder / id, f"{id}_")):
        files = [next(iter(_images(place, f"{start}{region}")), None) for region in REGIONS]
        if present := [file for file in files if file is not None]:
            if len(present) < len(REGIONS):
                raise StudyError(
                    "output of a region is missing",
                    file=place,
                    field=id,
                    got=", ".join(file.name for file in present),
                    expected=", ".join(f"{start}{region}.nii.gz" for region in REGIONS),
                )
            found.append(Stored("regions", tuple(present)))
    if not found and one is not None:
        found.append(Stored("labels", (one,)))
    if len(found) == 1:
        return found[0]
    names = [", ".join(file.name for file in stored.files) for stored in found]
    raise StudyError(
        "outputs in two forms" if found else "the teacher has no output for this study",
        file=folder,
        field=id,
        got=" and ".join(names) or "nothing",
        expected=f"one of {id}.npz, {id}.nii.gz, {id}/WT.nii.gz, {id}_WT.nii.gz",
    )


def _images(folder: Path, stem: str) -> Iterator[Path]:
    return (file for suffix in SUFFIXES if (file := folder / f"{stem}{suffix}").is_file())


def read_archive(file: Path, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """The array of nnU-Net's ``.npz``, with axes turned to X Y Z; nothing is unpickled.

    Args:
        file: the archive.
        shape: of the study's grid, X Y Z.

    Returns:
        float32 K X Y Z.

    Raises:
        ImageError: no such array, or another shape than (K, Z, Y, X).
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = {Path(name).stem: name for name in archive.namelist()}
            name = next((names[each] for each in ARRAYS if each in names), None)
            if name is None:
                raise ImageError(
                    "no probabilities in the archive", file=file, got=", ".join(names),
                    expected=" or ".join(ARRAYS),
                )  # fmt: skip
            with archive.open(name) as handle:
                found, kind = _header(handle)
                if kind.kind != "f" or len(found) != 4 or found[1:] != shape[::-1]:
                    raise ImageError(
                        "the teacher's output is on another grid",
                        file=file,
                        field=name,
                        got=f"{kind} {found}",
                        expected=f"floats (K, {', '.join(map(str, shape[::-1]))})",
                    )
                handle.seek(0)
                array = np.lib.format.read_array(handle, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ImageError("cannot read the archive", file=file, got=error) from error
    return np.ascontiguousarray(array.transpose(0, 3, 2, 1), dtype=np.float32)


def _header(handle: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(handle)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"an array of format {version}")
    shape, _, kind = read[version](handle)
    return shape, kind


def read_images(stored: Stored) -> list[Volume]:
    """The images of a NIfTI form, one a channel, as stored (float32)."""
    if stored.form == "channels":
        count = read_header(stored.files[0]).channels
        return read_channels(stored.files[0], range(count or 0))
    return [read_channels(file, [None])[0] for file in stored.files]
