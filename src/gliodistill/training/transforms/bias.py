"""Bias field: intensities times a smooth gain."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.training.transforms.base import Transform, per_channel
from gliodistill.training.transforms.registry import register


@dataclass(frozen=True)
class BiasDraw:
    """A bias field in each channel.

    Attributes:
        field: C×3×3×3, logarithm of the gain at control points over the patch.
        zero: C, standard deviations below the brain's mean at which intensity 0 lies.
    """

    field: NDArray[np.float64]
    zero: NDArray[np.float64]


@register("bias")
class Bias(Transform[BiasDraw]):
    """Multiply the intensities of each sequence by a smooth gain of its own, as coils do.

    The logarithm of the gain is drawn at 3×3×3 control points over the patch, linear in between.
    z-scores do not define intensity 0, which the gain does not change: it is drawn too.

    Args:
        p: probability that a patch is transformed.
        deviation: least and greatest standard deviation of the gain's logarithm; drawn evenly.
        zero: how many standard deviations below the brain's mean intensity 0 lies, least and
            greatest; drawn evenly, for each sequence.
    """

    def __init__(
        self,
        *,
        p: float = 0.0,
        deviation: tuple[float, float] = (0.0, 0.25),
        zero: tuple[float, float] = (2.0, 6.0),
    ) -> None:
        super().__init__(p=p)
        self.deviation = deviation
        self.zero = zero

    def draw(self, channels: int, random: np.random.Generator) -> BiasDraw:
        """Control points and intensity 0, for each channel."""
        field = random.normal(0.0, random.uniform(*self.deviation), (channels, 3, 3, 3))
        return BiasDraw(field, random.uniform(*self.zero, channels))

    def apply(
        self,
        values: Float[Tensor, "C X Y Z"],
        inside: Bool[Tensor, "C X Y Z"],
        drawn: BiasDraw,
    ) -> Float[Tensor, "C X Y Z"]:
        """Multiply what is above intensity 0."""
        field = torch.from_numpy(drawn.field.astype(np.float32))[None]
        gain = F.interpolate(field, size=values.shape[1:], mode="trilinear", align_corners=True)[0]
        zero = per_channel(drawn.zero)
        return torch.addcmul(-zero, values + zero, gain.exp_())
