"""Pairs of scans whose alignment is known: synthetic heads as scanned, and patients moved here."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.nifti import read_labels, read_nifti
from gliodistill.images.volume import Volume
from gliodistill.phantom.raw import make_raw
from gliodistill.studies.sequence import MRSequence

Matrix = NDArray[np.float64]
PHANTOM_SEED = 5
SLICE_MM = 5.0
"""Of simulated thick slices."""
CUT = 0.35
"""Share of the slices taken away, from below."""
DISTURBANCES = {
    "moved by 5° and 10 mm": (5.0, 10.0),
    "turned by 30°, moved by 10 mm": (30.0, 10.0),
    "5 mm slices": (5.0, 10.0),
    "lower third cut": (5.0, 10.0),
}
"""Name → rotation in degrees about a random axis, and shift in mm."""


@dataclass(frozen=True, eq=False)
class Case:
    """Two scans.

    Attributes:
        group: of patients.
        disturbance: key of :data:`DISTURBANCES`, or "as scanned".
        pair: sequences.
        fixed, moving: the scans.
        fixed_mask, moving_mask: their brains.
        true: 4×4, fixed → moving, mm.
    """

    group: str
    disturbance: str
    pair: str
    fixed: Volume
    moving: Volume
    fixed_mask: NDArray[np.bool_]
    moving_mask: NDArray[np.bool_]
    true: Matrix

    def errors(self, matrix: Matrix) -> NDArray[np.float64]:
        """Target registration error in mm of points all over the fixed brain."""
        where = np.argwhere(self.fixed_mask)[::97]
        points = np.c_[where, np.ones(len(where))] @ self.fixed.affine.T
        return np.linalg.norm(points @ (matrix - self.true)[:3].T, axis=1)


def phantoms(n: int) -> Iterator[Case]:
    """Heads with skull, grids and movements of their own, thick and thin slices."""
    rng = np.random.default_rng([PHANTOM_SEED, 1])
    for index in range(n):
        study = make_raw(PHANTOM_SEED, index)
        scans = {s: (image, study.brains[s].data > 0) for s, image in study.images.items()}
        fixed = MRSequence.T1CE
        for moving in scans:
            if moving == fixed:
                continue
            true = np.linalg.inv(study.motion[moving]) @ study.motion[fixed]
            yield from _disturbed(
                "synthetic heads", rng, scans, fixed, moving, true, ("as scanned",)
            )
            names = ("turned by 30°, moved by 10 mm", "lower third cut")
            yield from _disturbed("synthetic heads", rng, scans, fixed, moving, true, names)


def patients(data: Path, n: int) -> Iterator[Case]:
    """Co-registered, stripped patients, and raw heads whose sequences share their slices.

    Their own alignment counts as true: it is not known better than to about half a millimetre
    (stripped) and one millimetre (heads).
    """
    rng = np.random.default_rng([PHANTOM_SEED, 2])
    for folder in sorted((data / "labelled").iterdir())[:n]:
        scans = {}
        for sequence in MRSequence:
            image = read_nifti(folder / f"{folder.name}_{sequence.lower()}.nii.gz")
            scans[sequence] = image, image.data != 0
        yield from _all("stripped patients", rng, scans, tuple(DISTURBANCES))
    with (data / "lgg" / "lgg.csv").open() as file:
        heads = [row["id"] for row in csv.DictReader(file) if row["form"] == "head"]
    for name in heads[:n]:
        brain = read_labels(data / "lgg" / "masks" / f"{name}_brain.nii.gz")
        scans = {}
        for sequence in MRSequence:
            path = data / "lgg" / name / f"{name}_{sequence.lower()}.nii.gz"
            if path.exists():
                image = read_nifti(path)
                if image.same_grid(brain):
                    scans[sequence] = image, brain.data > 0
        yield from _all("raw heads", rng, scans, tuple(DISTURBANCES)[:2])


Scans = dict[MRSequence, tuple[Volume, NDArray[np.bool_]]]


def _all(
    group: str, rng: np.random.Generator, scans: Scans, names: tuple[str, ...]
) -> Iterator[Case]:
    fixed = MRSequence.T1CE if MRSequence.T1CE in scans else MRSequence.FLAIR
    for moving in scans:
        if moving != fixed:
            yield from _disturbed(group, rng, scans, fixed, moving, np.eye(4), names)


def _disturbed(
    group: str,
    rng: np.random.Generator,
    scans: Scans,
    fixed: MRSequence,
    moving: MRSequence,
    true: Matrix,
    names: tuple[str, ...],
) -> Iterator[Case]:
    image, mask = scans[moving]
    for name in names:
        some, there = image, mask
        if name == "5 mm slices":
            some, there = _thick(image, mask)
        if name == "lower third cut":
            some, there = _cut(image, mask)
        turn, shift = DISTURBANCES.get(name, (0.0, 0.0))
        middle = (image.affine @ [*np.argwhere(mask).mean(axis=0), 1.0])[:3]
        move = rigid(rng, turn, shift, middle)
        yield Case(
            group,
            name,
            f"{moving} to {fixed}",
            scans[fixed][0],
            Volume(some.data, move @ some.affine),
            scans[fixed][1],
            there,
            move @ true,
        )


def rigid(
    rng: np.random.Generator, degrees: float, mm: float, middle: NDArray[np.float64]
) -> Matrix:
    """A rotation about a random axis through ``middle``, and a shift in a random direction."""
    from scipy.spatial.transform import Rotation

    axis, away = rng.normal(size=(2, 3))
    matrix = np.eye(4)
    turned = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.radians(degrees)).as_matrix()
    matrix[:3, :3] = turned
    matrix[:3, 3] = middle - turned @ middle + away / np.linalg.norm(away) * mm
    return matrix


def _thick(image: Volume, mask: NDArray[np.bool_]) -> tuple[Volume, NDArray[np.bool_]]:
    """Means of slices, starting between two slices of the original."""
    step = max(1, round(SLICE_MM / image.spacing[2]))
    n = (image.shape[2] - 2) // step
    used = slice(2, 2 + n * step)

    def means(values: NDArray[np.generic]) -> NDArray[np.float32]:
        parts = values[:, :, used].astype(np.float32)
        return parts.reshape(*parts.shape[:2], n, step).mean(axis=3)

    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (2 + (step - 1) / 2)
    affine[:3, 2] *= step
    return Volume(means(image.data), affine), means(mask) > 0.5


def _cut(image: Volume, mask: NDArray[np.bool_]) -> tuple[Volume, NDArray[np.bool_]]:
    """Without the part that is lowest in the patient."""
    axis = int(np.abs(image.affine[2, :3]).argmax())
    brain = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
    gone = int(CUT * (brain[-1] - brain[0]))
    upwards = image.affine[2, axis] > 0
    kept = slice(brain[0] + gone, None) if upwards else slice(0, brain[-1] - gone + 1)
    box = tuple(kept if a == axis else slice(None) for a in range(3))
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (kept.start or 0)
    return Volume(image.data[box], affine), mask[box]
