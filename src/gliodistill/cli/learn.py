"""Commands that learn: train, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import Json, Labels, Layout, emit, table
from gliodistill.errors import RecipeError

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(train)
    app.command()(export)


def train(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="A recipe file, or the name of one that comes along, e.g. compression.", show_default=False),
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="PATH", help="Studies in any layout, or a cache made by prepare.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Folder of the training.", show_default=False)],
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a training that was stopped; the result is as if it never had been.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a key of the recipe, e.g. training.steps=500; may be repeated.", show_default=False
        ),
    ] = None,
    pseudo: Annotated[
        Path | None,
        typer.Option(
            "--pseudo",
            metavar="OUT",
            help="What pseudo-label wrote, or synthetic studies, for runs that learn from them.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Train this run of the recipe only; may be repeated.", show_default=False),
    ] = None,
    layout: Layout = None,
    labels: Labels = None,
    as_json: Json = False,
) -> None:
    """Train every run of a recipe: teacher, student alone, student taught by the teacher.

    Example: [cyan]gliodistill train compression --data patients/ -o runs/first --set training.steps=500[/cyan]
    """
    from gliodistill.training.experiment import run_experiment
    from gliodistill.training.recipe import load_recipe
    from gliodistill.training.shipped import find_recipe
    from gliodistill.training.watching import watcher

    parsed = load_recipe(find_recipe(recipe), settings)
    for name in only or []:
        if name not in parsed.runs:
            raise RecipeError("no such run in the recipe", file=recipe, field="--only", got=name, expected=", ".join(parsed.runs))
    with watcher(parsed) as watch:
        experiment = run_experiment(
            parsed, data, out, resume=resume, layout=layout, labels=labels, only=tuple(only or ()), pseudo=pseudo, watch=watch
        )
    finished = {name: experiment.summary(name) for name in parsed.runs if experiment.is_finished(name)}

    def show(screen: "Console") -> None:
        rows = [
            [name, f"{s['parameters']:,}", f"{s['flops'] / 1e9:.3g}", str(s["steps"]), f"{s['seconds']:.0f}", *_dice(s)]
            for name, s in finished.items()
        ]
        table(screen, ["run", "parameters", "GFLOP a patch", "steps", "seconds", "WT Dice", "TC Dice", "ET Dice"], rows)
        screen.print(f"Dice of the validation studies as prepared. Next: gliodistill export {out} -o model")

    emit(as_json, {"folder": str(out), "runs": finished, "split": experiment.split}, show)


def _dice(summary: dict[str, Any]) -> list[str]:
    dice = summary.get("dice") or {}
    return ["–" if dice.get(region) is None else f"{dice[region]:.3f}" for region in ("WT", "TC", "ET")]


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a training (its last run is taken) or of one of its runs.", show_default=False)
    ],
    model: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="Folder of the model: new.", show_default=False)],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the model (default: recipe and run).", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a model of a finished run: weights, OpenVINO graph, description, checksums, model card.

    Example: [cyan]gliodistill export runs/first/distilled -o model[/cyan]
    """
    from gliodistill.training.packaging import package_run

    package = package_run(run, model, name=name)
    size = sum(file.stat().st_size for file in model.iterdir())
    difference = {kind: parity.max_abs_difference for kind, parity in package.parity.items()}

    def show(screen: "Console") -> None:
        worst = ", ".join(f"{kind} within {value:.2g} of the trained network's logits" for kind, value in difference.items())
        screen.print(f"model {package.name} in {model} ({size / 1e6:.1f} MB); {worst}")

    emit(as_json, {"model": package.name, "folder": str(model), "bytes": size, "max_abs_logit_difference": difference}, show)
