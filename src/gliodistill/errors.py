"""Errors are part of the interface: one line that says what, where, got, expected, next step."""

from os import PathLike


def printable(text: str) -> str:
    """``text`` with every character that does not print (control characters, lone surrogates, marks
    that turn the direction of writing) as an escape of Python's; line breaks stay.
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter == "\n"
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


class GliodistillError(Exception):
    """A problem the user can act on.

    Its text is always one line, built from named parts, so that every face (terminal,
    ``--json``, web) shows the same sentence and a test can ask for each part.

    Args:
        problem: what is wrong, in a few words.
        file: the file or folder it was found in.
        field: the header field, recipe key, column, … at fault.
        got: the value found.
        expected: what would have been right (valid names, range, shape).
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

    def _line(self) -> str:
        line = self.problem
        if self.file is not None:
            line = f"{self.file}: {line}"
        details = [
            f"{name} {value}"
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
        return {name: None if value is None else str(value) for name, value in parts.items()}


class ImageError(GliodistillError):
    """An image file or grid that cannot be trusted."""


class StudyError(GliodistillError):
    """A study, layout or cohort that is incomplete, ambiguous or inconsistent."""


class LabelError(GliodistillError):
    """A label map that does not fit its convention, or a convention that cannot be told."""


class RecipeError(GliodistillError):
    """A recipe that does not validate."""


class BudgetError(GliodistillError):
    """A budget for a student that is not understood, or that no student meets."""


class CacheError(GliodistillError):
    """A preparation cache that is damaged or of other settings."""


class CheckpointError(GliodistillError):
    """A run folder or checkpoint that cannot be read or does not match its recipe."""


class PackageError(GliodistillError):
    """A model package that is damaged, of another version, or does not fit the study."""


class EvaluationError(GliodistillError):
    """Predictions and truths that cannot be compared."""


class OutputError(GliodistillError):
    """An output that cannot be written (exists, no permission, disk full)."""
