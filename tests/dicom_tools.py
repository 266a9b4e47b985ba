"""Programs that judge or read DICOM, none of which shares code with gliodistill, pydicom or
highdicom. A test that asks for one is skipped where it is not installed.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

INSTALL = {"dciodvfy": "Debian: apt install dicom3tools", "segimage2itkimage": "pip install dcmqi"}


def program(name: str) -> str:
    """Where a program is: on the path, or beside this Python."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed ({INSTALL[name]})")
    return found


def errors_in(file: Path) -> list[str]:
    """What dciodvfy finds wrong."""
    done = subprocess.run(
        [program("dciodvfy"), str(file)], capture_output=True, text=True, errors="replace"
    )
    said = (done.stdout + done.stderr).splitlines()
    return sorted({line for line in said if line.startswith(("Error", "Abort"))})


@dataclass(frozen=True)
class Image:
    """Voxels and their place, mm in RAS+."""

    data: NDArray
    affine: NDArray[np.float64]

    def places(self, value: int | None = None) -> NDArray[np.float64]:
        """Where the voxels of a value are, or all that are not 0; N 3."""
        index = np.argwhere(self.data if value is None else self.data == value)
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]


def dcmqi_reads(seg: Path, folder: Path) -> dict[int, Image]:
    """The segments of a SEG by number, as dcmqi (DCMTK, ITK) reads them; all in one image, by their
    numbers, where none overlap.
    """
    folder.mkdir()
    command = [program("segimage2itkimage"), "--inputDICOM", str(seg), "-t", "nii", "--prefix", "s"]
    done = subprocess.run(
        [*command, "--outputDirectory", str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    images = {}
    for file in folder.glob("s-*.nii.gz"):
        image = nibabel.load(file)
        number = int(re.search(r"s-(\d+)", file.name)[1])
        images[number] = Image(np.asarray(image.dataobj), image.affine)
    return images
