"""Augmentation by what other scanners and pipelines do: bias, contrast, thick slices,
misregistration, a cut field of view.

Drawn first and applied after, as all augmentation; each has a probability of 0 unless the recipe
asks for it, and draws nothing then.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.recipes.schema import AugmentationPart

KNOTS = np.linspace(-3.0, 3.0, 7)
"""Z-scores between which a drawn contrast curve is straight."""

ZERO = (2.0, 6.0)
"""Means of brains over their standard deviations; T2 and FLAIR rather less, T1 and T1CE rather
more.
"""


@dataclass(frozen=True)
class ScannerDraw:
    """What happened to each channel; None = nothing.

    Attributes:
        bias: C×3×3×3, logarithm of the gain at control points over the patch, linear in between.
        zero: C, how many standard deviations below the brain's mean its sequence has intensity 0:
        the gain multiplies what is above it.
        curve: C×7, the z-score that each of ``KNOTS`` becomes; increasing, so that brighter stays
        brighter.
        slices: the axis cut into slabs, and each channel's slab in voxels (1 = none).
        shift: C×3 voxels by which a channel lies beside the truth.
        cut: channel, axis, share of the patch (0 to 1) at which its field of view ends, and whether
            the low side is lost.
    """

    bias: NDArray[np.float64] | None = None
    zero: NDArray[np.float64] | None = None
    curve: NDArray[np.float64] | None = None
    slices: tuple[int, NDArray[np.float64]] | None = None
    shift: NDArray[np.float64] | None = None
    cut: tuple[int, int, float, bool] | None = None


def draw_scanner(part: AugmentationPart, channels: int, random: np.random.Generator) -> ScannerDraw:
    """Draw what another scanner would have done."""

    def happens(probability: float) -> bool:
        return probability > 0 and random.random() < probability

    bias = zero = curve = slices = shift = cut = None
    if happens(part.bias):
        bias, zero = (
            random.normal(0.0, random.uniform(0.0, 0.25), (channels, 3, 3, 3)),
            random.uniform(*ZERO, channels),
        )
    if happens(part.curve):
        steps = np.diff(KNOTS)[0] * np.exp(random.normal(0.0, 0.35, (channels, len(KNOTS) - 1)))
        curve = np.cumsum(np.concatenate([np.zeros((channels, 1)), steps], axis=1), axis=1)
        curve += (
            random.normal(0.0, 0.2, (channels, 1)) - curve[:, [len(KNOTS) // 2]]
        )  # the brain's mean stays near 0
    if happens(part.thick_slices):
        slices = (
            int(random.integers(3)),
            np.where(random.random(channels) < 0.5, random.uniform(2.0, 5.0, channels), 1.0),
        )
    if happens(part.misregistration):
        shift = random.uniform(-1.0, 1.0, (channels, 3))
    if happens(part.cut_field):
        cut = (
            int(random.integers(channels)),
            int(random.integers(3)),
            float(random.uniform(0.1, 0.9)),
            bool(random.random() < 0.5),
        )
    return ScannerDraw(bias, zero, curve, slices, shift, cut)


def apply_scanner(
    values: Float[Tensor, "C X Y Z"], inside: Bool[Tensor, "C X Y Z"], draw: ScannerDraw
) -> Float[Tensor, "C X Y Z"]:
    """Change z-scores as ``draw`` says.

    Args:
        values: z-scores.
        inside: where there is brain; elsewhere, and where the field of view is cut, the result is
        0.0.
        draw: of :func:`draw_scanner`.
    """
    result = values
    if draw.curve is not None:
        result = torch.stack(
            [_curved(channel, curve) for channel, curve in zip(result, draw.curve, strict=True)]
        )
    if draw.slices is not None:
        axis, slabs = draw.slices
        result = torch.stack(
            [
                _slabs(channel, axis, float(slab))
                for channel, slab in zip(result, slabs, strict=True)
            ]
        )
    if draw.shift is not None:
        result = torch.stack(
            [_shifted(channel, shift) for channel, shift in zip(result, draw.shift, strict=True)]
        )
    if draw.bias is not None and draw.zero is not None:
        field = torch.from_numpy(draw.bias.astype(np.float32))[None]
        gain = F.interpolate(field, size=result.shape[1:], mode="trilinear", align_corners=True)[0]
        zero = torch.from_numpy(draw.zero.astype(np.float32))[:, None, None, None]
        result = torch.addcmul(-zero, result + zero, gain.exp_())
    if result is not values:
        result = torch.where(inside, result, 0.0)
    if draw.cut is not None:
        channel, axis, share, low = draw.cut
        at = round(share * result.shape[1 + axis])
        result = result.clone()
        result[channel].movedim(axis, 0)[slice(0, at) if low else slice(at, None)] = 0.0
    return result


def _curved(channel: Float[Tensor, "X Y Z"], curve: NDArray[np.float64]) -> Float[Tensor, "X Y Z"]:
    """Piecewise linear, straight on beyond the outer knots."""
    step = float(KNOTS[1] - KNOTS[0])
    values, slopes = (
        torch.from_numpy(v.astype(np.float32)) for v in (curve, np.diff(curve) / step)
    )
    left = ((channel - float(KNOTS[0])) / step).floor().clamp(0, len(KNOTS) - 2).long()
    return values[left] + slopes[left] * (channel - (left * step + float(KNOTS[0])))


def _slabs(channel: Float[Tensor, "X Y Z"], axis: int, thickness: float) -> Float[Tensor, "X Y Z"]:
    """Means of slabs along an axis, linear between their middles."""
    count = max(2, round(channel.shape[axis] / thickness))
    if count >= channel.shape[axis]:
        return channel
    x, y, z = (count if number == axis else side for number, side in enumerate(channel.shape))
    thick = F.adaptive_avg_pool3d(channel[None, None], (x, y, z))
    return F.interpolate(thick, size=channel.shape, mode="trilinear", align_corners=False)[0, 0]


def _shifted(channel: Float[Tensor, "X Y Z"], shift: NDArray[np.float64]) -> Float[Tensor, "X Y Z"]:
    """Moved by up to a voxel along each axis, linear between voxels; the edge continues."""
    result = channel
    for axis, amount in enumerate(shift):
        step = 1 if amount > 0 else -1
        index = torch.arange(result.shape[axis]).sub(step).clamp(0, result.shape[axis] - 1)
        result = torch.lerp(result, result.index_select(axis, index), abs(float(amount)))
    return result
