"""Typed access to the fields of a parsed object."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gliodistill.documents.reading import Refusal
from gliodistill.errors import brief


class Fields:
    """An object of a document. A missing field, or one of another type, is an error that names it.

    Args:
        values: as parsed.
        refusal: the wording of errors.
        where: names of the objects around it, with dots.
    """

    def __init__(self, values: object, refusal: Refusal, where: str = "") -> None:
        if not isinstance(values, dict):
            raise refusal(where or "document", brief(values), "an object")
        self.values: Mapping[str, Any] = values
        self.refusal, self.where = refusal, where

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def place(self, name: str) -> str:
        """The field's full name."""
        return f"{self.where}.{brief(name).strip(chr(39))}" if self.where else name

    def get(self, name: str, kinds: type | tuple[type, ...], expected: str) -> Any:
        """A value that is of one of ``kinds``; true and false are no numbers."""
        if name not in self.values:
            raise self.refusal(self.place(name), "nothing", expected)
        value = self.values[name]
        wanted = kinds if isinstance(kinds, tuple) else (kinds,)
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise self.refusal(self.place(name), brief(value), expected)
        return value

    def text(self, name: str, choices: Collection[str] | None = None) -> str:
        """Text, one of ``choices`` if given."""
        value: str = self.get(name, str, "text" if choices is None else ", ".join(choices))
        if choices is not None and value not in choices:
            raise self.refusal(self.place(name), brief(value), ", ".join(choices))
        return value

    def sha256(self, name: str) -> str:
        """A SHA-256 in hexadecimal."""
        value: str = self.get(name, str, "a SHA-256 in hexadecimal")
        if not re.fullmatch("[0-9a-f]{64}", value):
            raise self.refusal(self.place(name), brief(value), "a SHA-256 in hexadecimal")
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        return bool(self.get(name, bool, "true or false"))

    def whole(self, name: str, least: int = 0) -> int:
        """A whole number of at least ``least``."""
        value: int = self.get(name, int, f"a whole number of at least {least}")
        if value < least:
            raise self.refusal(self.place(name), value, f"a whole number of at least {least}")
        return value

    def number(self, name: str) -> float:
        """A finite number."""
        return float(self.get(name, (int, float), "a number"))

    def part(self, name: str) -> "Fields":
        """An object inside this one."""
        return Fields(self.get(name, dict, "an object"), self.refusal, self.place(name))

    def parts(self) -> dict[str, "Fields"]:
        """All values, as objects."""
        return {name: self.part(name) for name in self.values}

    def listed(self, name: str, kind: type, expected: str) -> list[Any]:
        """A list whose items are all of one kind."""
        values: list[Any] = self.get(name, list, f"a list of {expected}")
        for value in values:
            if type(value) is not kind:
                raise self.refusal(self.place(name), brief(value), f"a list of {expected}")
        return values

    def texts(self, name: str) -> list[str]:
        """A list of text."""
        return self.listed(name, str, "text")
