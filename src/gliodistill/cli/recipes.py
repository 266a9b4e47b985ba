"""The command that lists the shipped recipes: recipes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import Json, emit
from gliodistill.errors import RecipeError

if TYPE_CHECKING:
    from rich.console import Console

INDENT = 12
"""Indentation of a recipe's fields."""


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(recipes)


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Print this recipe's file.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the shipped recipes, or print one.

    The list shows runs, paper, expected result and cost. Print a recipe to write your own.

    Example: [cyan]gliodistill recipes compression > mine.yaml[/cyan]
    """
    from gliodistill.recipes.catalogue import shipped_recipes

    shipped = shipped_recipes()
    if name is None:
        listed = {known: _facts(file) for known, file in shipped.items()}
        emit(as_json, {"recipes": listed}, lambda screen: _show(screen, listed))
        return
    if name not in shipped:
        raise RecipeError("no such recipe", got=name, expected=", ".join(shipped))
    text = shipped[name].read_text()
    if as_json:
        emit(True, {"recipe": name, "yaml": text, **_facts(shipped[name])}, lambda screen: None)
    else:
        typer.echo(text, nl=False)  # byte for byte, with its comments


def _facts(file: Path) -> dict[str, Any]:
    from gliodistill.recipes.schema import Recipe

    recipe = Recipe.open(file)
    runs = {
        name: {"network": run.network.name, "method": run.method.name}
        for name, run in recipe.runs.items()
    }
    words = {
        key: " ".join(getattr(recipe, key).split())
        for key in ("about", "citation", "expected", "cost")
    }
    return {**words, "runs": runs, "file": str(file)}


def _show(screen: "Console", listed: dict[str, dict[str, Any]]) -> None:
    import textwrap

    for name, facts in listed.items():
        screen.print(name, style="bold")
        rows = {
            "about": facts["about"],
            "runs": ", ".join(facts["runs"]),
            "paper": facts["citation"],
        }
        for field, words in {**rows, "expected": facts["expected"], "cost": facts["cost"]}.items():
            lines = textwrap.wrap(
                words, screen.width - INDENT, break_long_words=False, break_on_hyphens=False
            ) or ["–"]
            screen.print(f"  {field:<{INDENT - 2}}" + f"\n{'':{INDENT}}".join(lines))
        screen.print()
    screen.print(
        "Print one with: gliodistill recipes NAME > mine.yaml. Train one with: gliodistill train"
        " NAME --data patients/ -o run"
    )
