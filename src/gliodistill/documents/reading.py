"""What all document readers share: bounds, plain data, and their errors."""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gliodistill.errors import GliodistillError

MOST_BYTES = 32 << 20
"""Largest document; the toolkit's files for ten thousand studies are smaller."""
MOST_DEPTH = 32
"""Deepest nesting; the toolkit's own files have at most ten levels."""
_UNUSABLE = re.compile("[\\x00\\ud800-\\udc7f\\udd00-\\udfff]")
# U+DC80 to U+DCFF stand for the bytes of a file name that is not UTF-8 (PEP 383): paths have them.


@dataclass(frozen=True)
class Refusal:
    """The error of a reader, worded for its documents.

    Attributes:
        error: class of the error.
        problem: what is wrong with any such document, in a few words.
        hint: the next step.
        file: the document; None if it came from a command line.
        field: its name if it has no file, e.g. ``--set``.
    """

    error: type[GliodistillError]
    problem: str
    hint: str | None = None
    file: str | os.PathLike[str] | None = None
    field: str | None = None

    def of(self, file: str | os.PathLike[str]) -> "Refusal":
        """The same words about ``file``."""
        return replace(self, file=file)

    def __call__(self, field: str | None, got: object, expected: object) -> GliodistillError:
        """The error, to be raised."""
        return self.error(
            self.problem,
            file=self.file,
            field=self.field or field,
            got=got,
            expected=expected,
            hint=self.hint,
        )


class BadDocument(Exception):
    """What a parser found, before a :class:`Refusal` turns it into an error."""

    def __init__(self, field: str, got: object, expected: str) -> None:
        super().__init__(field)
        self.field, self.got, self.expected = field, got, expected


def read_document(
    path: str | os.PathLike[str], refusal: Refusal, most_bytes: int = MOST_BYTES
) -> str:
    """The text of a file, line ends as they are, without a byte-order mark.

    Raises:
        GliodistillError: it cannot be read, is too large, or is not UTF-8.
    """
    refusal = refusal.of(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise refusal("size", f"more than {most_bytes} bytes", f"at most {most_bytes}")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"{error.object[error.start]:#04x} at byte {error.start}"
        raise refusal("text", where, "UTF-8") from error
    except OSError as error:
        raise refusal(None, error.strerror or type(error).__name__, None) from error


class Unreal(float):
    """A number as it was written, where that is none of 64 bits: infinite, for
    :func:`check_plain` to find.
    """

    written: str

    def __new__(cls, written: str) -> "Unreal":
        """From what was written, of any length."""
        number = super().__new__(cls, "inf")
        number.written = written if len(written) <= 40 else f"{len(written)} digits"
        return number


def check_plain(values: object) -> None:
    """Raise BadDocument, which names the place, where parsed ``values`` are too deep, or hold text
    that no file name and no terminal can take (NUL, half of a surrogate pair), a number that is
    not finite, or one that does not fit 64 bits.
    """
    path: list[str] = []
    around: list[Iterator[tuple[str, object]]] = [iter([("", values)])]
    while around:
        for name, value in around[-1]:
            if isinstance(value, str):
                check_text(value, [*path, name])
            elif isinstance(value, float):
                if not math.isfinite(value):
                    got = getattr(value, "written", value)
                    raise BadDocument(_place([*path, name]), got, "a finite number of 64 bits")
            elif isinstance(value, int):
                if not -(2**63) <= value < 2**64:
                    raise BadDocument(_place([*path, name]), value, "a finite number of 64 bits")
            elif isinstance(value, dict | list):
                path.append(name)
                if len(around) > MOST_DEPTH:
                    raise BadDocument(_place(path), "deeper", f"at most {MOST_DEPTH} levels")
                for key in value if isinstance(value, dict) else ():
                    check_text(key, path)
                around.append(
                    ((str(i), part) for i, part in enumerate(value))
                    if isinstance(value, list)
                    else iter(value.items())
                )
                break
        else:
            around.pop()
            if path:
                path.pop()


def check_text(text: str, path: list[str]) -> None:
    """Raise BadDocument where ``text`` holds a NUL or half of a surrogate pair, but for the halves
    that stand for bytes of a file name.
    """
    if found := _UNUSABLE.search(text):
        near = text[max(found.start() - 20, 0) : found.end() + 20]
        expected = "text without NUL and lone surrogates"
        raise BadDocument(_place(path), ascii(near), expected)


def _place(path: list[str]) -> str:
    return ".".join(ascii(name)[1:-1] for name in path[:12] if name) or "document"


def check_type(
    values: Any, expect: type | tuple[type, ...], refusal: Refusal, mapping: str = "an object"
) -> Any:
    """``values`` if they are what is expected: ``dict`` (a ``mapping``, in words), ``list`` or
    both.

    Raises:
        GliodistillError: they are not.
    """
    names: dict[type, str] = {dict: mapping, list: "a list"}
    if not isinstance(values, expect):
        wanted = expect if isinstance(expect, tuple) else (expect,)
        raise refusal(
            "document",
            "nothing" if values is None else values,
            " or ".join(names[kind] for kind in wanted),
        )
    return values
