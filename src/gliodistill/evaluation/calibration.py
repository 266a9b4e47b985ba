"""Calibration: expected calibration error, Brier score, reliability curve."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.bounds import Box, filled_box, grown, whole

BINS = 15
MARGIN_MM = 10.0
"""Margin of the box around prediction and reference; voxels outside are omitted, because certain
and correct background would dominate.
"""

TEXT = (
    "ECE (Guo et al. 2017, binary form, 15 equal bins of the probability of the region: Σ share of"
    " voxels · |observed frequency − mean probability|) and Brier score are over the voxels of the"
    f" box around prediction and reference of all regions, grown by {MARGIN_MM:g} mm; null without"
    " probabilities. The reliability curve pools those voxels over studies."
)


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability curve; bin i of 15 holds probabilities from i/15 up to (i + 1)/15
    (the last one 1 as well).

    Attributes:
        voxels: their number.
        probability: their mean probability, None if empty.
        frequency: the share of them in the reference, None if empty.
    """

    voxels: int
    probability: float | None
    frequency: float | None


@dataclass(frozen=True)
class Reliability:
    """Counts for the calibration of one region; additive over studies.

    Attributes:
        voxels, probability, observed: float64 on 15, in each bin the number of voxels, the sum of
            their probabilities and the number of them in the reference.
        squares: sum over all voxels of (probability − reference)².
    """

    voxels: NDArray[np.float64]
    probability: NDArray[np.float64]
    observed: NDArray[np.float64]
    squares: float

    @classmethod
    def of(cls, probability: NDArray[np.floating], truth: NDArray[np.bool_]) -> "Reliability":
        """Count one mask.

        Args:
            probability: of the region, 0 … 1, on X Y Z.
            truth: bool on X Y Z.
        """
        said, real = probability.ravel().astype(np.float64), truth.ravel()
        which = np.minimum((said * BINS).astype(np.intp), BINS - 1)
        voxels, sums, hits = (
            np.bincount(which, weights=w, minlength=BINS).astype(np.float64)
            for w in (None, said, real)
        )
        return cls(voxels, sums, hits, float(((said - real) ** 2).sum()))

    @classmethod
    def of_counts(
        cls,
        probability: NDArray[np.floating],
        voxels: NDArray[np.float64],
        observed: NDArray[np.float64],
    ) -> "Reliability":
        """Count voxels that are already counted by their probability.

        Args:
            probability: N different ones, 0 … 1.
            voxels: N, the number of voxels that have it.
            observed: N, the number of those that belong to the region in the reference.
        """
        said = probability.astype(np.float64)
        which = np.minimum((said * BINS).astype(np.intp), BINS - 1)
        counts, sums, hits = (
            np.bincount(which, weights=w, minlength=BINS).astype(np.float64)
            for w in (voxels, voxels * said, observed)
        )
        squares = (voxels * said**2 - 2 * said * observed + observed).sum()
        return cls(counts, sums, hits, float(squares))

    @classmethod
    def total(cls, every: Iterable["Reliability"]) -> "Reliability":
        """All voxels of several studies together."""
        parts = list(every)
        voxels, sums, hits = (
            np.sum([getattr(p, name) for p in parts], axis=0)
            for name in ("voxels", "probability", "observed")
        )
        return cls(voxels, sums, hits, sum(part.squares for part in parts))

    @property
    def ece(self) -> float:
        """Expected calibration error, 0 … 1."""
        return float(np.abs(self.observed - self.probability).sum() / self.voxels.sum())

    @property
    def brier(self) -> float:
        """Mean squared difference of probability and reference, 0 … 1."""
        return float(self.squares / self.voxels.sum())

    @property
    def bins(self) -> tuple[Bin, ...]:
        """The reliability curve."""
        return tuple(
            Bin(int(n), float(p / n) if n else None, float(o / n) if n else None)
            for n, p, o in zip(self.voxels, self.probability, self.observed, strict=True)
        )


def calibration_box(anything: NDArray[np.bool_], spacing: tuple[float, ...]) -> Box:
    """The box in which calibration is evaluated: around ``anything``, grown by :data:`MARGIN_MM`,
    or everything if it is empty.

    Args:
        anything: bool on X Y Z, prediction or reference of any region.
        spacing: voxel size along X, Y, Z in mm.
    """
    margins = (round(MARGIN_MM / step) for step in spacing)
    return grown(filled_box(anything) or whole(anything.shape), margins, anything.shape)
