"""Bias-field correction of all sequences of a study at once.

The bias field of a receiver coil multiplies intensities by a factor that changes slowly over
centimetres; bright healthy tissue then resembles oedema. Wells et al. (IEEE TMI 1996, "Adaptive
segmentation of MRI data") estimate the field by expectation maximisation. The E-step computes
tissue probabilities for the present field; the M-step smooths the residual of the log intensities,
which is the new field. As in the paper, the sequences share the tissues and each has its own field:
voxels bright on FLAIR and T2 are a tissue, voxels bright on only one may be the field. Correcting
each sequence separately would remove half of the oedema. Ours: tissues are estimated from the
study, initialised by quantiles along the first principal axis of the sequences, and a class of
outliers takes tumour. The field is smooth, so it is estimated on blocks of :data:`BLOCK_MM`.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.resampling import Taps, axis_matrix, resample, resample_by

BLOCK_MM = 6.0
"""Side of the blocks that the field is estimated on."""

FILLED = 0.7
"""Share of a block that must be brain: partial volume at the rim resembles a field."""

TISSUES = 6
ROUNDS = 15
OUTLIERS = 0.02
"""Prior share of the outlier class."""

DEVIATION = 0.03
"""Smallest standard deviation of a tissue's log intensity."""

STRONG = 0.09
"""Standard deviation of a log field above which the residual is estimated again, because smoothing
finds only part of a field. Weaker fields are not, because tumour resembles them. The fields of all
labelled patients we have are weaker (tested).
"""

PASSES = 5
"""Most passes."""

DARKEST = 0.05
"""Lower bound of intensities, as a share of the brain's mean; otherwise a few voxels of air would
outweigh the brain.
"""

