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
SLICE_MM = 6.0
"""Of simulated thick slices."""
CUT = 0.35
"""Share of the slices taken away, from below."""
SCANNED = "as scanned"
MOVED, TURNED = "moved by 5° and 10 mm", "turned by 30°, moved by 10 mm"
THICK, BOTH, LESS = "6 mm slices", "6 mm slices of both", "lower third cut"
FEWER = "6 mm slices, lower third cut"
DISTURBANCES = {
    MOVED: (5.0, 10.0),
    TURNED: (30.0, 10.0),
    THICK: (5.0, 10.0),
    BOTH: (5.0, 10.0),
    LESS: (5.0, 10.0),
    FEWER: (5.0, 10.0),
}
"""Name → rotation in degrees about a random axis, and shift in mm."""


@dataclass(frozen=True, eq=False)
class Case:
    """Two scans.

    Attributes:
        group: of patients.
        number: of the patient in the group.
        disturbance: key of :data:`DISTURBANCES`, or :data:`SCANNED`.
        pair: sequences.
        fixed, moving: the scans.
        fixed_mask, moving_mask: their brains.
        true: 4×4, fixed → moving, mm.
        move: 4×4, what the moving scan was moved by here; part of ``true``.
    """

    group: str
    number: int
    disturbance: str
    pair: str
    fixed: Volume
    moving: Volume
    fixed_mask: NDArray[np.bool_]
    moving_mask: NDArray[np.bool_]
    true: Matrix
    move: Matrix

    def errors(self, matrix: Matrix, true: Matrix | None = None) -> NDArray[np.float64]:
        """Target registration error in mm of points all over the fixed brain.

        Args:
            matrix: 4×4, fixed → moving, mm.
            true: what to compare it with; None = what is right.
        """
        where = np.argwhere(self.fixed_mask)[::97]
        points = np.c_[where, np.ones(len(where))] @ self.fixed.affine.T
        return np.linalg.norm(
            points @ (matrix - (self.true if true is None else true))[:3].T, axis=1
        )


def cases(data: Path, n: int) -> Iterator[Case]:
    """``n`` of each group in turn, so that a run that is stopped has some of each."""
    names = sorted(folder.name for folder in (data / "labelled").iterdir())
    with (data / "lgg" / "lgg.csv").open() as file:
        heads = [row["id"] for row in csv.DictReader(file) if row["form"] == "head"]
    for number in range(n):
        yield from stripped(data / "labelled" / names[number], number)
        if number < len(heads):
            yield from raw(data / "lgg", heads[number], number)
        yield from phantom(number)


def phantom(number: int) -> Iterator[Case]:
    """A head with skull, grids and movements of its own, thick or thin slices."""
    study = make_raw(PHANTOM_SEED, number)
    scans = {s: (image, study.brains[s].data > 0) for s, image in study.images.items()}
    fixed = MRSequence.T1CE
    moving = [sequence for sequence in scans if sequence != fixed][number % 3]
    true = np.linalg.inv(study.motion[moving]) @ study.motion[fixed]
    names = SCANNED, LESS, TURNED
    yield from _disturbed("synthetic heads", number, scans, (fixed, moving), true, names)


def stripped(folder: Path, number: int) -> Iterator[Case]:
    """A co-registered, stripped patient: one sequence, in turn, and every disturbance.

    Their own alignment counts as true, which is known to about half a millimetre.
    """
    moving = [s for s in MRSequence if s != MRSequence.T1CE][number // 2 % 3]
    pair, scans = (MRSequence.T1CE, moving), {}
    for sequence in pair:
        image = read_nifti(folder / f"{folder.name}_{sequence.lower()}.nii.gz")
        scans[sequence] = image, image.data != 0
    yield from _disturbed("stripped patients", number, scans, pair, np.eye(4), tuple(DISTURBANCES))


def raw(folder: Path, id: str, number: int) -> Iterator[Case]:
    """A raw head; the sequences of one session, which share their slices.

    Their headers count as true, but patients move between sequences.
    """
    brain = read_labels(folder / "masks" / f"{id}_brain.nii.gz")
    scans = {}
    for sequence in MRSequence:
        path = folder / id / f"{id}_{sequence.lower()}.nii.gz"
        if path.exists() and (image := read_nifti(path)).same_grid(brain):
            scans[sequence] = image, brain.data > 0
    fixed = MRSequence.T1CE if MRSequence.T1CE in scans else MRSequence.FLAIR
    others = [sequence for sequence in scans if sequence != fixed]
    if others:
        pair = fixed, others[number // 3 % len(others)]
        names = SCANNED, MOVED, LESS, TURNED
        yield from _disturbed("raw heads", number, scans, pair, np.eye(4), names)


Scans = dict[MRSequence, tuple[Volume, NDArray[np.bool_]]]


def _disturbed(
    group: str,
    number: int,
    scans: Scans,
    pair: tuple[MRSequence, MRSequence],
    true: Matrix,
    names: tuple[str, ...],
) -> Iterator[Case]:
    (fixed, fixed_mask), (image, mask) = scans[pair[0]], scans[pair[1]]
    for name in names:
        rng = np.random.default_rng([PHANTOM_SEED, len(group), number, len(name)])
        some, there = image, mask
        if name in (THICK, BOTH, FEWER):
            some, there = _thick(some, there, 2)
        if name in (LESS, FEWER):
            some, there = _cut(some, there)
        target, inside = _thick(fixed, fixed_mask, 0) if name == BOTH else (fixed, fixed_mask)
        middle = (image.affine @ [*np.argwhere(mask).mean(axis=0), 1.0])[:3]
        move = rigid(rng, *DISTURBANCES[name], middle) if name in DISTURBANCES else np.eye(4)
        yield Case(
            group,
            number,
            name,
            f"{pair[1]} to {pair[0]}",
            target,
            Volume(some.data, move @ some.affine),
            inside,
            there,
            move @ true,
            move,
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


def _thick(image: Volume, mask: NDArray[np.bool_], first: int) -> tuple[Volume, NDArray[np.bool_]]:
    """Means of slices, from the slice ``first``."""
    step = max(1, round(SLICE_MM / image.spacing[2]))
    n = (image.shape[2] - first) // step
    used = slice(first, first + n * step)

    def means(values: NDArray[np.generic]) -> NDArray[np.float32]:
        parts = values[:, :, used].astype(np.float32)
        return parts.reshape(*parts.shape[:2], n, step).mean(axis=3)

    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (first + (step - 1) / 2)
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
