"""The command from a trained teacher to a packaged student: distil."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gliodistill.cli.output import Json, Labels, Layout, Threads, emit, table

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(distil)


def distil(
    teacher: Annotated[
        str,
        typer.Option(
            "--teacher",
            metavar="[KIND:]PATH",
            help=(
                "nnunet:RESULTS_FOLDER, files:PREDICTIONS, … (gliodistill list teachers), or with"
                " options as '{nnunet: RESULTS_FOLDER, folds: [0]}'. The path alone suffices for an"
                " nnU-Net, a MONAI bundle, an ONNX file and a model package."
            ),
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="DATA",
            help="Labelled studies in any layout, e.g. nnUNet_raw/DatasetXXX_Name.",
            show_default=False,
        ),
    ],
    budget: Annotated[
        list[str],
        typer.Option(
            "--budget",
            metavar="LIMIT",
            help="size<=8MB, params<=11%, flops<=200G, latency<=1s; may be repeated.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="New folder, or one to continue.",
            show_default=False,
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a key of the recipe, e.g. training.steps=5000; may be repeated.",
            show_default=False,
        ),
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(
            "--splits",
            metavar="FILE",
            help="nnU-Net's splits_final.json (default: looked for in nnU-Net's folders).",
            show_default=False,
        ),
    ] = None,
    student: Annotated[
        list[str] | None,
        typer.Option(
            "--student",
            metavar="NETWORK",
            help="Type of blocks: unet (default), residual_unet, attention_fused.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, metavar="N", help="Time to plan the student.")
    ] = 60.0,
    layout: Layout = None,
    labels: Labels = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Distil a small student from a model you already have, e.g. a trained nnU-Net.

    Plans the student for the budget, trains it with and without the teacher, exports both, and
    compares all three on the patients that the teacher's fold has not seen. A run that was stopped
    goes on with the same command.

    The distillation loss is soft targets only: no loss has shown a gain with an nnU-Net so far, and
    this one needs no stages of the teacher. Choose others with --set
    runs.distilled.method.options.losses=...

    Example: [cyan]gliodistill distil --teacher nnunet:nnUNet_results/Dataset137 --data
    nnUNet_raw/Dataset137 --budget "size<=8MB" -o distilled[/cyan]
    """
    from gliodistill.distil import distil as run_distil
    from gliodistill.distil.report import size_of
    from gliodistill.teachers import parse_teacher

    done = run_distil(
        parse_teacher(teacher, "--teacher"),
        data,
        budget,
        out,
        networks=student or ("unet",),
        settings=settings or (),
        splits=splits,
        layout=layout,
        labels=labels,
        threads=threads,
        seconds=seconds,
    )

    facts = {
        "folder": str(out),
        "model": str(done.model),
        "rows": dict(done.rows),
        "conclusion": done.conclusion,
    }

    def show(screen: "Console") -> None:
        rows = [
            [
                name,
                *("–" if value is None else f"{value:.3f}" for value in row["dice"].values()),
                f"{row['seconds']:.2f}",
                size_of(row),
            ]
            for name, row in done.rows.items()
        ]
        names = ["model", "WT Dice", "TC Dice", "ET Dice", "seconds a study", "size"]
        table(screen, names, rows)
        if done.conclusion:
            screen.print(done.conclusion)
        screen.print(f"model: {done.model}; report: {done.folder / 'report.html'}")
        screen.print(f"Next: gliodistill segment STUDIES -m {done.model} -o OUT")

    emit(as_json, facts, show)
