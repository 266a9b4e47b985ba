"""Register two scans of one head."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.alignment.confidence import Confidence, confidence
from gliodistill.alignment.engine import Matrix, engine, optimise
from gliodistill.alignment.levels import Cropped, Level
from gliodistill.alignment.starts import Comparison, Fit, pairs_of_middles, starts
from gliodistill.errors import ImageError
from gliodistill.images.volume import Volume

SEARCH_MM, COARSE_MM, FINE_MM = 8.0, 4.0, 1.25
"""Voxels on which starts are compared, the best are improved, and the best of these is finished.
With 2 mm at the end, errors were up to twice as large.
"""

FINER = 1.5
"""The last voxels are at most so much finer than those of the scans."""

COARSE = {"samples": 20_000, "steps": 60, "step_mm": 2.0, "least_mm": 0.05, "shrink": 0.5}
FINE = {"samples": 40_000, "steps": 120, "step_mm": 1.0, "least_mm": 0.02, "shrink": 0.8}
"""Descents; see :func:`~gliodistill.alignment.engine.optimise`. A faster end of the fine one (0.5)
left one pair in eight 1.5 mm off that this one leaves 0.3 mm off.
"""

IMPROVED = 3
"""Number of starts that are improved."""

APART_MM = 6.0
"""Two starts nearer to each other than this, in the brain, are one."""

OVERLAP_SLACK, COVER_SLACK = 0.1, 0.7
"""A start whose overlap is this much below the best, or that covers less than this share of the
most, is not considered: mutual information of few voxels is high by chance.
"""

SIMILAR, OVERLAPPING, PEAKED = 0.04, 0.8, 0.1
"""Least similarity, overlap and sharpness of a registration that succeeded."""

AGREEING_MM, SHARP = 2.0, 0.2
"""Largest disagreement and least sharpness of a registration that is not doubtful, as derived in
benchmarks/alignment/notice.py: nearly all right registrations pass.
"""


@dataclass(frozen=True, eq=False)
class Registration:
    """What :func:`register` found.

    Attributes:
        matrix: 4×4 float64, rigid: points of the fixed image → points of the moving image, mm,
            RAS+.
        similarity: normalised mutual information in and near the brain, in [0, 1].
        overlap: Dice of the two brains in the common field, in [0, 1]; without a mask of the moving
            brain, the share of the fixed brain in the moving field.
        covered: share of the fixed brain that lies in the moving field.
        disagreement: how far apart parts of the brain would place it, in mm; see
            :class:`~gliodistill.alignment.confidence.Confidence`.
        sharpness: share of the similarity that a shift of 4 mm takes away.
        start: which start led to it.
        failures: why it must not be used, in words; empty if it can be.
        doubts: why somebody should look at it, in words.
        seconds: wall-clock.
    """

    matrix: Matrix
    similarity: float
    overlap: float
    covered: float
    disagreement: float
    sharpness: float
    start: str
    failures: tuple[str, ...]
    doubts: tuple[str, ...]
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether it must not be used."""
        return bool(self.failures)

    @property
    def flags(self) -> tuple[str, ...]:
        """Failures and doubts; empty if nothing speaks against it."""
        return self.failures + self.doubts


def register(
    fixed: Volume,
    moving: Volume,
    fixed_mask: NDArray[np.bool_],
    moving_mask: NDArray[np.bool_] | None = None,
) -> Registration:
    """Align ``moving`` with ``fixed``, rigidly, by mutual information in and near the brain.

    Starts are the headers (the patient lay still), and the centroids of the brains, or of a part of
    one where the other is cut, with 125 rotations of up to 30° about each axis. The most similar
    ones, and the one whose brains overlap most, are improved on voxels of 4 mm, the best of these
    on 1.25 mm. Two parts of the brain are then registered alone: where they disagree, the result is
    doubtful.

    Args:
        fixed: scan of a head, any contrast, any grid.
        moving: another scan of the same head.
        fixed_mask: bool X Y Z, the brain in ``fixed``.
        moving_mask: the brain in ``moving``; without it, its middle is that of the image.

    Returns:
        The matrix and how well the scans fit.

    Raises:
        ImageError: a mask is empty or does not fit its image.
        GliodistillError: SimpleITK is not installed.
    """
    began = time.perf_counter()
    engine()
    known = moving_mask is not None
    if moving_mask is None:
        moving_mask = np.ones(moving.shape, bool)
    for name, scan, mask in (("fixed", fixed, fixed_mask), ("moving", moving, moving_mask)):
        _check(name, scan, mask)
    pair = Cropped.around(fixed, fixed_mask), Cropped.around(moving, moving_mask)
    centre = _centroid(fixed, fixed_mask)
    corners = _corners(fixed, fixed_mask)

    scans = _levels(pair, SEARCH_MM)
    search = Comparison(*scans, known)
    tried = [
        (search.fit(matrix), name, matrix) for name, matrix in starts(pairs_of_middles(*scans))
    ]
    plausible = _plausible(tried)
    chosen = _distinct(plausible, corners)[:IMPROVED]
    if tried[0] in plausible and tried[0] not in chosen:
        chosen.append(tried[0])

    coarse = _levels(pair, COARSE_MM)
    compared = Comparison(*coarse, known)
    if known:
        best = max(plausible, key=lambda one: one[0].overlap)
        matrix = _optimised(coarse, best[2], centre, COARSE, brains=True)
        chosen.append((best[0], f"{best[1]}, then the brains' outlines", matrix))
    improved = []
    for _, name, matrix in chosen:
        better = _optimised(coarse, matrix, centre, COARSE)
        improved += [(compared.fit(matrix), name, matrix), (compared.fit(better), name, better)]
    _, start, matrix = _plausible(improved)[0]

    finest = min(*fixed.spacing, *moving.spacing)
    fine = _levels(pair, max(FINE_MM, finest / FINER))
    better = _optimised(fine, matrix, centre, FINE)
    compared = Comparison(*fine, known)
    finished = [(compared.fit(one), start, one) for one in (better, matrix)]
    fit, _, matrix = _plausible(finished)[0]
    trust = confidence(coarse, matrix, known, lambda two, one: _optimised(two, one, centre, COARSE))
    return Registration(
        matrix,
        fit.similarity,
        fit.overlap,
        fit.covered,
        trust.disagreement,
        trust.sharpness,
        start,
        _failures(fit, trust),
        _doubts(trust),
        time.perf_counter() - began,
    )


