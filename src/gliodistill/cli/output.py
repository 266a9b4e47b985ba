"""What commands share: options, and saying results to a person or to a script."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.errors import GliodistillError, printable

if TYPE_CHECKING:
    from rich.console import Console

    from gliodistill.studies.layouts import Found

NOTES = 20
"""So many notes are shown; with ``--json`` all are."""

Json = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON document, for scripts.")
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        metavar="N",
        help="Studies at work at once (default: one per core).",
        show_default=False,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="NAME",
        help=(
            "What the label codes mean, where it cannot be told: brats2013, brats2021, brats2023,"
            " brats2024, brats-ped or msd."
        ),
        show_default=False,
    ),
]
Layout = Annotated[
    str | None,
    typer.Option(
        "--layout",
        metavar="NAME",
        help=(
            "How the studies are stored, where it cannot be told: brats, msd, nnunet, bids,"
            " manifest or loose."
        ),
        show_default=False,
    ),
]

Runtime = Annotated[
    str,
    typer.Option("--runtime", metavar="NAME", help="What runs the model: openvino, onnx or torch."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        metavar="N",
        help="Processor threads (default: all cores).",
        show_default=False,
    ),
]


def console() -> "Console":
    """Where results go: standard output, as wide as what is said when that is not a terminal."""
    from rich.console import Console

    class Screen(Console):
        """Names that come from data reach a terminal without control characters."""

        def print(self, *objects: Any, **options: Any) -> None:
            super().print(
                *(printable(one) if isinstance(one, str) else one for one in objects), **options
            )

    return Screen(
        soft_wrap=True, highlight=False, markup=False, width=None if sys.stdout.isatty() else 10_000
    )


def emit(as_json: bool, facts: dict[str, Any], show: Callable[["Console"], None]) -> None:
    """``facts`` as one line of JSON, or ``show`` them to a person."""
    if as_json:
        typer.echo(json_line(facts))
    else:
        show(console())


def json_line(facts: dict[str, Any]) -> str:
    """One line of JSON; characters that do not print are escaped as JSON escapes them."""
    text = json.dumps(facts, ensure_ascii=False)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else json.dumps(letter)[1:-1]


def say_error(line: object) -> None:
    """One line on standard error."""
    typer.echo(f"error: {printable(str(line))}", err=True)


def error_as_dict(error: GliodistillError) -> dict[str, str | None]:
    """The whole sentence, and its parts."""
    return {"message": str(error), **error.as_dict()}


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Take ``folder`` away again if it was made for nothing."""
    new = not folder.exists()
    try:
        yield
    finally:
        if new:
            with suppress(OSError):
                folder.rmdir()


def notes_of(*found: "Found") -> list[str]:
    """What lay among the studies and is not used, a line each."""
    return [str(p) for one in found for p in one.problems if p.file and not p.blocking]


def unusable_of(*found: "Found") -> dict[str, str]:
    """Id → why, of folders that hold a study and nothing of it that can be used."""
    known = {record.id for one in found for record in one.studies}
    return {
        p.study: str(p)
        for one in found
        for p in one.problems
        if p.blocking and p.study and p.study not in known
    }


def first_of(notes: list[str]) -> list[str]:
    """The first notes, and how many more there are."""
    more = len(notes) - NOTES
    return notes if more <= 0 else [*notes[:NOTES], f"{more} more; gliodistill inspect lists them"]


def show_notes(screen: "Console", notes: list[str]) -> None:
    """A line each, as far as :func:`first_of` goes."""
    for note in first_of(notes):
        screen.print(f"note: {note}")


def report_failures(failed: dict[str, str]) -> None:
    """One line on standard error for each study that failed, and exit code 1 if any did."""
    for id, line in failed.items():
        say_error(line if line.startswith(f"{id}: ") else f"{id}: {line}")
    if failed:
        raise typer.Exit(1)


def table(out: "Console", columns: list[str], rows: list[list[str]]) -> None:
    """A plain table; numbers to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numbers = all(row[index][:1].isdigit() or row[index] in ("–", "") for row in rows)
        drawn.add_column(column, justify="right" if numbers and index else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    out.print(drawn)
