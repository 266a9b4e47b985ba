"""Registries that other packages can extend: networks, losses, methods, layouts and more.

A package that is installed beside gliodistill adds its own by an entry point, so that a recipe or
an option may name them; a script adds them by a decorator::

    [project.entry-points."gliodistill.networks"]   # pyproject.toml of the other package
    tiny_net = "their_package.networks:TinyNet"

    @gd.networks.register("tiny_net")                # or in Python
    class TinyNet(gd.networks.Network): ...

Entry points are read when a name is not found among our own, or when all names are listed, so they
cost nothing until somebody asks. A recipe holds names only: it never says what is imported.
"""

import difflib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points, packages_distributions, version
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Generic, TypeVar

from gliodistill.errors import GliodistillError, note

Item = TypeVar("Item")
Added = TypeVar("Added")
_OWN = __name__.partition(".")[0]


class Registry(Mapping[str, Item], Generic[Item]):
    """Items of one kind by name, a mapping: ours as they were added, then those of other packages.

    Args:
        kind: what an item is, in words for errors: ``network``, ``distillation loss``.
        group: entry-point group that other packages use, e.g. ``gliodistill.networks``.
        error: class of the error for an unknown name.
        check: called with name and item before it is kept; raises ValueError if the item does not
            fit.
        summary: what an item does, on one line; default: the first line of its documentation.

    Example:
        >>> colours: Registry[str] = Registry("colour", "gliodistill.colours", summary=str)
        >>> _ = colours.register("red")("#f00")
        >>> colours.find("red")
        '#f00'
        >>> colours.names()
        ('red',)
        >>> colours.find("rad")
        Traceback (most recent call last):
        gliodistill.errors.GliodistillError: unknown colour (field colour, got rad, expected red); did you mean red?
    """  # noqa: E501 (the error of a doctest)

    def __init__(
        self,
        kind: str,
        group: str,
        error: type[GliodistillError] = GliodistillError,
        check: Callable[[str, Item], None] | None = None,
        summary: Callable[[Item], str] | None = None,
    ) -> None:
        self.kind, self.group = kind, group
        self._error, self._check, self._summary = error, check, summary or first_line
        self._items: dict[str, Item] = {}
        self._origins: dict[str, str] = {}
        self._discovered = False

    def register(self, name: str, *, origin: object = None) -> Callable[[Added], Added]:
        """Decorator that adds what it decorates under ``name``.

        Args:
            name: what recipes and options call it.
            origin: the function or class whose module brings it; default: what is decorated, or
                who calls where that is neither.

        Raises:
            ValueError: the name is taken, or the item does not fit (a programmer's error).
        """

        caller = sys._getframe(1).f_globals.get("__name__", "")

        def keep(item: Added) -> Added:
            made = item if origin is None else origin
            if isinstance(made, ModuleType):  # as layouts are
                where = made.__name__
            else:
                defined = isinstance(made, type | FunctionType)
                where = str(made.__module__) if defined else caller
            self._add(name, item, where)  # type: ignore[arg-type]
            return item

        return keep

    def find(
        self,
        name: str,
        field: str | None = None,
        *,
        file: object = None,
        hint: str | None = None,
    ) -> Item:
        """The item called ``name``.

        Args:
            name: as a recipe or an option gives it.
            field: where it was given, for the error.
            file: in which file, for the error.
            hint: what to do where no name is near.

        Raises:
            GliodistillError: no such name (the error lists all, and names the nearest), or the
                package that brings it cannot be imported.
        """
        if name not in self:
            raise self._error(
                f"unknown {self.kind}",
                file=file,  # type: ignore[arg-type]
                field=field or self.kind.split()[-1],
                got=name,
                expected=", ".join(self.names()),
                hint=nearest(name, self._items) or hint,
            )
        return self._items[name]

    def names(self) -> tuple[str, ...]:
        """Every name, ours and others', sorted."""
        return tuple(sorted(self))

    def package(self, name: str) -> str | None:
        """The installed package that brought ``name``, with its version, e.g. ``glioplug 1.0``; the
        module where it is of no package; None where it is ours.
        """
        self.find(name)
        module = self._origins[name]
        top = module.partition(".")[0]
        if top == _OWN:
            return None
        found = packages_distributions().get(top, ())
        return f"{found[0]} {version(found[0])}" if found else f"module {module}"

    def describe(self) -> dict[str, dict[str, str | None]]:
        """Name → ``summary`` (one line) and ``package`` (None where it is ours)."""
        return {
            name: {
                "summary": self._summary(item).replace("``", ""),
                "package": self.package(name),
            }
            for name, item in self.items()
        }

    def __getitem__(self, name: str) -> Item:
        if name not in self:
            raise KeyError(name)
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._items:
            self._discover()
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(tuple(self._items))

    def __len__(self) -> int:
        self._discover()
        return len(self._items)

    def __repr__(self) -> str:
        return f"<{self.kind} registry: {', '.join(self.names())}>"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def _add(self, name: str, item: Item, origin: str) -> None:
        if name in self._items:
            raise ValueError(
                f"{self.kind} {name!r} is registered twice:"
                f" by {self._origins[name]} and by {origin}"
            )
        if self._check is not None:
            self._check(name, item)
        self._items[name], self._origins[name] = item, origin

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True  # first: a package that is loaded may list names itself
        for point in _points(self.group):
            self._load(point)

    def _load(self, point: EntryPoint) -> None:
        """Add one entry point's item under its name, unless importing it has added it already."""
        package = point.dist.name if point.dist else point.value
        top = point.module.partition(".")[0]
        try:
            taken = point.name in self._items
            item = point.load()
            theirs = self._origins.get(point.name, "").partition(".")[0] == top
            if (taken and not theirs) or point.name not in self._items:
                self._add(point.name, item, point.module)
        except Exception as error:  # whatever foreign code does wrong is told as theirs
            raise GliodistillError(
                f"plug-in of package {package} cannot be loaded",
                field=f"{self.group}: {point.name}",
                got=f"{type(error).__name__}: {error}",
                hint=f"repair or uninstall {package}",
            ) from error