Tried = tuple[Fit, str, Matrix]


def _plausible(tried: list[Tried]) -> list[Tried]:
    """Those whose brains overlap, most similar first."""
    overlap = max(fit.overlap for fit, _, _ in tried) - OVERLAP_SLACK
    covered = max(fit.covered for fit, _, _ in tried) * COVER_SLACK
    left = [one for one in tried if one[0].overlap >= overlap and one[0].covered >= covered]
    return sorted(left or tried, key=lambda one: -one[0].similarity)


def _distinct(tried: list[Tried], corners: NDArray[np.float64]) -> list[Tried]:
    """The first of those that take the brain to one place."""
    found: list[Tried] = []
    for one in tried:
        if all(_apart(one[2], other[2], corners) > APART_MM for other in found):
            found.append(one)
    return found


def _apart(one: Matrix, other: Matrix, corners: NDArray[np.float64]) -> float:
    """Largest distance between where two matrices take the corners of the brain, in mm."""
    return float(np.linalg.norm(corners @ (one - other)[:3].T, axis=1).max())


def _optimised(
    pair: tuple[Level, Level],
    matrix: Matrix,
    centre: NDArray[np.float64],
    descent: Mapping[str, Any],
    brains: bool = False,
) -> Matrix:
    """By the images, or by the outlines of the brains."""
    fixed, moving = pair
    return optimise(
        fixed.image.with_data(fixed.brain) if brains else fixed.image,
        moving.image.with_data(moving.brain) if brains else moving.image,
        fixed.near,
        matrix,
        centre,
        squares=brains,
        **descent,
    )


def _levels(pair: tuple[Cropped, Cropped], step: float) -> tuple[Level, Level]:
    return pair[0].level(step), pair[1].level(step)


def _centroid(scan: Volume, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of the mask, mm."""
    middle = [
        float(np.average(np.arange(n), weights=mask.sum(axis=tuple({0, 1, 2} - {axis}))))
        for axis, n in enumerate(mask.shape)
    ]
    placed: NDArray[np.float64] = (scan.affine @ [*middle, 1.0])[:3]
    return placed


def _corners(scan: Volume, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of the mask's box, mm, homogeneous (8 × 4)."""
    ends = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
    grid = np.stack(np.meshgrid(*ends, [1.0], indexing="ij"), axis=-1).reshape(-1, 4)
    placed: NDArray[np.float64] = grid @ scan.affine.T
    return placed


def _check(name: str, scan: Volume, mask: NDArray[np.bool_]) -> None:
    if mask.shape != scan.shape:
        raise ImageError(
            "mask does not fit its image",
            field=f"{name}_mask",
            got=mask.shape,
            expected=scan.shape,
        )
    if not mask.any():
        raise ImageError("no brain", field=f"{name}_mask", got="an empty mask")


def _failures(fit: Fit, trust: Confidence) -> tuple[str, ...]:
    found = []
    if fit.similarity < SIMILAR:
        found.append(f"the images are not similar: {fit.similarity:.2f}, not {SIMILAR:g} or more")
    if fit.overlap < OVERLAPPING:
        found.append(f"the brains overlap by {fit.overlap:.2f}, not {OVERLAPPING:g} or more")
    if trust.sharpness < PEAKED:
        found.append(_flat(trust, PEAKED))
    return tuple(found)


def _doubts(trust: Confidence) -> tuple[str, ...]:
    found = []
    if trust.disagreement > AGREEING_MM:
        found.append(
            f"parts of the brain disagree by {trust.disagreement:.1f} mm, not {AGREEING_MM:g} or"
            " less"
        )
    if PEAKED <= trust.sharpness < SHARP:
        found.append(_flat(trust, SHARP))
    return tuple(found)


def _flat(trust: Confidence, least: float) -> str:
    return f"a shift of 4 mm takes {trust.sharpness:.0%} of the similarity, not {least:.0%} or more"
