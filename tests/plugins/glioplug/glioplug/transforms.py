"""Sequences turned negative."""

import numpy as np
from torch import Tensor

import gliodistill as gd


class PlugTransform(gd.transforms.Transform[float]):
    """Multiply z-scores by −1 or less.

    Args:
        p: probability that a patch is transformed.
        most: largest factor; drawn evenly from 1 on.
    """

    def __init__(self, *, p: float = 0.0, most: float = 2.0) -> None:
        super().__init__(p=p)
        self.most = most

    def draw(self, channels: int, random: np.random.Generator) -> float:
        """The factor."""
        return float(random.uniform(1.0, self.most))

    def apply(self, values: Tensor, inside: Tensor, drawn: float) -> Tensor:
        """Multiply."""
        return -drawn * values
