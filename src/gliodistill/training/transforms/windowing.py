"""Windowing: images that were saved with few grey levels."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.training.transforms.base import Transform, per_channel
from gliodistill.training.transforms.registry import register


@dataclass(frozen=True)
class WindowingDraw:
    """A window in each channel.

    Attributes:
        low: C, z-score that becomes the darkest grey level.
        high: C, z-score that becomes the brightest.
        levels: C, number of grey levels.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    levels: NDArray[np.float64]


@register("windowing")
class Windowing(Transform[WindowingDraw]):
    """Clip each sequence to a window of its own and round it to a few grey levels, as 8-bit exports
    do.

    Args:
        p: probability that a patch is transformed.
        low: lower end of the window in standard deviations of the brain, least and greatest; drawn
            evenly.
        high: upper end of the window, least and greatest; drawn evenly.
        levels: least and greatest number of grey levels within the window; drawn evenly.
    """

    def __init__(
        self,
        *,
        p: float = 0.0,
        low: tuple[float, float] = (-4.0, -1.5),
        high: tuple[float, float] = (1.5, 5.0),
        levels: tuple[float, float] = (24.0, 128.0),
    ) -> None:
        super().__init__(p=p)
        self.low = low
        self.high = high
        self.levels = levels

    def draw(self, channels: int, random: np.random.Generator) -> WindowingDraw:
        """Draw a window for each channel."""
        return WindowingDraw(
            random.uniform(*self.low, channels),
            random.uniform(*self.high, channels),
            np.rint(random.uniform(*self.levels, channels)),
        )

    def apply(
        self,
        values: Float[Tensor, "C X Y Z"],
        inside: Bool[Tensor, "C X Y Z"],
        drawn: WindowingDraw,
    ) -> Float[Tensor, "C X Y Z"]:
        """Clip and round."""
        low, high = per_channel(drawn.low), per_channel(drawn.high)
        step = (high - low) / per_channel(drawn.levels - 1)
        grey = ((values - low) / step).round_().clamp_min_(0.0)
        return torch.minimum(grey.mul_(step).add_(low), high)
