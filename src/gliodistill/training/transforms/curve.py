"""Curve: another contrast between tissues, as another protocol has it."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.training.transforms.base import Transform
from gliodistill.training.transforms.registry import register

KNOTS = np.linspace(-3.0, 3.0, 7)
"""Z-scores between which a drawn curve is straight."""


@register("curve")
class Curve(Transform[NDArray[np.float64]]):
    """Map the z-scores of each sequence by an increasing curve of its own: brighter stays brighter.

    The curve is straight between ``KNOTS`` and goes on straight beyond them; the brain's mean stays
    near 0.

    Args:
        p: probability that a patch is transformed.
        steepness: standard deviation of the logarithm of the slope between two knots.
        shift: standard deviation of where the brain's mean goes.
    """

    def __init__(self, *, p: float = 0.0, steepness: float = 0.35, shift: float = 0.2) -> None:
        super().__init__(p=p)
        self.steepness = steepness
        self.shift = shift

    def draw(self, channels: int, random: np.random.Generator) -> NDArray[np.float64]:
        """C×7: the z-score that each of ``KNOTS`` becomes, in each channel."""
        steps = np.diff(KNOTS)[0] * np.exp(
            random.normal(0.0, self.steepness, (channels, len(KNOTS) - 1))
        )
        curve = np.cumsum(np.concatenate([np.zeros((channels, 1)), steps], axis=1), axis=1)
        curve += random.normal(0.0, self.shift, (channels, 1)) - curve[:, [len(KNOTS) // 2]]
        return curve

    def apply(
        self,
        values: Float[Tensor, "C X Y Z"],
        inside: Bool[Tensor, "C X Y Z"],
        drawn: NDArray[np.float64],
    ) -> Float[Tensor, "C X Y Z"]:
        """Map every channel."""
        return torch.stack([_curved(c, curve) for c, curve in zip(values, drawn, strict=True)])


def _curved(channel: Float[Tensor, "X Y Z"], curve: NDArray[np.float64]) -> Float[Tensor, "X Y Z"]:
    """Piecewise linear, straight on beyond the outer knots."""
    step = float(KNOTS[1] - KNOTS[0])
    values, slopes = (
        torch.from_numpy(v.astype(np.float32)) for v in (curve, np.diff(curve) / step)
    )
    left = ((channel - float(KNOTS[0])) / step).floor().clamp(0, len(KNOTS) - 2).long()
    return values[left] + slopes[left] * (channel - (left * step + float(KNOTS[0])))
