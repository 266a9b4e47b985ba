"""BraTS' brain mask and tumour of a patient, placed on the raw head.

The header of a raw head places it within 1 to 2 mm, and its voxel size is an estimate. Both images
of FLAIR come from one scan, so that their correlation inside the brain tells the rest: a rigid
motion and two voxel sizes.
"""

import csv
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from gliodistill.images import Volume, read_nifti
from gliodistill.phantom.anatomy import rotation

INSIDE_MM, SAMPLES = 4.0, 15_000
"""Voxels compared: this far inside the brain, about so many."""

BLUR_MM = (0.5, 0.5, 1.5)
"""Of BraTS' images, towards the slices of the raw head."""

UNITS = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.01, 0.01])
"""Of the parameters: three shifts in mm, three turns in degrees, two factors of voxel size."""


@dataclass(frozen=True, eq=False)
class Reference:
    """BraTS' version of a patient.

    Attributes:
        flair: skull-stripped, X Y Z at 1 mm.
        brain: 1 inside BraTS' mask, on the same grid.
        tumour: 1 inside the experts' whole tumour, on the same grid.
    """

    flair: Volume
    brain: Volume
    tumour: Volume

    def placed(self, matrix: NDArray[np.float64]) -> "Reference":
        """Moved by the inverse of ``matrix`` (4×4; raw head → BraTS, mm)."""
        back = np.linalg.inv(matrix)
        moved = (
            Volume(each.data, back @ each.affine) for each in (self.flair, self.brain, self.tumour)
        )
        return Reference(*moved)

    def on(self, volume: Volume) -> tuple[NDArray[np.float32], ...]:
        """Shares of brain, of tumour, and of BraTS' field in the voxels of ``volume``."""
        field = self.brain.with_data(np.ones(self.brain.shape, np.float32))
        return tuple(on_grid(each, volume) for each in (self.brain, self.tumour, field))


def brats_references(data: Path, wanted: Container[str]) -> dict[str, Reference]:
    """BraTS 2020 id → reference, of the patients ``wanted`` (ids)."""
    found = {}
    with (data / "patients.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            folder = data / "labelled" / row["case"]
            if row["brats2020_id"] not in wanted or not folder.exists():
                continue
            flair = read_nifti(folder / f"{row['case']}_flair.nii.gz")
            brain = np.zeros(flair.shape, bool)
            for sequence in ("t1", "t1ce", "t2", "flair"):
                brain |= read_nifti(folder / f"{row['case']}_{sequence}.nii.gz").data != 0
            tumour = read_nifti(folder / f"{row['case']}_seg.nii.gz").data > 0
            found[row["brats2020_id"]] = Reference(
                flair.with_data(flair.data.astype(np.float32)),
                flair.with_data(ndimage.binary_fill_holes(brain).astype(np.float32)),
                flair.with_data(tumour.astype(np.float32)),
            )
    return found


def on_grid(source: Volume, target: Volume, outside: float = 0.0) -> NDArray[np.float32]:
    """Values of ``source`` at the voxels of ``target``, through both affines."""
    matrix = np.linalg.inv(source.affine) @ target.affine
    return ndimage.affine_transform(
        np.asarray(source.data, np.float32),
        matrix,
        output_shape=target.shape,
        order=1,
        cval=outside,
    )


def scanned(volume: Volume) -> NDArray[np.bool_]:
    """What the scan shows (X Y Z): all but empty slices, which resampling leaves at its ends."""
    shown = np.ones(volume.shape, bool)
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        full = np.ptp(volume.data, axis=others) > 0
        shown &= np.expand_dims(full, others)
    return shown


@dataclass(frozen=True)
class Placement:
    """Where BraTS' version lies on the raw head.

    Attributes:
        matrix: 4×4, raw head → BraTS, mm.
        before: correlation of the two images of FLAIR inside the brain, by the headers.
        after: the same, by ``matrix``.
        moved_mm: mean distance in the brain between the two.
    """

    matrix: NDArray[np.float64]
    before: float
    after: float
    moved_mm: float


def place(reference: Reference, flair: Volume) -> Placement:
    """Maximise the correlation of the two images of FLAIR inside the brain."""
    brain = on_grid(reference.brain, flair) > 0.5
    inner = np.argwhere(ndimage.distance_transform_edt(brain, sampling=flair.spacing) > INSIDE_MM)
    some = inner[:: max(1, len(inner) // SAMPLES)]
    raw = np.asarray(flair.data, np.float32)[tuple(some.T)]
    points = np.c_[some, np.ones(len(some))]
    placed = points @ flair.affine.T
    middle = placed.mean(axis=0)[:3]
    to_brats = np.linalg.inv(reference.flair.affine)
    blur = np.divide(BLUR_MM, reference.flair.spacing)
    smooth = ndimage.gaussian_filter(reference.flair.data, blur)
    axes = flair.affine[:3, :3] / flair.spacing

    def matrix_of(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        shift, turn, size = np.split(parameters * UNITS, [3, 6])
        matrix = np.eye(4)
        scale = axes @ np.diag(1 + size[[0, 0, 1]]) @ axes.T
        matrix[:3, :3] = rotation((turn[0], turn[1], turn[2])) @ scale
        matrix[:3, 3] = middle + shift - matrix[:3, :3] @ middle
        return matrix

    def unlike(parameters: NDArray[np.float64]) -> float:
        there = (placed @ (to_brats @ matrix_of(parameters)).T)[:, :3].T
        values = ndimage.map_coordinates(smooth, there, order=1)
        return -float(np.corrcoef(raw, values)[0, 1])

    start = np.zeros(len(UNITS))
    options = {"xtol": 0.02, "ftol": 1e-6, "maxiter": 8}
    best = optimize.minimize(unlike, start, method="Powell", options=options)
    matrix = matrix_of(best.x)
    moved = np.linalg.norm((placed @ matrix.T - placed)[:, :3], axis=1).mean()
    return Placement(matrix, -unlike(start), -float(best.fun), float(moved))
