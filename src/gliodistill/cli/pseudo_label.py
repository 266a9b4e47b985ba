"""The command that labels studies without a reference segmentation: pseudo-label."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import (
    Device,
    Json,
    Layout,
    OnCluster,
    Runtime,
    Threads,
    cluster_of,
    emit,
    error_as_dict,
    issue,
    notes_of,
    nothing_left,
    report_failures,
    show_machines,
    table,
    unusable_of,
)
from gliodistill.errors import GliodistillError

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
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Folder of the pseudo-labels.", show_default=False
        ),
    ],
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Folder of a model, or name of a shipped one; may be repeated.",
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            metavar="[KIND:]PATH",
            help="Instead of models, a teacher of another tool, e.g. files:predictions.",
            show_default=False,
        ),
    ] = None,
    tta: Annotated[
        str,
        typer.Option(
            "--tta",
            metavar="AXES",
            help=(
                "Test-time augmentation by mirroring, for each model: none, all (8 passes), or some"
                " of x, y, z (xy: 4)."
            ),
        ),
    ] = "none",
    soft: Annotated[
        bool,
        typer.Option("--soft", help="Also write probabilities, for training with soft labels."),
    ] = False,
    agreement: Annotated[
        float | None,
        typer.Option(
            "--agreement",
            min=0.0,
            max=1.0,
            metavar="DICE",
            help=(
                "Keep studies on which the members' mean pairwise Dice is at least this (default:"
                " all)."
            ),
            show_default=False,
        ),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            "--exclude",
            metavar="COHORT",
            help=(
                "Leave out the patients of this cohort (labelled or test studies), by id and by"
                " image; may be repeated."
            ),
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="NAME",
            help=(
                "Label convention of the output (default: that of the first model's training data,"
                " brats2021 for a teacher)."
            ),
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Skip studies already labelled by the same models with these settings."
        ),
    ] = False,
    runtime: Runtime = "openvino",
    device: Device = "cpu",
    threads: Threads = None,
    cluster: OnCluster = None,
    layout: Layout = None,
    as_json: Json = False,
) -> None:
    """Label studies without a reference segmentation, with models or another tool's predictions.

    The label is the mean over models and mirrorings. Train a student on OUT with train --pseudo
    OUT. If a study fails, the others are still labelled, and the exit code is 1.

    Example: [cyan]gliodistill pseudo-label unlabelled/ -m a -m b -o pseudo --tta xy --exclude
    patients/[/cyan]
    """
    from gliodistill.inference.ensemble import Ensemble, Labeller
    from gliodistill.inference.predictor import load_model
    from gliodistill.inference.pseudo_labels import write_pseudo_labels
    from gliodistill.inference.tta import parse_tta
    from gliodistill.studies.cohort import find_cohort
    from gliodistill.studies.labels import BRATS2021, find_convention
    from gliodistill.teachers import parse_teacher
    from gliodistill.teachers.labelling import TeacherLabels

    if bool(models) == (teacher is not None) or (teacher is not None and tta != "none"):
        raise GliodistillError(
            "what labels the studies",
            field="--model, --teacher",
            got=f"{len(models or [])} models, teacher {teacher}, tta {tta}",
            expected="models, or one teacher without --tta",
        )
    mirrorings = parse_tta(tta)
    cohort, found = find_cohort(studies, layout)
    unusable, notes = unusable_of(found), notes_of(found)
    excluded = {str(path): find_cohort(path)[0] for path in exclude or []}
    ensemble: Labeller
    if teacher is not None:
        ensemble, convention = TeacherLabels(parse_teacher(teacher, "--teacher")), BRATS2021
    else:
        loaded = [load_model(model, runtime, threads, device) for model in models or []]
        ensemble, convention = Ensemble(loaded, mirrorings), loaded[0].package.convention
    if labels is not None:
        convention = find_convention(labels)
    with nothing_left(out):
        executor = cluster_of(cluster, out, cpus=threads, gpus=int(device == "cuda"), at_once=2)
        report = write_pseudo_labels(
            cohort.studies,
            ensemble,
            out,
            labels=convention,
            soft=soft,
            agreement=agreement,
            exclude=excluded,
            resume=resume,
            executor=executor,
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
            screen.print(f"{len(report.skipped)} already finished")
        for id, reason in report.left_out.items():
            screen.print(f"left out: {id}: {reason}")
        screen.print(
            f"pseudo-labels of {len(ensemble)} members in {out}; research use, not a medical device"
        )
        show_machines(screen, executor)

    issue(notes)
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
