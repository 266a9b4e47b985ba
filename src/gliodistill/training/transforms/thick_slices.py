"""Thick slices: slabs along one axis."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.training.transforms.base import Transform
from gliodistill.training.transforms.registry import register


@register("thick_slices")
class ThickSlices(Transform[tuple[int, NDArray[np.float64]]]):
    """Average slabs along one axis of some sequences, and interpolate between their middles.

    Args:
        p: probability that a patch is transformed.
        voxels: least and greatest thickness of a slab; drawn evenly.
        sequences: share of the sequences that have thick slices.
    """

    def __init__(
        self, *, p: float = 0.0, voxels: tuple[float, float] = (2.0, 5.0), sequences: float = 0.5
    ) -> None:
        super().__init__(p=p)
        self.voxels = voxels
        self.sequences = sequences

    def draw(self, channels: int, random: np.random.Generator) -> tuple[int, NDArray[np.float64]]:
        """The axis, and each channel's slab in voxels (1 = none)."""
        axis = int(random.integers(3))
        thick = random.random(channels) < self.sequences
        return axis, np.where(thick, random.uniform(*self.voxels, channels), 1.0)

    def apply(
        self,
        values: Float[Tensor, "C X Y Z"],
        inside: Bool[Tensor, "C X Y Z"],
        drawn: tuple[int, NDArray[np.float64]],
    ) -> Float[Tensor, "C X Y Z"]:
        """Average and interpolate."""
        axis, slabs = drawn
        return torch.stack(
            [_slabs(c, axis, float(slab)) for c, slab in zip(values, slabs, strict=True)]
        )


def _slabs(channel: Float[Tensor, "X Y Z"], axis: int, thickness: float) -> Float[Tensor, "X Y Z"]:
    """Means of slabs along an axis, linear between their middles."""
    count = max(2, round(channel.shape[axis] / thickness))
    if count >= channel.shape[axis]:
        return channel
    x, y, z = (count if number == axis else side for number, side in enumerate(channel.shape))
    thick = F.adaptive_avg_pool3d(channel[None, None], (x, y, z))
    return F.interpolate(thick, size=channel.shape, mode="trilinear", align_corners=False)[0, 0]
