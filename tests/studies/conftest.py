"""Small data sets in every layout, built on the spot."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from gliodistill.images import Volume, write_nifti

SHAPE = (12, 13, 14)
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def tumour(ncr: int, ed: int, et: int, extra: dict[int, int] | None = None) -> np.ndarray:
    """Nested boxes: oedema outside, an enhancing rim, a necrotic middle; 0 as a code leaves a
    tissue out.

    ``extra`` maps a code to the x plane (inside the core) that it replaces.
    """
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1:11, 1:12, 1:13] = ed
    labels[3:9, 3:10, 3:11] = et or ncr
    labels[5:7, 5:8, 5:9] = ncr or et
    for code, plane in (extra or {}).items():
        labels[plane, 4:9, 4:10] = code
    return labels


def image(
    path: Path, value: float = 1.0, shape: tuple[int, ...] = SHAPE, affine: np.ndarray = AFFINE
) -> Path:
    """A NIfTI file filled with ``value``, and something in the middle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.full(shape, value, dtype=np.float32)
    data[2:-2, 2:-2, 2:-2] += 10 + np.arange(shape[2] - 4)
    write_nifti(Volume(data, affine), path)
    return path


def labels(path: Path, codes: np.ndarray) -> Path:
    """A label map."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(Volume(codes, AFFINE), path)
    return path


def image_4d(path: Path, channels: int) -> Path:
    """A 4-D file whose channel k is filled with k + 1 (nibabel: our writer has no fourth axis)."""
    import nibabel as nib

    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.broadcast_to(np.arange(1, channels + 1, dtype=np.float32), (*SHAPE, channels))
    picture = nib.Nifti1Image(data.copy(), AFFINE)
    picture.set_sform(AFFINE, 1)
    picture.set_qform(AFFINE, 1)
    nib.save(picture, path)
    return path


OLD = ("t1", "t1ce", "t2", "flair")
NEW = ("t1n", "t1c", "t2w", "t2f")


@pytest.fixture
def brats(tmp_path: Path) -> Callable[..., Path]:
    """Write case folders in BraTS layout; values 1, 2, 3, 4 for the four kinds."""

    def write(
        cases: Iterable[str] = ("case_1", "case_2"),
        codes: np.ndarray | None = None,
        kinds: tuple[str, ...] = OLD,
        separator: str = "_",
        root: Path = tmp_path / "cohort",
    ) -> Path:
        for case in cases:
            for value, kind in enumerate(kinds, 1):
                image(root / case / f"{case}{separator}{kind}.nii.gz", value)
            if codes is not None:
                labels(root / case / f"{case}{separator}seg.nii.gz", codes)
        return root

    return write


def describe(root: Path, **content: object) -> None:
    """Write ``dataset.json``."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(content))


@pytest.fixture
def make() -> "type[Make]":
    return Make


class Make:
    """The builders, for tests of other layouts."""

    image = staticmethod(image)
    image_4d = staticmethod(image_4d)
    labels = staticmethod(labels)
    tumour = staticmethod(tumour)
    describe = staticmethod(describe)
    OLD, NEW = OLD, NEW
