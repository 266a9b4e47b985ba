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
from collections.abc import Callable, Collection, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from gliodistill.errors import GliodistillError

Item = TypeVar("Item")
Added = TypeVar("Added")


class Registry(Generic[Item]):
    """Items of one kind by name.

    Args:
        kind: what an item is, in words for errors: ``network``, ``distillation loss``.
        group: entry-point group that other packages use, e.g. ``gliodistill.networks``.
        error: class of the error for an unknown name.
        check: called with name and item before it is kept; raises ValueError if the item does not
            fit.

    Example:
        >>> colours: Registry[str] = Registry("colour", "gliodistill.colours")
        >>> _ = colours.register("red")("#f00")
        >>> colours.find("red")
        '#f00'
    """

    def __init__(
        self,
        kind: str,
        group: str,
        error: type[GliodistillError] = GliodistillError,
        check: Callable[[str, Item], None] | None = None,
    ) -> None:
        self.kind, self.group = kind, group
        self._error, self._check = error, check
        self._items: dict[str, Item] = {}
        self._origins: dict[str, str] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[Added], Added]:
        """Decorator that adds what it decorates under ``name``.

        Raises:
            ValueError: the name is taken, or the item does not fit (a programmer's error).
        """

        def keep(item: Added) -> Added:
            self._add(name, item, getattr(item, "__module__", "") or "")  # type: ignore[arg-type]
            return item

        return keep

    def find(self, name: str, field: str | None = None) -> Item:
        """The item called ``name``.

        Args:
            name: as a recipe or an option gives it.
            field: where it was given, for the error.

        Raises:
            GliodistillError: no such name (the error lists all, and names the nearest), or the
                package that brings it cannot be imported.
        """
        if name not in self._items:
            self._discover()
        if name not in self._items:
            raise self._error(
                f"unknown {self.kind}",
                field=field or self.kind.split()[-1],
                got=name,
                expected=", ".join(self.names()),
                hint=nearest(name, self._items),
            )
        return self._items[name]

    def names(self) -> tuple[str, ...]:
        """Every name, ours and others', sorted."""
        self._discover()
        return tuple(sorted(self._items))

    def origin(self, name: str) -> str:
        """The module, or the installed package, that brought ``name``."""
        self.find(name)
        return self._origins[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._items:
            self._discover()
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __repr__(self) -> str:
        return f"<{self.kind} registry: {', '.join(self.names())}>"

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
        for point in entry_points(group=self.group):
            self._load(point)

    def _load(self, point: EntryPoint) -> None:
        """Add one entry point's item under its name, unless importing it has added it already."""
        package = point.dist.name if point.dist else point.value
        try:
            item = point.load()
            if point.name not in self._items:
                self._add(point.name, item, package)
        except Exception as error:  # whatever foreign code does wrong is told as theirs
            raise GliodistillError(
                f"plug-in of package {package} cannot be loaded",
                field=f"{self.group}: {point.name}",
                got=f"{type(error).__name__}: {error}",
                hint=f"repair or uninstall {package}",
            ) from error


def nearest(word: str, valid: Collection[str]) -> str | None:
    """A hint where ``word`` looks like a valid one, e.g. ``did you mean unet?``."""
    near = difflib.get_close_matches(word, list(valid), n=1)
    return f"did you mean {near[0]}?" if near else None
