"""What commands share: options, and saying results to a person or to a script."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]
Labels = Annotated[
    str | None, typer.Option(help="Label convention, where it cannot be told: brats2021, brats2023, brats2024, brats-ped, msd.")
]


def console() -> "Console":
    """Where results go: standard output, plain when not a terminal."""
    from rich.console import Console

    return Console(soft_wrap=True)


def emit(as_json: bool, facts: dict[str, Any], show: Callable[[], None]) -> None:
    """``facts`` as one line of JSON, or ``show`` them to a person."""
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
    else:
        show()


def table(out: "Console", columns: list[str], rows: list[list[str]]) -> None:
    """A plain table."""
    from rich import box
    from rich.table import Table

    drawn = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        drawn.add_row(*row)
    out.print(drawn)
