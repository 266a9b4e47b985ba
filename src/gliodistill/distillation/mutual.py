"""Mutual learning: divergence between two jointly trained networks."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from gliodistill.distillation.soft_target import soft_target


def mutual(
    first: Float[Tensor, "B K X Y Z"],
    second: Float[Tensor, "B K X Y Z"],
    *,
    outputs: Literal["regions", "classes"] = "regions",
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    r"""T² · (KL(second ‖ first) + KL(first ‖ second)), each towards the other's *detached* output
    (DML, Zhang et al. 2018).

    The sum, because each half has a gradient for one network only: the gradient of the first
    network is that of ``soft_target(first, second)``, of the second that of ``soft_target(second,
    first)``. The paper updates them in turn, the second seeing the first's new output; here both
    see the outputs of the same step, in one backward pass. DML has no temperature (T = 1).

    It is 0 if both networks agree, even on wrong outputs, so each needs its own segmentation loss.

    Args:
        first: logits of one network.
        second: logits of the other, on the same grid.
        outputs: kind of the K channels.
        temperature: T > 0.
    """
    one = soft_target(first, second, outputs=outputs, temperature=temperature)
    other = soft_target(second, first, outputs=outputs, temperature=temperature)
    return one + other
