"""Noise: Gaussian, equal in all sequences."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gliodistill.training.transforms.base import Transform
from gliodistill.training.transforms.registry import register


@register("noise")
class Noise(Transform[tuple[float, int]]):
    """Add Gaussian noise of one standard deviation to all sequences.

    Args:
        p: probability that a patch is transformed.
        deviation: least and greatest standard deviation, in those of the brain; drawn evenly.
    """

    def __init__(self, *, p: float = 0.15, deviation: tuple[float, float] = (0.0, 0.25)) -> None:
        super().__init__(p=p)
        self.deviation = deviation

    def draw(self, channels: int, random: np.random.Generator) -> tuple[float, int]:
        """Standard deviation, and the seed of the noise."""
        return float(random.uniform(*self.deviation)), int(random.integers(2**31))

    def apply(
        self,
        values: Float[Tensor, "C X Y Z"],
        inside: Bool[Tensor, "C X Y Z"],
        drawn: tuple[float, int],
    ) -> Float[Tensor, "C X Y Z"]:
        """Add the noise of that seed."""
        deviation, seed = drawn
        noise = np.random.Generator(np.random.SFC64(seed)).standard_normal(
            tuple(values.shape), dtype=np.float32
        )
        return values + deviation * torch.from_numpy(noise)
