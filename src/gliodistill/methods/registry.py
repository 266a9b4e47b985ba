"""Registry of methods, the names of a recipe's ``method``."""

from collections.abc import Callable
from typing import TypeVar

from gliodistill.errors import RecipeError
from gliodistill.methods.base import Method, Needs
from gliodistill.registry import Registry

AnyMethod = TypeVar("AnyMethod", bound=type[Method])


def _check_method(name: str, method: type[Method]) -> None:
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise ValueError(f"method {name!r} is no subclass of gliodistill.methods.Method")


METHODS: Registry[type[Method]] = Registry(
    "method", "gliodistill.methods", RecipeError, _check_method
)
"""Name → method, ours and those of other packages."""


def register_method(name: str, *, needs: Needs | None = None) -> Callable[[AnyMethod], AnyMethod]:
    """Decorator that adds a method under ``name``.

    Args:
        name: its name in recipes.
        needs: what it needs besides a student; None = nothing, or what its base class needs.

    Raises:
        ValueError: the name is taken, or it is no Method (a programmer's error).
    """

    def keep(method: AnyMethod) -> AnyMethod:
        if needs is not None:
            method.needs = needs
        return METHODS.register(name)(method)

    return keep