LEAST = 50
"""Smallest number of brain blocks for a correction."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Correction:
    """What one image is multiplied by to correct its bias field.

    Attributes:
        factors: of each block (float32 X Y Z).
        block_mm: side of a block along each axis.
    """

    factors: NDArray[np.float32]
    block_mm: tuple[float, ...]

    def at(
        self,
        shape: tuple[int, ...],
        spacing: tuple[float, ...],
        edge_mm: tuple[float, ...] = (0.0, 0.0, 0.0),
    ) -> NDArray[np.float32]:
        """Factors at the voxels of a grid (float32 X Y Z), interpolated linearly.

        Args:
            shape: of the grid.
            spacing: its voxel size in mm.
            edge_mm: where its first voxel begins, from the edge of the image.
        """
        axes = zip(self.factors.shape, shape, spacing, self.block_mm, edge_mm, strict=True)
        return resample(
            self.factors,
            tuple(
                axis_matrix(blocks, count, step / block, edge / block)
                for blocks, count, step, block, edge in axes
            ),
        )


def corrections(
    images: list[NDArray[np.float32]],
    inside: list[NDArray[np.bool_]],
    spacing: tuple[float, ...],
    width_mm: float,
) -> list[Correction | None]:
    """Corrections of the bias fields of a study's images.

    Args:
        images: one of each sequence, scanner units (float32 X Y Z, all of one shape), 0 outside the
            brain.
        inside: brain mask of each image; images that share an array save work.
        spacing: voxel size in mm.
        width_mm: standard deviation of the Gaussian that smooths the fields.

    Returns:
        one for each image. None for an image that is not positive in its brain, which is not in
        scanner units; for all if the brain has fewer than :data:`LEAST` blocks.
    """
    factors = [max(1.0, BLOCK_MM / step) for step in spacing]
    down = tuple(
        Taps.of(axis_matrix(side, int(np.ceil(side / factor)), factor))
        for side, factor in zip(images[0].shape, factors, strict=True)
    )
    with ThreadPoolExecutor(len(images)) as pool:  # NumPy releases the GIL
        # Sequences that were skull-stripped together share their mask. One memory order, so that
        # sums do not depend on the file's axes.
        masks = list({id(mask): mask for mask in inside}.values())
        blocks = [
            np.ascontiguousarray(means)
            for means in pool.map(resample_by, (*images, *masks), repeat(down))
        ]
        usable = np.array(list(pool.map(_is_positive, images, inside)))
    sums = np.stack(blocks[: len(images)])
    share = dict(zip(map(id, masks), blocks[len(images) :], strict=True))
    shares = np.stack([share[id(mask)] for mask in inside])
    known = (shares > FILLED) & usable[:, None, None, None]
    if np.count_nonzero(known.any(axis=0)) < LEAST:
        return [None] * len(images)
    block_mm = tuple(step * factor for step, factor in zip(spacing, factors, strict=True))
    means = sums.astype(np.float64) / np.maximum(shares, 1e-6)
    fields = _in_passes(means, known, [width_mm / side for side in block_mm])
    return [
        Correction(np.exp(-field).astype(np.float32), block_mm) if use else None
        for field, use in zip(fields, usable, strict=True)
    ]


def _in_passes(mean: Floats, known: NDArray[np.bool_], reach: list[float]) -> Floats:
    """:func:`log_fields`, repeated on the residual of strong fields."""
    total = np.zeros_like(mean)
    for _ in range(PASSES):
        found = log_fields(mean * np.exp(-total), known, reach)
        total += found
        if (
            max(
                field[place].std() for field, place in zip(found, known, strict=True) if place.any()
            )
            < STRONG
        ):
            break
    return total


def log_fields(mean: Floats, known: NDArray[np.bool_], reach: list[float]) -> Floats:
    """Logarithms of the fields of blocks of brain (float64 C X Y Z), of mean 0 over the known
    blocks.

    Args:
        mean: intensity of each block (float64 C X Y Z).
        known: blocks to estimate from (bool C X Y Z); others get the field of their neighbours.
        reach: standard deviation of the Gaussian, in blocks along X, Y, Z.
    """
    places = np.flatnonzero(known.any(axis=0))
    seen = known.reshape(len(known), -1)[:, places].astype(np.float64)  # C N
    logs = np.zeros_like(seen)
    for log, values, weight in zip(logs, mean.reshape(len(mean), -1)[:, places], seen, strict=True):
        if weight.any():  # relative to its mean: independent of the scanner's units
            values = values / values[weight > 0].mean()
            log[:] = np.log(np.maximum(values, DARKEST)) * weight
            log -= np.median(log[weight > 0]) * weight
    kernels = [_gaussian(side, sigma) for side, sigma in zip(mean.shape[1:], reach, strict=True)]
    spread = np.maximum(np.ptp(logs, axis=1), DEVIATION)
    anything = np.log(OUTLIERS) - seen.T @ np.log(spread)  # density of the outlier class
    centres, variances, shares = _begin(logs, seen)
    # The precision-weighted residual of each block, and its precision; 0 where there is no brain.
    sums = np.zeros((2, *mean.shape))
    filled = sums.reshape(2, len(mean), -1)
    own = seen / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    field, there = np.zeros(mean.shape), np.zeros_like(logs)  # there: the field at the blocks
    for _ in range(ROUNDS):
        left = (logs - there) * seen
        squares = left**2
        posterior = _posterior(left, squares, seen, centres, variances, shares, anything)  # K N
        count = posterior @ seen.T + 1e-6  # K C
        centres = posterior @ left.T / count
        variances = np.maximum(posterior @ squares.T / count - centres**2, 0) + DEVIATION**2
        shares = posterior.sum(axis=1) / posterior.sum()
        precision = (1 / variances).T @ posterior * seen  # C N: of each block's expected intensity
        expected = (centres / variances).T @ posterior * seen
        filled[0][:, places] = precision * logs - expected
        filled[1][:, places] = precision
        total, weight = _smoothed(sums, kernels)
        np.divide(total, np.maximum(weight, 1e-12, out=weight), out=field)
        there = field.reshape(logs.shape[0], -1)[:, places]
        middle = (there * own).sum(axis=1)
        field -= middle[:, None, None, None]
        there -= middle[:, None]
    return field


def _begin(logs: Floats, seen: Floats) -> tuple[Floats, Floats, Floats]:
    """Initial tissues: centres and variances (K C) and shares (K), from equal parts of the blocks
    in order of brightness.

    Brightness is measured along the first principal axis of the sequences.
    """
    scale = np.maximum(np.subtract(*np.percentile(logs, [85, 15], axis=1)), DEVIATION)
    scaled = np.clip(logs / scale[:, None], -2, 2) * seen
    scaled -= scaled.mean(axis=1, keepdims=True)
    brightness = np.linalg.eigh(scaled @ scaled.T)[1][:, -1] @ scaled
    parts = np.array_split(np.argsort(brightness, kind="stable"), TISSUES)
    centres = np.stack([np.median(logs[:, part], axis=1) for part in parts])
    variances = np.stack([logs[:, part].var(axis=1) for part in parts]) + DEVIATION**2
    return centres, variances, np.full(TISSUES, 1 / TISSUES)


def _posterior(
    left: Floats,
    squares: Floats,
    seen: Floats,
    centres: Floats,
    variances: Floats,
    shares: Floats,
    anything: Floats,
) -> Floats:
    """Probability of each tissue in each block (K N); the rest to 1 is the outlier class. Missing
    sequences are ignored: their ``left`` and ``seen`` are 0.
    """
    # Σ over the sequences of (left − centre)² / variance + log 2π·variance, as products.
    distance = (
        (1 / variances) @ squares
        - (2 * centres / variances) @ left
        + (centres**2 / variances + np.log(2 * np.pi * variances)) @ seen
    )
    score = np.log(np.maximum(shares, 1e-12))[:, None] - distance / 2
    top = np.maximum(score.max(axis=0), anything)
    score -= top
    tissue = np.exp(score, out=score)
    tissue /= tissue.sum(axis=0) + np.exp(anything - top)
    return tissue


def _smoothed(values: Floats, kernels: list[Floats]) -> Floats:
    """Gaussian sums along X, Y and Z (… X Y Z). Plane by plane: products of large matrices would
    use all threads of the matrix library, which cost more than they save.
    """
    x, y, z = kernels  # symmetric, so that each axis is multiplied where it lies
    return (x @ (y @ (values @ z)).swapaxes(-3, -2)).swapaxes(-3, -2)


def _gaussian(side: int, sigma: float) -> Floats:
    """Weight of every block for every other along an axis (side × side), not normalised: only
    ratios of sums are used.
    """
    apart = np.arange(side)[:, None] - np.arange(side)[None]
    weights: Floats = np.exp(-(apart**2) / (2 * sigma**2))
    return weights


def _is_positive(image: NDArray[np.float32], inside: NDArray[np.bool_]) -> bool:
    """Whether all but a hundredth of the brain is above 0."""
    return bool(np.count_nonzero(image < 0) < 0.01 * np.count_nonzero(inside))
