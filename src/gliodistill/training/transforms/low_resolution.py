"""Low resolution: sampled coarsely and back."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.training.transforms.base import Transform
from gliodistill.training.transforms.registry import register


@register("low_resolution")
class LowResolution(Transform[NDArray[np.float64]]):
    """Sample each sequence on a coarser grid of its own (nearest voxel) and interpolate back.

    Args:
        p: probability that a patch is transformed.
        zoom: least and greatest share of the voxels along each axis, in (0, 1]; drawn evenly.
    """

    def __init__(self, *, p: float = 0.15, zoom: tuple[float, float] = (0.5, 1.0)) -> None:
        super().__init__(p=p)
        self.zoom = zoom

    def draw(self, channels: int, random: np.random.Generator) -> NDArray[np.float64]:
        """A zoom for each channel."""
        return random.uniform(*self.zoom, channels)

    def apply(
        self,
        values: Float[Tensor, "C X Y Z"],
        inside: Bool[Tensor, "C X Y Z"],
        drawn: NDArray[np.float64],
    ) -> Float[Tensor, "C X Y Z"]:
        """Sample down and up."""
        return torch.stack(
            [_low_resolution(c, float(z)) for c, z in zip(values, drawn, strict=True)]
        )


def _low_resolution(channel: Float[Tensor, "X Y Z"], zoom: float) -> Float[Tensor, "X Y Z"]:
    sides = [max(2, round(side * zoom)) for side in channel.shape]
    small = F.interpolate(channel[None, None], size=sides, mode="nearest-exact")
    return F.interpolate(small, size=channel.shape, mode="trilinear")[0, 0]
