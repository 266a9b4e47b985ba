"""What commands share: options, and saying results to a person or to a script."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.errors import GliodistillError, note, printable

if TYPE_CHECKING:
    from rich.console import Console

    from gliodistill.cluster import Cluster
    from gliodistill.studies.layouts import Found

NOTES = 20
"""Number of notes shown; ``--json`` has all."""
MORE = "more; gliodistill inspect lists them"

issued: list[str] = []
"""Notes issued by the running command."""

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        metavar="N",
        help="Studies processed at once (default: one per core).",
        show_default=False,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="NAME",
        help=(
            "Label convention, if it cannot be determined: brats2013, brats2021, brats2023,"
            " brats2024, brats-ped, msd or gtv."
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
            "Layout of the studies, if it cannot be determined: brats, msd, nnunet, bids, manifest"
            " or loose."
        ),
        show_default=False,
    ),
]

Runtime = Annotated[
    str,
    typer.Option("--runtime", metavar="NAME", help="Inference runtime: openvino, onnx or torch."),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where the model runs: cpu; with --runtime torch also cuda (a GPU), or auto.",
    ),
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


OnCluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Work on a Ray cluster: auto (the one this machine belongs to), or ray://HOST:PORT.",
        show_default=False,
    ),
]


def cluster_of(
    address: str | None,
    output: Path | None = None,
    *,
    cpus: int | None = 1,
    gpus: int = 0,
    at_once: int = 1,
    shared: bool = False,
) -> "Cluster | None":
    """The cluster that ``--cluster`` names; see :class:`~gliodistill.cluster.executor.Cluster`."""
    if address is None:
        return None
    from gliodistill.cluster import Cluster

    return Cluster(address, output, cpus=cpus, gpus=gpus, at_once=at_once, shared=shared)


def show_machines(screen: "Console", cluster: "Cluster | None") -> None:
    """A line for each machine of the cluster: what it has done."""
    for line in () if cluster is None else cluster.summary():
        screen.print(line)


def console() -> "Console":
    """The console of results: standard output; lines are not wrapped unless it is a terminal."""
    from rich.console import Console

    class Screen(Console):
        """A console that escapes control characters in names that come from data."""

        def print(self, *objects: Any, **options: Any) -> None:
            super().print(
                *(printable(one) if isinstance(one, str) else one for one in objects), **options
            )

    return Screen(
        soft_wrap=True, highlight=False, markup=False, width=None if sys.stdout.isatty() else 10_000
    )


def emit(as_json: bool, facts: dict[str, Any], show: Callable[["Console"], None]) -> None:
    """Print ``facts`` as one line of JSON, or call ``show``.

    Notes issued by the command are added to ``notes``, if ``facts`` has that key.
    """
    if as_json:
        if "notes" in facts:
            more = [text for text in issued if not text.endswith(MORE)]
            facts = facts | {"notes": list(dict.fromkeys([*facts["notes"], *more]))}
        typer.echo(json_line(facts))
    else:
        show(console())


def json_line(facts: dict[str, Any]) -> str:
    """One line of JSON, with characters that do not print escaped."""
    text = json.dumps(facts, ensure_ascii=False)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else json.dumps(letter)[1:-1]


def say_error(line: object) -> None:
    """Print one line on standard error."""
    typer.echo(f"error: {printable(str(line))}", err=True)


def error_as_dict(error: GliodistillError) -> dict[str, str | None]:
    """The error's message and its parts."""
    return {"message": str(error), **error.as_dict()}


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Remove ``folder`` at the end if it is new and empty."""
    new = not folder.exists()
    try:
        yield
    finally:
        if new:
            with suppress(OSError):
                folder.rmdir()


def notes_of(*found: "Found") -> list[str]:
    """Notes about files among the studies that are not used, a line each."""
    return [str(p) for one in found for p in one.problems if p.file and not p.blocking]


def unusable_of(*found: "Found") -> dict[str, str]:
    """Id → reason, of studies of which nothing can be used."""
    known = {record.id for one in found for record in one.studies}
    return {
        p.study: str(p)
        for one in found
        for p in one.problems
        if p.blocking and p.study and p.study not in known
    }


def first_of(notes: list[str]) -> list[str]:
    """The first notes, and the number of the others."""
    more = len(notes) - NOTES
    return notes if more <= 0 else [*notes[:NOTES], f"{more} {MORE}"]


def issue(notes: list[str]) -> None:
    """Issue notes; beyond :data:`NOTES`, only their number."""
    for text in first_of(notes):
        note(text)


def report_failures(failed: dict[str, str]) -> None:
    """Print a line on standard error for each study that failed; exit with 1 if any did."""
    for id, line in failed.items():
        say_error(line if line.startswith(f"{id}: ") else f"{id}: {line}")
    if failed:
        raise typer.Exit(1)


def table(out: "Console", columns: list[str], rows: list[list[str]]) -> None:
    """Print a plain table, numbers aligned to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numbers = all(row[index][:1].isdigit() or row[index] in ("–", "") for row in rows)
        grid.add_column(column, justify="right" if numbers and index else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    out.print(grid)
