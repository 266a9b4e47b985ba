"""Transforms by name: the keys of a recipe's ``augmentation``, and what others add to them."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from gliodistill.errors import RecipeError
from gliodistill.registry import Registry
from gliodistill.training.transforms.base import AnyTransform, Drawing

Kind = TypeVar("Kind", bound=type[AnyTransform])


def _check(name: str, kind: Any) -> None:
    if not (isinstance(kind, type) and issubclass(kind, Drawing)):
        raise ValueError(f"transform {name!r} is no subclass of Transform")
    required = [
        each.name
        for each in inspect.signature(kind).parameters.values()
        if each.default is each.empty or each.kind is not each.KEYWORD_ONLY
    ]
    if required:
        raise ValueError(f"transform {name!r}: not a keyword with a default: {', '.join(required)}")


TRANSFORMS: Registry[type[AnyTransform]] = Registry(
    "transform", "gliodistill.transforms", RecipeError, _check
)
"""Name → class of a transform, of intensities or of a patch with its reference."""
names = TRANSFORMS.names
"""The names of all transforms, sorted."""


def register(name: str) -> Callable[[Kind], Kind]:
    """Decorator that adds a transform under ``name``: recipes give its options under
    ``augmentation.others``.

    Raises:
        ValueError: the name is taken, it is no Transform, or an option has no default (a
            programmer's error).
    """
    return TRANSFORMS.register(name)
