"""Raw NIfTI bytes, written by nibabel and then broken byte by byte."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

AFFINE = np.array([[-1.0, 0, 0, 90], [0, -1.5, 0, 126], [0, 0, 2.0, -72], [0, 0, 0, 1]])


def nifti_bytes(data: np.ndarray | None = None, affine: np.ndarray = AFFINE) -> bytearray:
    """A sound NIfTI-1 file with sform and qform code 1."""
    if data is None:
        data = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    return bytearray(image.to_bytes())


def patched(*patches: tuple[int, str, object], data: np.ndarray | None = None) -> bytes:
    """A sound file with values struck over at byte offsets (nifti1.h) in struct formats."""
    content = nifti_bytes(data)
    for offset, form, *values in patches:
        struct.pack_into("<" + form, content, offset, *values)
    return bytes(content)


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Write bytes under a name; ``.gz`` names are compressed unless ``raw``."""

    def write(content: bytes, name: str = "image.nii.gz", raw: bool = False) -> Path:
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") and not raw else content)
        return path

    return write


@pytest.fixture(scope="session")
def nifti() -> Callable[..., bytearray]:
    return nifti_bytes


@pytest.fixture(scope="session")
def patch() -> Callable[..., bytes]:
    return patched
