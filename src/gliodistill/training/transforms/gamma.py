"""Gamma: the grey scale bent, its ends kept."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.training.transforms.base import Transform
from gliodistill.training.transforms.registry import register


@register("gamma")
class Gamma(Transform[NDArray[np.float64]]):
    """Raise each sequence, scaled to [0, 1] by its least and greatest value in the patch, to a
    power of its own, and scale it back.

    Args:
        p: probability that a patch is transformed.
        exponent: least and greatest exponent; below 1 brightens; drawn evenly.
    """

    def __init__(self, *, p: float = 0.2, exponent: tuple[float, float] = (0.7, 1.5)) -> None:
        super().__init__(p=p)
        self.exponent = exponent

    def draw(self, channels: int, random: np.random.Generator) -> NDArray[np.float64]:
        """An exponent for each channel."""
        return random.uniform(*self.exponent, channels)

    def apply(
        self,
        values: Float[Tensor, "C X Y Z"],
        inside: Bool[Tensor, "C X Y Z"],
        drawn: NDArray[np.float64],
    ) -> Float[Tensor, "C X Y Z"]:
        """Bend every channel."""
        return torch.stack([_gamma(c, float(g)) for c, g in zip(values, drawn, strict=True)])


def _gamma(channel: Float[Tensor, "X Y Z"], gamma: float) -> Float[Tensor, "X Y Z"]:
    low, high = channel.min(), channel.max()
    span = (high - low).clamp_min(1e-6)
    return ((channel - low) / span) ** gamma * span + low
