"""What is wrong with a study on disk, kept beside it until someone asks."""

from dataclasses import dataclass
from pathlib import Path

from gliodistill.files import shown_name


@dataclass(frozen=True)
class Problem:
    """One thing found wrong.

    Attributes:
        problem: one line.
        study: the id of the study it belongs to, or None for the whole folder.
        file: where.
        blocking: the study cannot be loaded (else it is only worth telling).
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
