"""DIST: the student matches relations of the teacher's probabilities, not their values."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gliodistill.distillation.pairing import FLOOR, wide
from gliodistill.distillation.registry import register_loss
from gliodistill.ranks import count, over_ranks


@register_loss("dist", compares="logits")
def dist(
    student: Float[Tensor, "B K X Y Z"],
    teacher: Float[Tensor, "B K X Y Z"],
    *,
    outputs: Literal["regions", "classes"] = "regions",
    temperature: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
) -> Float[Tensor, ""]:
    r"""β · (1 − Pearson over classes) + γ · (1 − Pearson over voxels) (DIST, Huang et al. 2022).

    Pearson's ρ compares the two networks' probabilities, so that a less confident student is not
    penalised:

    * inter-class (β): ρ over the K classes of a voxel, mean over voxels and batch;
    * intra-class (γ): ρ over all voxels *of the batch* of one class, mean over classes. Batch and
      voxels are one axis, as in the authors' segmentation code.

    ``regions``: only the γ term, on sigmoids; β has no effect. Our reading: [p, 1 − p] of one
    region correlates with any other such pair to ±1, and three overlapping regions are no
    distribution: their ρ at a background voxel (most of the brain) compares the order of three
    values near 0.

    The authors' classification code multiplies by T², their segmentation code has no T. It is not
    multiplied here: ρ is invariant to the scale 1/T, and so is the gradient of small logits.

    1 − ρ is computed as half the squared distance of the centred, normalised vectors: equal, never
    negative, and 0 for two constants (½ for one). A constant channel of the teacher (an absent
    class) has no gradient. Norms below 1e-4 count as that. Computed in float32 or better, also
    under autocast. No gradient reaches the teacher.

    Args:
        student: logits of the student.
        teacher: logits of the teacher, on the same grid.
        outputs: kind of the K channels.
        temperature: T > 0 of the soft-max or sigmoid.
        beta: weight of the relation between classes; the authors' segmentation default.
        gamma: weight of the relation within a class; the same default.
    """
    with torch.autocast(student.device.type, enabled=False):
        q, p = (_probabilities(x, outputs, temperature) for x in (student, teacher.detach()))
        loss = gamma * _unlikeness(q.transpose(0, 1).flatten(1), p.transpose(0, 1).flatten(1), True)
        return loss + beta * _unlikeness(q, p) if outputs == "classes" else loss


def _probabilities(logits: Tensor, outputs: str, temperature: float) -> Tensor:
    soft = wide(logits) / temperature
    return soft.softmax(1) if outputs == "classes" else soft.sigmoid()


def _unlikeness(q: Tensor, p: Tensor, joint: bool = False) -> Tensor:
    """1 − ρ over dimension 1 (``joint``: of all ranks), mean over the others."""

    def total(x: Tensor) -> Tensor:
        summed = x.sum(1, keepdim=True)
        return over_ranks(summed) if joint else summed

    def unit(x: Tensor) -> Tensor:
        centred = x - total(x) / (x.shape[1] * (count() if joint else 1))
        return centred * total(centred.square()).clamp_min(FLOOR**2).rsqrt()

    return total((unit(q) - unit(p)).square()).mean() / 2
