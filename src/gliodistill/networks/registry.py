"""Registry of networks, the names of a recipe's ``network``; a recipe cannot run code."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from gliodistill.errors import RecipeError, brief
from gliodistill.networks.base import Network
from gliodistill.registry import Registry, nearest

Builder = TypeVar("Builder", bound=Callable[..., Network])


@dataclass(frozen=True)
class Description:
    """The description of a network.

    Attributes:
        name: its name in a recipe.
        summary: the first line of its documentation.
        options: its options with their defaults.
    """

    name: str
    summary: str
    options: dict[str, object]


def _check_builder(name: str, builder: Callable[..., Network]) -> None:
    required = [key for key, value in _options(builder).items() if value is inspect.Parameter.empty]
    if required:
        raise ValueError(f"network {name!r}: options without a default: {', '.join(required)}")


NETWORKS: Registry[Callable[..., Network]] = Registry(
    "network", "gliodistill.networks", RecipeError, _check_builder
)
"""Builders by name: functions or classes that return a Network.

Every parameter of a builder needs a default: it becomes an option of the recipe. ``in_channels``
and ``out_channels`` are set by the recipe's sequences and outputs.
"""


def register(name: str) -> Callable[[Builder], Builder]:
    """Decorator that adds a network under ``name``.

    Raises:
        ValueError: the name is taken, or a parameter has no default (a programmer's error).
    """
    return NETWORKS.register(name)


def names() -> tuple[str, ...]:
    """The registered names, sorted."""
    return NETWORKS.names()


def build(name: str, **options: object) -> Network:
    """The network ``name`` with ``options`` over its defaults, freshly initialised from torch's
    generator.

    Raises:
        RecipeError: unknown name or option (lists the valid ones), or an option's value of another
            kind or out of range.

    Example:
        >>> import torch
        >>> from gliodistill import networks
        >>> network = networks.build("unet", widths=[4, 8, 16])
        >>> network(torch.zeros(1, 4, 16, 16, 16))[0].shape
        torch.Size([1, 3, 16, 16, 16])
    """
    builder = NETWORKS.find(name)
    valid = _options(builder)
    for key in options:
        if key not in valid:
            raise RecipeError(
                f"network {name!r} has no option {key!r}",
                field="network",
                got=key,
                expected=_listed(valid),
                hint=nearest(key, valid),
            )
        _check_kind(key, options[key], valid[key])
    return builder(**options)


def describe(name: str) -> Description:
    """The first line of a network's documentation, and its options with their defaults.

    Raises:
        RecipeError: unknown name.
    """
    builder = NETWORKS.find(name)
    summary = (inspect.getdoc(builder) or "").partition("\n")[0]
    return Description(name, summary, _options(builder))


def _options(builder: Callable[..., Network]) -> dict[str, object]:
    return {
        parameter.name: parameter.default
        for parameter in inspect.signature(builder).parameters.values()
    }


def _check_kind(key: str, got: object, default: object) -> None:
    """Check each value of a recipe against the type of its default."""
    if isinstance(default, tuple):
        fits = isinstance(got, list | tuple) and all(
            type(value) is type(default[0]) for value in got
        )
        expected = f"a list like {list(default)}"
    elif isinstance(default, Mapping):
        fits, expected = isinstance(got, Mapping), "a mapping of options"
    else:
        fits, expected = type(got) is type(default), f"a value like {default!r}"
    if not fits:
        raise RecipeError(
            "a network option has the wrong type", field=key, got=brief(got), expected=expected
        )


def _listed(valid: Iterable[str]) -> str:
    return "one of " + ", ".join(valid)
