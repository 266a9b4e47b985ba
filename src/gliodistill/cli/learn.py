"""Commands that learn: train, export."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gliodistill.cli.output import Json, Labels, console, emit, table


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(train)
    app.command()(export)


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe file.", show_default=False)],
    data: Annotated[Path, typer.Option("--data", help="Studies in any layout, or a cache of `prepare`.", show_default=False)],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder of the experiment.", show_default=False)],
    resume: Annotated[bool, typer.Option("--resume", help="Continue, bitwise as if never stopped.")] = False,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Change a key of the recipe: a.b=c.", show_default=False)] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Train these runs of the recipe only.", show_default=False)] = None,
    labels: Labels = None,
    as_json: Json = False,
) -> None:
    """Train every run of a recipe: teacher, student alone, student distilled.

    Example: [cyan]gliodistill train recipes/compression.yaml --data patients/ -o runs/first --set training.steps=500[/cyan]
    """
    from gliodistill.training.experiment import run_experiment
    from gliodistill.training.recipe import load_recipe
    from gliodistill.training.shipped import find_recipe
    from gliodistill.training.watching import watcher

    parsed = load_recipe(find_recipe(recipe), settings)
    with watcher(parsed) as watch:
        experiment = run_experiment(parsed, data, out, resume=resume, labels=labels, only=tuple(only or ()), watch=watch)
    finished = {name: experiment.summary(name) for name in parsed.runs if experiment.is_finished(name)}

    def show() -> None:
        def dice(summary: dict[str, Any]) -> list[str]:
            return [f"{summary['dice'][region]:.3f}" if summary.get("dice") else "–" for region in ("WT", "TC", "ET")]

        rows = [
            [name, f"{s['parameters']:,}", f"{s['flops'] / 1e9:.1f}", str(s["steps"]), f"{s['seconds']:.0f}", *dice(s)]
            for name, s in finished.items()
        ]
        out_ = console()
        table(out_, ["run", "parameters", "GFLOP a patch", "steps", "seconds", "WT", "TC", "ET"], rows)
        out_.print("validation Dice on the prepared grid; score on the studies' own grid with: gliodistill segment, gliodistill evaluate")

    emit(as_json, {"folder": str(out), "runs": finished, "split": experiment.split}, show)


def export(
    run: Annotated[Path, typer.Argument(help="Folder of an experiment (its last run) or of one of its runs.", show_default=False)],
    model: Annotated[Path, typer.Option("--output", "-o", help="Folder of the model package.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Name of the model.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Write a run as a model package: safetensors + OpenVINO, description, checksums, card.

    Example: [cyan]gliodistill export runs/first/distilled -o model[/cyan]
    """
    from gliodistill.training.packaging import package_run

    package = package_run(run, model, name=name)
    size = sum(file.stat().st_size for file in model.iterdir())
    difference = {kind: parity.max_abs_difference for kind, parity in package.parity.items()}

    def show() -> None:
        worst = ", ".join(f"{kind} differs from torch by at most {value:.2g} in the logits" for kind, value in difference.items())
        console().print(f"model [bold]{package.name}[/bold] in {model} ({size / 1e6:.1f} MB); {worst}")

    emit(as_json, {"model": package.name, "folder": str(model), "bytes": size, "max_abs_logit_difference": difference}, show)
