"""Contrast: z-scores times a factor."""

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.training.transforms.base import Transform, per_channel
from gliodistill.training.transforms.registry import register


@register("contrast")
class Contrast(Transform[NDArray[np.float64]]):
    """Multiply the z-scores of each sequence by a factor of its own.

    Args:
        p: probability that a patch is transformed.
        factor: least and greatest factor; drawn evenly.
    """

    def __init__(self, *, p: float = 0.3, factor: tuple[float, float] = (0.75, 1.25)) -> None:
        super().__init__(p=p)
        self.factor = factor

    def draw(self, channels: int, random: np.random.Generator) -> NDArray[np.float64]:
        """A factor for each channel."""
        return random.uniform(*self.factor, channels)

    def apply(
        self,
        values: Float[Tensor, "C X Y Z"],
        inside: Bool[Tensor, "C X Y Z"],
        drawn: NDArray[np.float64],
    ) -> Float[Tensor, "C X Y Z"]:
        """Multiply."""
        return values * per_channel(drawn)
