"""The command that lists registered names: list."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import Json, emit, table

if TYPE_CHECKING:
    from rich.console import Console

TRAINING = "needs gliodistill[train]"


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(name="list")(list_registered)


def list_registered(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]",
            help=(
                "networks, losses, segmentation-losses, methods, teachers, transforms, layouts,"
                " label-conventions, runtimes or postprocessing (default: all)."
            ),
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the names for recipes and options, and the packages that add some.

    Example: [cyan]gliodistill list losses[/cyan]
    """
    from gliodistill.catalogue import KINDS, registry_of

    facts: dict[str, Any] = {}
    for each in [kind] if kind else KINDS:
        try:
            facts[each] = registry_of(each).describe()
        except ModuleNotFoundError:
            if kind:
                raise
            facts[each] = None  # needs torch, which is not installed
    emit(as_json, facts, lambda screen: _show(screen, facts))


def _show(screen: "Console", facts: dict[str, Any]) -> None:
    for kind, items in facts.items():
        screen.print(kind, style="bold")
        if items is None:
            screen.print(f"  {TRAINING}")
            continue
        rows = [[name, item["package"] or "", item["summary"]] for name, item in items.items()]
        table(screen, ["name", "added by", "what it is"], rows)
