"""Cut field of view: nothing beyond a plane, in one sequence."""

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from gliodistill.training.transforms.base import Transform
from gliodistill.training.transforms.registry import register


@register("cut_field")
class CutField(Transform[tuple[int, int, float, bool]]):
    """Set one sequence to 0.0 on one side of a plane across the patch.

    Args:
        p: probability that a patch is transformed.
        at: where the plane lies, as least and greatest share of the patch's side; drawn evenly.
    """

    def __init__(self, *, p: float = 0.0, at: tuple[float, float] = (0.1, 0.9)) -> None:
        super().__init__(p=p)
        self.at = at

    def draw(self, channels: int, random: np.random.Generator) -> tuple[int, int, float, bool]:
        """Channel, axis, share of the side, and whether the low side is lost."""
        return (
            int(random.integers(channels)),
            int(random.integers(3)),
            float(random.uniform(*self.at)),
            bool(random.random() < 0.5),
        )

    def apply(
        self,
        values: Float[Tensor, "C X Y Z"],
        inside: Bool[Tensor, "C X Y Z"],
        drawn: tuple[int, int, float, bool],
    ) -> Float[Tensor, "C X Y Z"]:
        """Cut."""
        channel, axis, share, low = drawn
        at = round(share * values.shape[1 + axis])
        result = values.clone()
        result[channel].movedim(axis, 0)[slice(0, at) if low else slice(at, None)] = 0.0
        return result
