"""Thick slices: slabs along one axis."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.training.transforms.base import Transform
from gliodistill.training.transforms.registry import register


@dataclass(frozen=True)
class ThickSlicesDraw:
    """Thick slices of each channel.

    Attributes:
        axis: across which they lie.
        spacing: C, from one to the next, in voxels; 1 leaves the channel as it is.
        gap: share of the spacing that is not scanned.
    """

    axis: int
    spacing: NDArray[np.float64]
    gap: float = 0.0


@register("thick_slices")
class ThickSlices(Transform[ThickSlicesDraw]):
    """Average slabs along one axis of some sequences, and interpolate between their middles.

    Args:
        p: probability that a patch is transformed.
        voxels: least and greatest distance between slices; drawn evenly, for each sequence.
        sequences: share of the sequences that have thick slices.
        every: probability that all sequences of a patch have thick slices, as in hospital studies.
        axes: along which slices may lie (0 sagittal, 1 coronal, 2 axial); one is drawn.
        gap: least and greatest share of the distance that is a gap between slices, below 1; drawn
            evenly.
    """

    def __init__(
        self,
        *,
        p: float = 0.0,
        voxels: tuple[float, float] = (2.0, 5.0),
        sequences: float = 0.5,
        every: float = 0.0,
        axes: tuple[int, ...] = (0, 1, 2),
        gap: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__(p=p)
        self.voxels = voxels
        self.sequences = sequences
        self.every = every
        self.axes = axes
        self.gap = gap

    def draw(self, channels: int, random: np.random.Generator) -> ThickSlicesDraw:
        """Draw the axis, each channel's slices and the gap."""
        axis = self.axes[int(random.integers(len(self.axes)))]
        thick = random.random(channels) < self.sequences
        spacing = random.uniform(*self.voxels, channels)
        # Options that are off draw nothing, so that older recipes see the same patches.
        if self.every and random.random() < self.every:
            thick[:] = True
        gap = float(random.uniform(*self.gap)) if self.gap[1] else 0.0
        return ThickSlicesDraw(axis, np.where(thick, spacing, 1.0), gap)

    def apply(
        self,
        values: Float[Tensor, "C X Y Z"],
        inside: Bool[Tensor, "C X Y Z"],
        drawn: ThickSlicesDraw,
    ) -> Float[Tensor, "C X Y Z"]:
        """Average and interpolate."""
        return torch.stack(
            [
                _slabs(channel, drawn.axis, float(spacing), drawn.gap)
                for channel, spacing in zip(values, drawn.spacing, strict=True)
            ]
        )


def _slabs(
    channel: Float[Tensor, "X Y Z"], axis: int, spacing: float, gap: float
) -> Float[Tensor, "X Y Z"]:
    """Means of slabs along an axis, linear between their middles."""
    count = max(2, round(channel.shape[axis] / spacing))
    if count >= channel.shape[axis]:
        return channel
    x, y, z = (count if number == axis else side for number, side in enumerate(channel.shape))
    thick = (
        _means_of_middles(channel, axis, count, gap)
        if gap
        else F.adaptive_avg_pool3d(channel[None, None], (x, y, z))[0, 0]
    )
    size = channel.shape
    return F.interpolate(thick[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]


def _means_of_middles(
    channel: Float[Tensor, "X Y Z"], axis: int, count: int, gap: float
) -> Float[Tensor, "_ _ _"]:
    """Means of the middle of each of ``count`` slabs, without a share ``gap`` of it: differences of
    the integral along the axis.
    """
    side = channel.shape[axis]
    integral = F.pad(channel.movedim(axis, -1).cumsum(-1), (1, 0))
    middles = (torch.arange(count) + 0.5) * (side / count)
    half = (1 - gap) * side / count / 2

    def at(places: Tensor) -> Tensor:
        left = places.floor().clamp(0, side - 1)
        index = left.long()
        return torch.lerp(integral[..., index], integral[..., index + 1], places - left)

    return ((at(middles + half) - at(middles - half)) / (2 * half)).movedim(-1, axis)
