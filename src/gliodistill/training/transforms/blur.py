"""Blur: smoothing by a Gaussian."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.training.transforms.base import Transform
from gliodistill.training.transforms.registry import register


@register("blur")
class Blur(Transform[NDArray[np.float64]]):
    """Smooth each sequence by a Gaussian of its own, cut off at two voxels.

    Args:
        p: probability that a patch is transformed.
        sigma: least and greatest standard deviation in voxels, above 0; drawn evenly.
    """

    def __init__(self, *, p: float = 0.15, sigma: tuple[float, float] = (0.3, 1.0)) -> None:
        super().__init__(p=p)
        self.sigma = sigma

    def draw(self, channels: int, random: np.random.Generator) -> NDArray[np.float64]:
        """A sigma for each channel."""
        return random.uniform(*self.sigma, channels)

    def apply(
        self,
        values: Float[Tensor, "C X Y Z"],
        inside: Bool[Tensor, "C X Y Z"],
        drawn: NDArray[np.float64],
    ) -> Float[Tensor, "C X Y Z"]:
        """Convolve, axis by axis."""
        return torch.stack([_blur(c, float(s)) for c, s in zip(values, drawn, strict=True)])


def _blur(channel: Float[Tensor, "X Y Z"], sigma: float) -> Float[Tensor, "X Y Z"]:
    steps = torch.arange(-2, 3, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = kernel / kernel.sum()
    result = channel[None, None]
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], padding[axis] = 5, 2
        result = F.conv3d(result, kernel.view(shape), padding=padding)
    return result[0, 0]
