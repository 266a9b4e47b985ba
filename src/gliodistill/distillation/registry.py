"""Registry of distillation losses, the names of a recipe's ``losses``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import Tensor

from gliodistill.errors import RecipeError
from gliodistill.registry import Registry, first_line

Function = TypeVar("Function", bound=Callable[..., Tensor])
SUPPLIED = ("outputs", "regions", "known")
"""Keyword arguments supplied by the method; all others are options of the recipe."""


@dataclass(frozen=True)
class DistillationLoss:
    """A loss between student and teacher.

    Attributes:
        function: ``(student, teacher, *, option=default, …)`` → scalar, not weighted. A keyword
            ``outputs`` gets the kind of the logits, ``regions`` the reference (B 3 X Y Z),
            ``known`` where it is known (as in :class:`~gliodistill.methods.Batch`).
        compares: ``logits`` (B K X Y Z each) or ``features`` (a list of stages each).
        same_width: whether compared stages need equal numbers of channels.
    """

    function: Callable[..., Tensor]
    compares: Literal["logits", "features"]
    same_width: bool = False


LOSSES: Registry[DistillationLoss] = Registry(
    "distillation loss",
    "gliodistill.losses",
    RecipeError,
    summary=lambda loss: first_line(loss.function),
)
"""Name → distillation loss, ours and those of other packages."""


def register_loss(
    name: str, *, compares: Literal["logits", "features"], same_width: bool = False
) -> Callable[[Function], Function]:
    """Decorator that adds a distillation loss under ``name``.

    Args:
        name: its name in recipes.
        compares: ``logits`` or ``features``.
        same_width: whether it compares features channel by channel.

    Raises:
        ValueError: the name is taken (a programmer's error).

    Example:
        >>> import torch
        >>> @register_loss("squared_example", compares="logits")
        ... def squared(student, teacher):
        ...     return (student - teacher.detach()).square().mean()
        >>> float(LOSSES.find("squared_example").function(torch.ones(1), torch.zeros(1)))
        1.0
    """

    def keep(function: Function) -> Function:
        LOSSES.register(name, origin=function)(DistillationLoss(function, compares, same_width))
        return function

    return keep
