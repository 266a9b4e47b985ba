"""Images for the viewer: every sequence on the grid of the label map, beside the results."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.alignment.carrying import carry_image, inverse
from gliodistill.files import make_folder
from gliodistill.images.nifti import read_nifti, write_nifti
from gliodistill.images.volume import Volume
from gliodistill.inference.cases.nifti import NiftiCase
from gliodistill.inference.cases.scanned import Scanned
from gliodistill.inference.outputs.base import Result
from gliodistill.studies.records import ImageFile
from gliodistill.studies.sequence import MRSequence

VIEW = "view"
"""Folder of the images, in that of the job."""

LEAST_RANGE = 200
"""Images of fewer grey values keep their fractions."""


@dataclass(frozen=True)
class ViewWriter:
    """Writes the scans of a study, as acquired, on the grid of the label map.

    Attributes:
        folder: for them; not that of the results.
        files: sequence → its file, of a study of NIfTI.
    """

    folder: Path
    files: Mapping[MRSequence, ImageFile]

    @property
    def settings(self) -> Mapping[str, Any]:
        """None: there is nothing to choose."""
        return {}

    def check(self, scan: Scanned) -> None:
        """Every study can be shown."""

    def write(self, result: Result, folder: Path) -> None:
        """``<sequence>.nii.gz``; resampled once, from the scan."""
        aligned, grid = result.scan.aligned, result.answer.labels
        back = inverse(aligned.matrices[aligned.reference])
        make_folder(self.folder)
        for sequence in aligned.images:
            scan = self._read(result.scan, sequence)
            values: NDArray[Any] = scan.data
            if not aligned.untouched and sequence != aligned.reference:
                values = carry_image(scan, grid, aligned.matrices[sequence] @ back)
            write_nifti(grid.with_data(_compact(values)), self.folder / f"{sequence}.nii.gz")

    def _read(self, scan: Scanned, sequence: MRSequence) -> Volume:
        """The scan as it came: an aligned study keeps only its grid."""
        if scan.aligned.untouched:
            return scan.aligned.images[sequence]
        if sequence in scan.series:
            return scan.series[sequence].volume()
        file = self.files[sequence]
        return read_nifti(file.path, file.channel)


def keep_prepared(case: NiftiCase, folder: Path) -> None:
    """The images of a prepared study, which lie on the grid of its label map."""
    make_folder(folder)
    for sequence, image in case.record.images.items():
        target = folder / f"{sequence}.nii.gz"
        if not target.exists():
            _keep(image, target)


def images_in(folder: Path) -> dict[str, str]:
    """Sequence → its file below the folder of the job."""
    return {
        file.name.removesuffix(".nii.gz"): f"{VIEW}/{file.name}"
        for file in sorted((folder / VIEW).glob("*.nii.gz"))
        if not file.name.startswith(".")
    }


def _keep(image: ImageFile, target: Path) -> None:
    if image.channel is None and image.path.name.lower().endswith(".nii.gz"):
        target.hardlink_to(image.path)
        return
    volume = read_nifti(image.path, image.channel)
    write_nifti(Volume(_compact(volume.data), volume.affine, volume.forms), target)


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    """16 bits where no grey value is lost that an eye could tell."""
    if values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
        if high - low >= LEAST_RANGE and low >= -32768 and high <= 32767:
            rounded: NDArray[Any] = np.rint(values).astype(np.int16)
            return rounded
    return values
