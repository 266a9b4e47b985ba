"""Problems of studies on disk."""

from dataclasses import dataclass
from pathlib import Path

from gliodistill.files import shown_name


@dataclass(frozen=True)
class Problem:
    """A problem, or a note.

    Attributes:
        problem: one line.
        study: the id of the study it belongs to, or None for the whole folder.
        file: its file.
        blocking: whether it prevents loading; otherwise it is a note.
    """

    problem: str
    study: str | None = None
    file: Path | None = None
    blocking: bool = False

    def __str__(self) -> str:
        file = shown_name(self.file.name) if self.file else None
        parts = (self.study, None if file == self.study else file)
        place = ": ".join(part for part in parts if part)
        return f"{place}: {self.problem}" if place else self.problem
