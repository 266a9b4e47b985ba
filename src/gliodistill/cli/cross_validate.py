"""The command that scores the runs of a cross-validation: cross-validate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gliodistill.cli.output import (
    Json,
    OnCluster,
    cluster_of,
    emit,
    nothing_left,
    show_machines,
    table,
)

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("cross-validate")(cross_validate)


def cross_validate(
    runs: Annotated[
        Path,
        typer.Argument(
            metavar="RUNS", help="Folder of train --folds, finished.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Folder for models, segmentations, scores, tables and comparison.html.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="The studies, if they have moved or a cache was trained on.",
            show_default=False,
        ),
    ] = None,
    rules: Annotated[
        str,
        typer.Option(
            "--rules", metavar="NAME", help="Rule set: plain, or brats2023, 2024, 2025 or 2026."
        ),
    ] = "plain",
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            metavar="N",
            help="Runs exported and applied at once, which share the cores (default: 1).",
            show_default=False,
        ),
    ] = None,
    cluster: OnCluster = None,
    as_json: Json = False,
) -> None:
    """Score every patient by the networks of the fold that left the patient out.

    Exports each run of train --folds, segments the patients of its fold, and compares the runs over
    all patients; of several seeds, the mean counts. A call that was stopped goes on with the same
    command.

    Example: [cyan]gliodistill cross-validate runs/folds -o scores[/cyan]
    """
    from gliodistill.cross_validation.scoring import PAGE
    from gliodistill.cross_validation.scoring import cross_validate as run_all

    with nothing_left(out):
        executor = cluster_of(cluster, out, cpus=None, shared=True)
        facts = run_all(runs, out, data=data, rules=rules, jobs=jobs, executor=executor)

    def show(screen: "Console") -> None:
        rows = []
        for run, regions in facts["runs"].items():
            for region, values in regions.items():
                shown = [values[key] for key in ("mean", "low", "high", "seeds_std")]
                rows.append([run, region, *(_number(value) for value in shown)])
        table(screen, ["run", "region", "Dice", "95 % low", "high", "SD of seeds"], rows)
        screen.print(facts["what"])
        screen.print(
            f"{facts['studies']} studies; comparison in {out / PAGE}; research use, not a medical"
            " device"
        )
        show_machines(screen, executor)

    emit(as_json, {"folder": str(out), **facts, "notes": []}, show)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
