"""The errors of the toolkit: one line with problem, place, got, expected and next step."""

import reprlib
import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any

_LONGEST = {"got": 400, "field": 200, "file": 4096, "expected": 4000}
"""Most characters of each part of an error, since input files may hold anything."""


class _Brief(reprlib.Repr):
    """A bounded ``repr``, which builds nothing long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 200, 200
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 12

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write integers of thousands of digits."""
        return repr(x) if abs(x) < 10**40 else f"an integer of {x.bit_length()} bits"

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """In the order in which it was written."""
        if level <= 0:
            return "{...}"
        shown = [
            f"{self.repr1(key, level - 1)}: {self.repr1(x[key], level - 1)}"
            for key, _ in zip(x, range(self.maxdict), strict=False)
        ]
        return "{" + ", ".join(shown + ["..."] * (len(x) > self.maxdict)) + "}"


def brief(value: object, most: int = 80) -> str:
    """``repr(value)`` in ``most`` characters, however large ``value`` is."""
    text = _Brief().repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def _shown(name: str, value: object) -> str:
    most = _LONGEST.get(name, 4000)
    text = brief(value, most) if isinstance(value, int | dict | list | tuple | set) else str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def printable(text: str) -> str:
    """``text`` with every unprintable character (control characters, lone surrogates, marks of
    writing direction) escaped as in Python; line breaks are kept.
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter == "\n"
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def some(names: Sequence[str], most: int = 4) -> str:
    """The first ``most`` names, and how many there are where that is more."""
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")


class GliodistillError(Exception):
    """A problem the user can act on.

    Its text is one line, built from named parts, so that terminal, ``--json`` and Python show the
    same sentence.

    Args:
        problem: what is wrong, in a few words.
        file: the file or folder it was found in.
        field: the header field, recipe key, column, … at fault.
        got: the value found.
        expected: the valid names, range or shape.
        hint: the next step.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | PathLike[str] | None = None,
        field: str | None = None,
        got: object = None,
        expected: object = None,
        hint: str | None = None,
    ) -> None:
        self.problem, self.file, self.field = problem, file, field
        self.got, self.expected, self.hint = got, expected, hint
        super().__init__(self._line())

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors of workers in other processes arrive as they were raised."""
        return _rebuilt, (type(self), str(self), self.__dict__)

    def _line(self) -> str:
        line = _shown("problem", self.problem)
        if self.file is not None:
            line = f"{_shown('file', self.file)}: {line}"
        details = [
            f"{name} {_shown(name, value)}"
            for name, value in (
                ("field", self.field),
                ("got", self.got),
                ("expected", self.expected),
            )
            if value is not None
        ]
        if details:
            line += f" ({', '.join(details)})"
        if self.hint:
            line += f"; {self.hint}"
        return printable(" ".join(line.split()))

    def as_dict(self) -> dict[str, str | None]:
        """The parts as strings, for ``--json``."""
        parts = {
            name: getattr(self, name)
            for name in ("problem", "file", "field", "got", "expected", "hint")
        }
        return {
            name: None if value is None else _shown(name, value) for name, value in parts.items()
        }


def _rebuilt(kind: type[GliodistillError], line: str, parts: dict[str, Any]) -> GliodistillError:
    error = kind.__new__(kind, line)
    error.__dict__.update(parts)
    return error


class GliodistillWarning(UserWarning):
    """A note; see :func:`note`."""


def note(text: str) -> None:
    """Issue a note: one line about something that the user should know and that stops no work.

    Every note is issued here, as a :class:`GliodistillWarning`, which Python can filter or record.
    The program prints it as ``note: …`` on standard error, and lists it in the ``notes`` of its
    JSON. Objects that describe data (a study, a cache) keep their notes in an attribute ``notes``;
    whoever shows or trains on them issues them here.
    """
    warnings.warn(printable(" ".join(text.split())), GliodistillWarning, stacklevel=3)


class ImageError(GliodistillError):
    """An image file or grid that cannot be trusted."""


class StudyError(GliodistillError):
    """A study, layout or cohort that is incomplete, ambiguous or inconsistent."""


class LabelError(GliodistillError):
    """A label map that does not fit its convention, or a convention that cannot be determined."""


class RecipeError(GliodistillError):
    """A recipe that does not validate."""


class BudgetError(GliodistillError):
    """A budget for a student that cannot be parsed, or that no student meets."""


class CacheError(GliodistillError):
    """A preparation cache that is damaged or has other settings."""


class CheckpointError(GliodistillError):
    """A run folder or checkpoint that cannot be read or does not match its recipe."""


class PackageError(GliodistillError):
    """A model package that is damaged, of another version, or does not fit the study."""


class EvaluationError(GliodistillError):
    """Predictions and references that cannot be compared."""


class OutputError(GliodistillError):
    """An output that cannot be written (exists, no permission, disk full)."""
