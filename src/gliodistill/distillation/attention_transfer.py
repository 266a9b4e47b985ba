"""Attention transfer: the student's attention maps match the teacher's."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gliodistill.distillation.pairing import on_one_grid, paired
from gliodistill.distillation.registry import register_loss


@register_loss("attention_transfer", compares="features")
def attention_transfer(
    student: Sequence[Float[Tensor, "B _ _ _ _"]], teacher: Sequence[Float[Tensor, "B _ _ _ _"]]
) -> Float[Tensor, ""]:
    r"""Squared distance between normalised attention maps, summed over stages, mean over the batch.

    Zagoruyko & Komodakis 2017, eq. 2 with p = 2: a stage's map is :math:`A = \text{mean}_c F_c^2`,
    flattened and divided by its L2 norm. Per stage and sample the loss is :math:`\lVert \hat A_S -
    \hat A_T \rVert_2^2`, in [0, 2]. The paper writes the norm itself, times β/2; the authors' code
    squares it and takes the *mean* over positions, which shrinks with the grid; here it is squared
    and *summed* over positions, so that a stage has the same weight at any patch size.

    Channel counts may differ. Where grids differ, both maps are average-pooled to the coarser side
    of each axis before normalising. Computed in float32 or better, also under autocast. No gradient
    reaches the teacher.

    Args:
        student: features ``B C X Y Z`` of the student, one tensor per stage.
        teacher: features of the teacher, same stages in the same order.

    Raises:
        RecipeError: no stages, or different numbers.

    Example:
        >>> import torch
        >>> student, teacher = torch.rand(1, 8, 4, 4, 4), torch.rand(1, 16, 4, 4, 4)
        >>> 0 < float(attention_transfer([student], [teacher])) < 2
        True
    """
    pairs = paired(student, teacher, "attention transfer")
    with torch.autocast(student[0].device.type, enabled=False):
        return torch.stack([_distance(s, t.detach()) for s, t in pairs]).sum()


def _distance(student: Tensor, teacher: Tensor) -> Tensor:
    a, b = on_one_grid(_energy(student), _energy(teacher))
    return (
        (functional.normalize(a.flatten(1)) - functional.normalize(b.flatten(1)))
        .square()
        .sum(1)
        .mean()
    )


def _energy(features: Tensor) -> Tensor:
    return features.square().mean(1, keepdim=True)
