"""Brightness: a shift of z-scores."""

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.training.transforms.base import Transform, per_channel
from gliodistill.training.transforms.registry import register


@register("brightness")
class Brightness(Transform[NDArray[np.float64]]):
    """Shift the z-scores of each sequence by an amount of its own.

    Args:
        p: probability that a patch is transformed.
        shift: least and greatest shift in standard deviations of the brain; drawn evenly.
    """

    def __init__(self, *, p: float = 0.3, shift: tuple[float, float] = (-0.3, 0.3)) -> None:
        super().__init__(p=p)
        self.shift = shift

    def draw(self, channels: int, random: np.random.Generator) -> NDArray[np.float64]:
        """A shift for each channel."""
        return random.uniform(*self.shift, channels)

    def apply(
        self,
        values: Float[Tensor, "C X Y Z"],
        inside: Bool[Tensor, "C X Y Z"],
        drawn: NDArray[np.float64],
    ) -> Float[Tensor, "C X Y Z"]:
        """Add."""
        return values + per_channel(drawn)
