"""The command that aligns scans: align."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import (
    Jobs,
    Json,
    Layout,
    OnCluster,
    cluster_of,
    emit,
    error_as_dict,
    issue,
    nothing_left,
    report_failures,
    show_machines,
    table,
)

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(align)


def align(
    scans: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCANS",
            help="Studies, or folders of studies, as scanned: NIfTI, or DICOM (folder or zip).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Folder of the aligned studies; one to continue is completed.",
            show_default=False,
        ),
    ],
    space: Annotated[
        str,
        typer.Option(
            "--space",
            metavar="NAME",
            help="World of the result: reference (of the reference scan), t1ce, or mni (rigidly"
            " aligned with the ICBM 152 atlas).",
        ),
    ] = "reference",
    spacing: Annotated[
        float, typer.Option("--spacing", metavar="MM", help="Voxel size of the result in mm.")
    ] = 1.0,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="SEQUENCE",
            help="Align with this sequence (default: the thinnest slices; among like ones T1CE,"
            " FLAIR, T1, T2).",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels", help="Carry label maps along, each from the grid of the scan it fits."
        ),
    ] = False,
    series: Annotated[
        list[str] | None,
        typer.Option(
            "--series",
            metavar="SEQUENCE=SERIES",
            help="DICOM: use this series (number, UID or name), e.g. T1CE=7; may be repeated.",
            show_default=False,
        ),
    ] = None,
    jobs: Jobs = None,
    cluster: OnCluster = None,
    layout: Layout = None,
    as_json: Json = False,
) -> None:
    """Align the scans of studies and extract the brain, for training or segmentation.

    For each study, writes [bold]OUT/<study>/[/bold] in BraTS layout: its sequences on one isotropic
    grid, 0 outside the brain; the brain mask; a transform for each sequence
    ([bold]<sequence>.tfm[/bold], ITK); and every decision ([bold]study.json[/bold]). If a study
    fails, the others are still aligned, and the exit code is 1.

    Example: [cyan]gliodistill align scans/ -o aligned --space mni[/cyan]
    """
    from gliodistill.alignment.batch import align_studies
    from gliodistill.alignment.sources import find_sources

    with find_sources(scans, layout, series) as (sources, unusable, notes), nothing_left(out):
        issue(notes)
        executor = cluster_of(cluster, out)
        report = align_studies(
            sources,
            out,
            reference=reference,
            space=space,
            spacing=spacing,
            labels=labels,
            jobs=jobs,
            executor=executor,
        )

    def show(screen: "Console") -> None:
        if report.done:
            columns = ["study", "sequences", "reference", "brain ml", "seconds"]
            table(screen, columns, [_row(id, told) for id, told in report.done.items()])
        for id, told in report.done.items():
            for sequence, step in told["sequences"].items():
                screen.print(f"{id}: {sequence}: {step.get('text', '')}")
            for flag in [*told.get("doubts", []), *told["flags"]]:
                screen.print(f"flagged: {id}: {flag}")
        if report.skipped:
            screen.print(f"{len(report.skipped)} already finished")
        if report.done or report.skipped:
            screen.print(f"aligned studies in {out}")
        show_machines(screen, executor)

    failures: dict[str, Any] = {id: error_as_dict(error) for id, error in report.failed.items()}
    failures |= {id: {"message": line} for id, line in unusable.items()}
    facts = {
        "folder": str(out),
        "done": report.done,
        "skipped": report.skipped,
        "failed": failures,
        "notes": notes,
    }
    emit(as_json, facts, show)
    report_failures({id: failure["message"] for id, failure in failures.items()})


def _row(id: str, told: dict[str, Any]) -> list[str]:
    used = [s for s in told["sequences"] if s not in told["left_out"]]
    return [
        id,
        " ".join(used),
        "untouched" if told["untouched"] else told["reference"],
        f"{told['brain_ml']:.0f}",
        f"{sum(told['seconds'].values()):.1f}",
    ]
