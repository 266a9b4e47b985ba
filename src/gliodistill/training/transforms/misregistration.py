"""Misregistration: sequences shifted against the reference."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.training.transforms.base import Transform
from gliodistill.training.transforms.registry import register


@register("misregistration")
class Misregistration(Transform[NDArray[np.float64]]):
    """Move each sequence by a part of a voxel along each axis, linear between voxels.

    Args:
        p: probability that a patch is transformed.
        voxels: largest shift along each axis, at most 1; drawn evenly to both sides.
    """

    def __init__(self, *, p: float = 0.0, voxels: float = 1.0) -> None:
        super().__init__(p=p)
        self.voxels = voxels

    def draw(self, channels: int, random: np.random.Generator) -> NDArray[np.float64]:
        """C×3 voxels."""
        return random.uniform(-self.voxels, self.voxels, (channels, 3))

    def apply(
        self,
        values: Float[Tensor, "C X Y Z"],
        inside: Bool[Tensor, "C X Y Z"],
        drawn: NDArray[np.float64],
    ) -> Float[Tensor, "C X Y Z"]:
        """Move every channel."""
        return torch.stack([_shifted(c, shift) for c, shift in zip(values, drawn, strict=True)])


def _shifted(channel: Float[Tensor, "X Y Z"], shift: NDArray[np.float64]) -> Float[Tensor, "X Y Z"]:
    """Moved by up to a voxel along each axis, linear between voxels; the edge continues."""
    result = channel
    for axis, amount in enumerate(shift):
        step = 1 if amount > 0 else -1
        index = torch.arange(result.shape[axis]).sub(step).clamp(0, result.shape[axis] - 1)
        result = torch.lerp(result, result.index_select(axis, index), abs(float(amount)))
    return result
