"""Networks by name: what a recipe may ask for. No dotted import paths, so a recipe cannot run code."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from gliodistill.errors import RecipeError, brief
from gliodistill.networks.base import Network

Builder = TypeVar("Builder", bound=Callable[..., Network])
_builders: dict[str, Callable[..., Network]] = {}


@dataclass(frozen=True)
class Description:
    """What ``describe`` says of a network: its name, one line about it, and its options with their
    defaults.
    """

    name: str
    summary: str
    options: dict[str, object]


def register(name: str) -> Callable[[Builder], Builder]:
    """Decorator that puts a builder (function or class returning a Network) under ``name``.

    Every parameter of the builder must have a default: it becomes an option of the recipe.

    Raises:
        ValueError: if ``name`` is taken, or a parameter has no default (a programming error, not a
        user's).
    """

    def keep(builder: Builder) -> Builder:
        if name in _builders:
            raise ValueError(
                f"network {name!r} is registered twice: {_builders[name]!r} and {builder!r}"
            )
        required = [
            key for key, value in _options(builder).items() if value is inspect.Parameter.empty
        ]
        if required:
            raise ValueError(f"network {name!r}: options without a default: {', '.join(required)}")
        _builders[name] = builder
        return builder

    return keep


def names() -> tuple[str, ...]:
    """The registered names, sorted."""
    return tuple(sorted(_builders))


def build(name: str, **options: object) -> Network:
    """The network ``name`` with ``options`` over its defaults, freshly initialised from torch's
    generator.

    Raises:
        RecipeError: unknown name or option (lists the valid ones), or an option's value of another
        kind or out of range.
    """
    builder = _find(name)
    valid = _options(builder)
    for key in options:
        if key not in valid:
            raise RecipeError(
                f"network {name!r} has no option {key!r}",
                field="network",
                got=key,
                expected=_listed(valid),
                hint=_closest(key, valid),
            )
        _check_kind(key, options[key], valid[key])
    return builder(**options)


def describe(name: str) -> Description:
    """The first line of a network's documentation, and its options with their defaults.

    Raises:
        RecipeError: unknown name.
    """
    builder = _find(name)
    summary = (inspect.getdoc(builder) or "").partition("\n")[0]
    return Description(name, summary, _options(builder))


def _find(name: str) -> Callable[..., Network]:
    if name not in _builders:
        raise RecipeError(
            "unknown network",
            field="network",
            got=name,
            expected=_listed(names()),
            hint=_closest(name, names()),
        )
    return _builders[name]


def _options(builder: Callable[..., Network]) -> dict[str, object]:
    return {
        parameter.name: parameter.default
        for parameter in inspect.signature(builder).parameters.values()
    }


def _check_kind(key: str, got: object, default: object) -> None:
    """A recipe is written by hand: hold each value against the kind of its default."""
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
            "a network option is of the wrong kind", field=key, got=brief(got), expected=expected
        )


def _listed(valid: Iterable[str]) -> str:
    return "one of " + ", ".join(valid)


def _closest(word: str, valid: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(word, list(valid), n=1)
    return f"did you mean {close[0]!r}?" if close else None
