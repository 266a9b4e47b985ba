"""A table of what this field's files do to tools: one row a case, made from a phantom, run through
the program itself.

    table = Table()

    @table.row("a study given as `..` leaves what lay in the output", code=0)
    def _(b):
        said = yield ("prepare", "..", "-o", b.out)   # build the input, yield the command line, get
        what it said assert ...                                    # the right value

    test_field = table.test()

A row that is refused (``code`` not 0) needs no check of its own: one line on standard error that
holds every one of ``says``, and every file as it was. A row that is accepted must check the right
value after its ``yield``.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import GeneratorType
from typing import Any

import pytest


@dataclass(frozen=True)
class Row:
    """One case.

    Attributes:
        story: what happened to a user, in a sentence.
        says: parts of what the program must say, on standard error if refused, anywhere if
        accepted.
        code: the exit code.
        lines: of standard error, if refused.
        case: makes the input from a bench and yields (or, if refused, returns) the command line.
    """

    story: str
    says: tuple[str, ...]
    code: int
    lines: int
    case: Callable[..., Any]


@dataclass
class Table:
    """Rows of one topic."""

    rows: list[Row] = field(default_factory=list)

    def row(
        self, story: str, *says: str, code: int = 1, lines: int = 1
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Enter a case into the table."""

        def enter(case: Callable[..., Any]) -> Callable[..., Any]:
            self.rows.append(Row(story, says, code, lines, case))
            return case

        return enter

    def test(self) -> Callable[..., None]:
        """A test function with one instance a row."""
        stories = [row.story for row in self.rows]
        assert len(set(stories)) == len(stories), "two rows of one story"

        @pytest.mark.parametrize("row", self.rows, ids=stories)
        def test_row(row, bench, program, monkeypatch):
            monkeypatch.chdir(bench.root)
            check(row, bench, program)

        return test_row


def check(row: Row, bench: Any, program: Callable[..., Any]) -> None:
    """Run one row: its command, its exit code, what it says, and its own check or that nothing
    changed.
    """
    made = row.case(bench, program) if row.case.__code__.co_argcount == 2 else row.case(bench)
    words = next(made) if isinstance(made, GeneratorType) else made
    before = files_under(bench.root)
    said = program(*words)
    assert said.code == row.code, said.out + said.err
    assert "Traceback" not in said.err and "this is a bug" not in said.err, said.err
    if row.code:
        errors = [line for line in said.lines if not line.startswith("note: ")]
        assert len(errors) == row.lines, said.err
        assert all(line.startswith("error: ") for line in errors)
        assert files_under(bench.root) == before
    for part in row.says:
        assert part in (said.err if row.code else said.out + said.err), said.out + said.err
    if isinstance(made, GeneratorType):
        finish(made, said)
    else:
        assert row.code, "an accepted row must check the right value after its yield"


def finish(case: Iterator[Any], said: Any) -> None:
    """Let the row look at what its command gave; it may run further commands itself, but yields
    once.
    """
    with pytest.raises(StopIteration):
        case.send(said)  # type: ignore[attr-defined]


def files_under(root: Path) -> dict[str, str]:
    """Every path below ``root`` with a digest of its bytes."""
    return {
        str(path.relative_to(root)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        )
        for path in root.rglob("*")
    }
