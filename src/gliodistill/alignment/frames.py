"""Which scan is the reference, and the grid that a study is brought onto."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.volume import Volume
from gliodistill.studies.sequence import MRSequence

PREFERRED = (MRSequence.T1CE, MRSequence.FLAIR, MRSequence.T1, MRSequence.T2)
"""Among scans of like resolution."""

COARSER = 1.5
"""A scan whose thickest voxel side is beyond this multiple of the finest scan's is not chosen."""

CUT = 0.9
"""Nor one whose brain has less than this share of the largest."""

LEAST_FIELD_MM = 100.0
"""Nor one with a shorter side, in which no whole brain fits, whatever was taken for its brain."""

MARGIN_MM = 5.0
"""Around the brain."""

MNI_CORNER_MM, MNI_SIZE_MM = (-90.0, -126.0, -72.0), (180.0, 216.0, 180.0)
"""First voxel of the usual MNI grid, and distance to the last."""


def choose_reference(
    scans: Mapping[MRSequence, Volume], brain_ml: Mapping[MRSequence, float]
) -> tuple[MRSequence, str]:
    """The scan that the others are aligned with, and why.

    Thin slices first, because the others are placed more exactly in them; a cut field last.

    Args:
        scans: their grids.
        brain_ml: volume of the brain in each.
    """
    if len(scans) == 1:
        (only,) = scans
        return only, "the only scan"
    thickest = {s: max(scan.spacing) for s, scan in scans.items()}
    fits = [s for s, scan in scans.items() if _shortest_side(scan) >= LEAST_FIELD_MM] or [*scans]
    whole = [s for s in fits if brain_ml[s] >= CUT * max(brain_ml[fit] for fit in fits)]
    finest = min(thickest[s] for s in whole)
    fine = [s for s in PREFERRED if s in whole and thickest[s] <= COARSER * finest]
    left = [s for s in PREFERRED if s in scans and s not in fine]
    reason = f"{fine[0]} has voxels of at most {thickest[fine[0]]:.3g} mm"
    if left:
        others = ", ".join(
            f"{s} {thickest[s]:.3g} mm" + ("" if s in whole else ", cut") for s in left
        )
        reason += f" ({others})"
    if len(fine) > 1:
        order = ", ".join(map(str, PREFERRED))
        reason += f"; among scans alike the order is {order}"
    return fine[0], reason


def _shortest_side(scan: Volume) -> float:
    """Of the field, in mm."""
    return float(min(n * mm for n, mm in zip(scan.shape, scan.spacing, strict=True)))


def grid_around(
    scan: Volume, brain: NDArray[np.bool_], spacing: float, points: NDArray[np.float64]
) -> Volume:
    """An isotropic grid along the axes of ``scan`` in its world.

    Args:
        scan: the reference.
        brain: on its grid.
        spacing: mm.
        points: more points (mm, n × 3) that it must hold, of brains beyond the scan's field.
    """
    straight = scan.canonical()
    axes = straight.affine[:3, :3] / np.array(straight.spacing)
    # Sheared axes become perpendicular ones.
    u, _, vt = np.linalg.svd(axes)
    axes = u @ vt
    inside = np.vstack([outline(scan, brain), points]) @ axes
    low, high = inside.min(axis=0) - MARGIN_MM, inside.max(axis=0) + MARGIN_MM
    shape = np.ceil((high - low) / spacing).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = axes @ low
    return Volume(np.broadcast_to(np.uint8(0), tuple(shape)), affine)


def mni_grid(spacing: float) -> Volume:
    """The MNI grid, isotropic, RAS+."""
    shape = tuple(int(np.floor(size / spacing)) + 1 for size in MNI_SIZE_MM)
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = MNI_CORNER_MM
    return Volume(np.broadcast_to(np.uint8(0), shape), affine)


def outline(scan: Volume, brain: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Points (mm, n × 3) of the brain: first and last along every line of its first axis."""
    some = np.argwhere(brain.any(axis=0))
    lines = brain[:, some[:, 0], some[:, 1]]
    first = lines.argmax(axis=0)
    last = len(lines) - 1 - lines[::-1].argmax(axis=0)
    voxels = np.vstack([np.c_[end, some] for end in (first, last)])
    placed: NDArray[np.float64] = voxels @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    return placed


def moved(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n × 3) through a 4×4."""
    placed: NDArray[np.float64] = points @ matrix[:3, :3].T + matrix[:3, 3]
    return placed