_loaded: list[Path] = []


def loaded_plugins() -> tuple[Path, ...]:
    """The files that :func:`load_plugin` has run, absolute, for other processes to run too."""
    return tuple(_loaded)


def load_plugin(file: str | os.PathLike[str]) -> None:
    """Run a Python file that registers parts by decorators, as an installed package would.

    A note says that it runs. Its module is named after the file, and results name that module.

    Raises:
        GliodistillError: no Python file, or it fails.
    """
    path = Path(file)
    name = path.stem
    if not (path.is_file() and path.suffix == ".py" and name.isidentifier()):
        raise GliodistillError(
            "not a plug-in", file=path, expected="a Python file named as a module, e.g. mine.py"
        )
    if name in sys.modules:
        raise GliodistillError(
            "a module of that name is there already", file=path, got=name, hint="rename the file"
        )
    note(f"running the code of {path}, as asked by --plugin")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # a .py file has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever foreign code does wrong is told as theirs
        del sys.modules[name]
        raise GliodistillError(
            "plug-in cannot be loaded",
            file=path,
            got=f"{type(error).__name__}: {error}",
            hint="repair it, or leave --plugin out",
        ) from error
    _loaded.append(path.resolve())


@cache
def _points(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of a group, by name; reading what is installed takes milliseconds, once."""
    return tuple(sorted(_installed().select(group=group), key=lambda point: point.name))


@cache
def _installed() -> Any:
    return entry_points()


def first_line(item: object) -> str:
    """The first paragraph of an item's documentation, on one line."""
    return " ".join((inspect.getdoc(item) or "").partition("\n\n")[0].split())


def nearest(word: str, valid: Collection[str]) -> str | None:
    """A hint where ``word`` resembles a valid one, e.g. ``did you mean unet?``."""
    near = difflib.get_close_matches(word, list(valid), n=1)
    return f"did you mean {near[0]}?" if near else None
