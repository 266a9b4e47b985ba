"""Commands that use and judge models: segment, evaluate, demo."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import Json, Labels, Layout, Runtime, Threads, emit, error_as_dict, nothing_left, report_failures, table
from gliodistill.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console

    from gliodistill.evaluation.scores import Scores


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(segment)
    app.command()(evaluate)
    app.command()(demo)


def segment(
    studies: Annotated[
        list[Path], typer.Argument(metavar="STUDY", help="Studies, or folders of studies, in any layout.", show_default=False)
    ],
    model: Annotated[Path, typer.Option("--model", "-m", metavar="MODEL", help="Folder of a model made by export.", show_default=False)],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder of the segmentations.", show_default=False)],
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", metavar="NAME", help="What the label codes written shall mean (default: as the model learnt).", show_default=False
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip studies that this model has finished.")] = False,
    runtime: Runtime = "openvino",
    threads: Threads = None,
    layout: Layout = None,
    as_json: Json = False,
) -> None:
    """Segment studies: a label map on each study's own grid, and a summary with the volumes in ml.

    Writes [bold]<study>.nii.gz[/bold] and [bold]<study>.json[/bold]. A study that fails does not stop the others; exit code 1 then.

    Example: [cyan]gliodistill segment patients/ -m model -o segmentations[/cyan]
    """
    from gliodistill.inference.batch import segment_studies
    from gliodistill.inference.predictor import load_model
    from gliodistill.studies.cohort import find_cohort

    cohorts = [find_cohort(path, layout) for path in studies]
    records = [record for cohort, _ in cohorts for record in cohort.studies]
    known = {record.id for record in records}
    unusable = {p.study: str(p) for _, found in cohorts for p in found.problems if p.blocking and p.study and p.study not in known}
    predictor = load_model(model, runtime, threads)
    with nothing_left(out):
        report = segment_studies(records, predictor, out, labels=labels, resume=resume)

    def show(screen: "Console") -> None:
        rows = []
        for id, summary in report.done.items():
            values: dict[str, Any] = summary
            volumes, seconds = values["volumes_ml"], values["seconds"]
            rows.append([id, *(f"{volumes[region]:.1f}" for region in ("WT", "TC", "ET")), f"{sum(seconds.values()):.2f}"])
        if rows:
            table(screen, ["study", "WT ml", "TC ml", "ET ml", "seconds"], rows)
        if report.skipped:
            screen.print(f"{len(report.skipped)} finished before")
        if rows or report.skipped:
            screen.print(f"segmentations in {out}; research use, not a medical device")

    failures: dict[str, Any] = {id: error_as_dict(error) for id, error in report.failed.items()}
    failures |= {id: {"message": line} for id, line in unusable.items()}
    emit(as_json, {"folder": str(out), "done": report.done, "skipped": report.skipped, "failed": failures}, show)
    report_failures({id: failure["message"] for id, failure in failures.items()})


def evaluate(
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="Folder of label maps.", show_default=False)],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="Studies with truth, in any layout.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the scores as JSON.", show_default=False)
    ] = None,
    rules: Annotated[str, typer.Option("--rules", metavar="NAME", help="How empty regions count: plain.")] = "plain",
    subset: Annotated[bool, typer.Option("--subset", help="Score the predicted studies only; others may lack a prediction.")] = False,
    layout: Layout = None,
    labels: Labels = None,
    prediction_labels: Annotated[
        str | None,
        typer.Option(
            "--prediction-labels",
            metavar="NAME",
            help="What the predictions' label codes mean (default: as the truth's).",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score label maps against the truth: Dice, HD95 (mm), volumes (ml), sensitivity, specificity per region.

    Example: [cyan]gliodistill evaluate segmentations patients/ -o scores.json[/cyan]
    """
    from gliodistill.evaluation.evaluate import evaluate as score

    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise OutputError(
            "cannot write", file=out, field="--output", got="a folder" if out.is_dir() else "no such folder", expected="a file name"
        )
    scores = score(predictions, truth, layout=layout, labels=labels, prediction_labels=prediction_labels, rules=rules, subset=subset)
    if out is not None:
        scores.write(out)
    emit(as_json, json.loads(scores.to_json()), lambda screen: _show_scores(screen, scores))
    report_failures(dict(scores.failed))


def _show_scores(screen: "Console", scores: "Scores") -> None:
    columns = {
        "Dice": ("dice", ".4f"),
        "HD95 mm": ("hd95_mm", ".2f"),
        "sensitivity": ("sensitivity", ".4f"),
        "specificity": ("specificity", ".5f"),
        "predicted ml": ("prediction_ml", ".1f"),
        "truth ml": ("truth_ml", ".1f"),
    }
    rows = []
    for region in ("WT", "TC", "ET"):
        means = ((scores.mean(region, metric), form) for metric, form in columns.values())
        rows.append([region, *("–" if mean is None else format(mean, form) for mean, form in means)])
    table(screen, ["region", *columns], rows)
    screen.print(f"means over {len(scores.studies)} studies; rules {scores.rules.name}: {scores.rules.text}")


def demo(
    out: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder of the demo: new, or one to continue.")] = Path("demo"),
    as_json: Json = False,
) -> None:
    """The whole road in minutes, on synthetic studies: teacher, student alone, student taught, scores, report.

    Example: [cyan]gliodistill demo -o demo[/cyan]
    """
    from gliodistill.demo import run_demo

    report = run_demo(out)
    emit(as_json, {"report": str(report)}, lambda screen: screen.print(f"report: {report}"))
