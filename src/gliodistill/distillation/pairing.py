"""Matching of the tensors of two networks: precision, stages, grids."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gliodistill.errors import RecipeError

FLOOR = 1e-4
"""The least size (norm or standard deviation) that a loss divides by.

Correlations and cosines are scale-invariant, so their gradient is unbounded near 0; here it is at
most 10⁴. Probabilities and features of networks in training are far above this size.
"""


def wide(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The same numbers in float32 or better, since bfloat16 cannot sum millions of voxels."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def paired(
    student: Sequence[Float[Tensor, "B _ _ _ _"]],
    teacher: Sequence[Float[Tensor, "B _ _ _ _"]],
    loss: str,
) -> list[tuple[Tensor, Tensor]]:
    """The stages of both networks, one to one, in float32 or better.

    Args:
        student: features of the student, one tensor per stage.
        teacher: features of the teacher, same stages in the same order.
        loss: its name, for errors.

    Raises:
        RecipeError: no stages, or different numbers.
    """
    if not student or len(student) != len(teacher):
        raise RecipeError(
            f"{loss} pairs stages one to one",
            field="taps",
            got=f"{len(student)} and {len(teacher)} stages",
        )
    return [(wide(s), wide(t)) for s, t in zip(student, teacher, strict=True)]


def on_one_grid(
    a: Float[Tensor, "B _ _ _ _"], b: Float[Tensor, "B _ _ _ _"]
) -> tuple[Tensor, Tensor]:
    """Both, average-pooled to the coarser side of each axis where their grids differ."""
    grid = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]), min(a.shape[4], b.shape[4]))
    pooled = (
        x if tuple(x.shape[2:]) == grid else functional.adaptive_avg_pool3d(x, grid) for x in (a, b)
    )
    first, second = pooled
    return first, second


def check_widths(
    student: Float[Tensor, "B _ _ _ _"], teacher: Float[Tensor, "B _ _ _ _"], loss: str
) -> None:
    """Raise RecipeError if two stages differ in their number of channels."""
    if student.shape[1] != teacher.shape[1]:
        raise RecipeError(
            f"{loss} compares stages channel by channel",
            field="taps",
            got=f"{student.shape[1]} and {teacher.shape[1]} channels",
            expected="equal numbers",
            hint="give both networks stages of the same width, or choose others",
        )
