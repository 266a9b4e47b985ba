"""Segmentation losses by name: what a recipe may ask for under ``segmentation_loss``."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from jaxtyping import Float
from torch import Tensor

from gliodistill.errors import RecipeError
from gliodistill.methods.segmentation.outputs import Outputs
from gliodistill.recipes.options import fitting
from gliodistill.registry import Registry

Function = TypeVar("Function", bound=Callable[..., Tensor])
DEFAULT = "dice_cross_entropy"


def _check(name: str, function: Any) -> None:
    if not callable(function):
        raise ValueError(f"segmentation loss {name!r} is no function")


SEGMENTATION_LOSSES: Registry[Callable[..., Tensor]] = Registry(
    "segmentation loss", "gliodistill.segmentation_losses", RecipeError, _check
)
"""Name → function ``(logits, regions, outputs, *, known=None, option=default, …)`` → scalar."""
names = SEGMENTATION_LOSSES.names
"""The names of all segmentation losses, sorted."""


def register(name: str) -> Callable[[Function], Function]:
    """Decorator that adds a segmentation loss under ``name``.

    The function is called for each head of deep supervision with ``logits`` (B K X Y Z),
    ``regions`` (reference shares of WT, TC, ET in [0, 1], B 3 X Y Z) and ``outputs`` (what the
    logits mean: ``regions`` or ``classes``). One that takes a keyword ``known`` (B 3 X Y Z in
    [0, 1], or None: all) supports partial labels. Its other keywords, with annotations and
    defaults, are options of the recipe.

    Raises:
        ValueError: the name is taken (a programmer's error).

    Example:
        >>> import torch
        >>> @register("squared_error_example")
        ... def squared_error(logits, regions, outputs, *, scale: float = 1.0):
        ...     return scale * (logits.sigmoid() - regions).square().mean()
        >>> loss = SegmentationLoss.named("squared_error_example", {"scale": 4.0})
        >>> float(loss(torch.zeros(1, 3, 2, 2, 2), torch.ones(1, 3, 2, 2, 2), "regions"))
        1.0
    """
    return SEGMENTATION_LOSSES.register(name)


@dataclass(frozen=True)
class SegmentationLoss:
    """A segmentation loss with its options.

    Attributes:
        name: in the registry.
        options: keyword → value.
    """

    name: str = DEFAULT
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def named(cls, name: str, options: Mapping[str, Any], place: str = "") -> "SegmentationLoss":
        """The loss of that name, its options checked.

        Args:
            name: in the registry.
            options: as the recipe gives them.
            place: the key of the recipe, for errors.

        Raises:
            RecipeError: no such loss or option, or a value of another kind.
        """
        before = f"{place}." if place else ""
        function = SEGMENTATION_LOSSES.find(name, f"{before}name")
        kinds = {
            key: each.annotation
            for key, each in inspect.signature(function).parameters.items()
            if each.kind is each.KEYWORD_ONLY and key != "known"
        }
        return cls(name, fitting(options, kinds, f"{before}options"))

    def with_options(self, **options: Any) -> "SegmentationLoss":
        """The same with some options over its own.

        Raises:
            RecipeError: it has no such option.
        """
        checked = self.named(self.name, options)
        return replace(self, options={**self.options, **checked.options})

    def __call__(
        self,
        logits: Float[Tensor, "B K X Y Z"],
        regions: Float[Tensor, "B R X Y Z"],
        outputs: Outputs,
        known: Float[Tensor, "B R X Y Z"] | None = None,
    ) -> Float[Tensor, ""]:
        """Its value, not weighted.

        Raises:
            RecipeError: labels are known in part, and the loss does not ask where.
        """
        function = SEGMENTATION_LOSSES[self.name]
        if known is None:
            return function(logits, regions, outputs, **self.options)
        if "known" not in inspect.signature(function).parameters:
            raise RecipeError(
                "segmentation loss does not support partial labels",
                field="segmentation_loss.name",
                got=self.name,
                expected="a loss with the keyword known",
                hint=f"use {DEFAULT}, or leave out studies with partial labels",
            )
        return function(logits, regions, outputs, known=known, **self.options)
