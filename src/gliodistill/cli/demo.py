"""The command that distils a student on synthetic studies in minutes: demo."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gliodistill.cli.output import (
    Json,
    emit,
)

if TYPE_CHECKING:
    pass


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(demo)


def demo(
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Folder of the demo: new, or one to continue."
        ),
    ] = Path("demo"),
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            min=0,
            metavar="S",
            help="Random seed of studies and training (default: 6, the first of docs/demo.md).",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Distil a small student on synthetic studies, in minutes.

    Trains a baseline and a distilled student, scores both and the teacher, and writes a report.

    Example: [cyan]gliodistill demo -o demo[/cyan]
    """
    from gliodistill.demo import run_demo

    report = run_demo(out) if seed is None else run_demo(out, seed=seed)
    emit(as_json, {"report": str(report)}, lambda screen: screen.print(f"report: {report}"))
