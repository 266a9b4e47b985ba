"""The command that labels what no expert has drawn: pseudo-label."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import (
    Json,
    Layout,
    Runtime,
    Threads,
    emit,
    error_as_dict,
    notes_of,
    nothing_left,
    report_failures,
    show_notes,
    table,
    unusable_of,
)

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(name="pseudo-label")(pseudo_label)


def pseudo_label(
    studies: Annotated[
        Path,
        typer.Argument(
            metavar="STUDIES",
            help="Studies in any layout; their label maps, if any, are not read.",
            show_default=False,
        ),
    ],
    models: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Folder of a model, or name of a shipped one; may be repeated.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Folder of the pseudo-labels.", show_default=False
        ),
    ],
    flips: Annotated[
        str,
        typer.Option(
            "--flips",
            metavar="AXES",
            help=(
                "Mirrored inputs each model looks at too: none, all (8 looks), or some of x, y, z"
                " (xy: 4)."
            ),
        ),
    ] = "none",
    soft: Annotated[
        bool, typer.Option("--soft", help="Write probabilities as well, to learn from soft labels.")
    ] = False,
    agreement: Annotated[
        float | None,
        typer.Option(
            "--agreement",
            min=0.0,
            max=1.0,
            metavar="DICE",
            help="Select studies on which the members' mean Dice is at least this (default: all).",
            show_default=False,
        ),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            "--exclude",
            metavar="COHORT",
            help=(
                "Leave out whoever is in this cohort, by patient and by image: labelled and test"
                " studies; may be repeated."
            ),
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="NAME",
            help="What the label codes written shall mean (default: as the first model learnt).",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Skip studies that the same models and settings have finished."
        ),
    ] = False,
    runtime: Runtime = "openvino",
    threads: Threads = None,
    layout: Layout = None,
    as_json: Json = False,
) -> None:
    """Label studies that have no truth by the mean of several models and mirrored looks, for a
    student to learn from.

    OUT opens as a cohort, and is what train takes as --pseudo. A study that fails does not stop the
    others; exit code 1 then.

    Example: [cyan]gliodistill pseudo-label unlabelled/ -m a -m b -o pseudo --flips xy --exclude
    patients/[/cyan]
    """
    from gliodistill.inference.ensemble import Ensemble
    from gliodistill.inference.predictor import load_model
    from gliodistill.inference.pseudo_labels import write_pseudo_labels
    from gliodistill.inference.tta import parse_flips
    from gliodistill.studies.cohort import find_cohort
    from gliodistill.studies.labels import find_convention

    looks = parse_flips(flips)
    cohort, found = find_cohort(studies, layout)
    unusable, notes = unusable_of(found), notes_of(found)
    excluded = {str(path): find_cohort(path)[0] for path in exclude or []}
    ensemble = Ensemble([load_model(model, runtime, threads) for model in models], looks)
    convention = (
        ensemble.models[0].package.convention if labels is None else find_convention(labels)
    )
    with nothing_left(out):
        report = write_pseudo_labels(
            cohort.studies,
            ensemble,
            out,
            labels=convention,
            soft=soft,
            agreement=agreement,
            exclude=excluded,
            resume=resume,
        )

    def show(screen: "Console") -> None:
        rows = []
        for id, facts in report.done.items():
            agreed = facts["agreement"] or {}
            rows.append(
                [
                    id,
                    *(f"{facts['volumes_ml'][region]:.1f}" for region in ("WT", "TC", "ET")),
                    *(
                        f"{agreed[region]:.3f}" if agreed else "–"
                        for region in ("WT", "TC", "ET", "mean")
                    ),
                ]
            )
        if rows:
            table(
                screen,
                ["study", "WT ml", "TC ml", "ET ml", "WT agree", "TC agree", "ET agree", "mean"],
                rows,
            )
        if report.skipped:
            screen.print(f"{len(report.skipped)} finished before")
        for id, reason in report.left_out.items():
            screen.print(f"left out: {id}: {reason}")
        show_notes(screen, notes)
        screen.print(
            f"pseudo-labels of {len(ensemble)} members in {out}; research use, not a medical device"
        )

    failures: dict[str, Any] = {id: error_as_dict(error) for id, error in report.failed.items()}
    failures |= {id: {"message": line} for id, line in unusable.items()}
    facts = {
        "folder": str(out),
        "done": report.done,
        "skipped": report.skipped,
        "left_out": report.left_out,
        "failed": failures,
        "notes": notes,
    }
    emit(as_json, facts, show)
    report_failures({id: failure["message"] for id, failure in failures.items()})
