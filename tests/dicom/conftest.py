"""Small DICOM series to read, and to break."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.fileset import FileSet

from gliodistill.dicom.headers import tolerant
from gliodistill.dicom.synthetic import Acquisition, datasets, save
from gliodistill.images.volume import Volume


def small(seed: int = 0, shape: tuple[int, int, int] = (10, 12, 9)) -> Volume:
    """An oblique volume of random integers, right-handed."""
    data = np.random.default_rng(seed).integers(0, 4000, shape).astype(np.float32)
    affine = np.eye(4)
    turn = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    tilt = np.array([[1.0, 0.0, 0.0], [0.0, 0.8, -0.6], [0.0, 0.6, 0.8]])
    affine[:3, :3] = turn @ tilt @ np.diag([-0.9, -1.1, 4.0])
    affine[:3, 3] = (12.5, -7.25, 30.0)
    return Volume(data, affine)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a series of a volume; ``change(k, data set)`` may alter (or, returning False, drop) a
    slice.
    """
    folder = tmp_path / "scan"

    def one(
        volume: Volume | None = None,
        change: Callable[[int, Any], Any] | None = None,
        number: int = 4,
        name: str = "t2_tse_tra",
        enhanced: bool = False,
        case: str = "Phantom_001_00002",
        stem: str = "IM",
        **attributes: Any,
    ) -> Path:
        folder.mkdir(exist_ok=True)
        acquisition = Acquisition(
            number, name, small() if volume is None else volume, attributes, enhanced
        )
        for k, data in enumerate(datasets(case, acquisition)):
            with tolerant():
                if change is None or change(k, data) is not False:
                    again = attributes.get("AcquisitionNumber", 0)
                    save(data, folder / f"{stem}{number}_{again}_{k:03d}")
        return folder

    return one


@pytest.fixture
def dicomdir(write: Callable[..., Path], tmp_path: Path) -> Path:
    """The DICOMDIR of a series."""
    files = FileSet()
    for file in write().iterdir():
        files.add(file)
    files.write(tmp_path / "media")
    files._stage["t"].cleanup()  # else Python warns of it when it is collected
    return tmp_path / "media" / "DICOMDIR"
