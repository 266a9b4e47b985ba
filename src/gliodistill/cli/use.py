"""Commands that use and judge models: segment, evaluate, demo."""

from pathlib import Path
from typing import Annotated

import typer

from gliodistill.cli.output import Json, Labels, console, emit, table


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(segment)
    app.command()(evaluate)
    app.command()(demo)


def segment(
    studies: Annotated[list[Path], typer.Argument(help="Studies, or folders of studies, in any layout.", show_default=False)],
    model: Annotated[Path, typer.Option("--model", "-m", help="A model package.", show_default=False)],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder of the segmentations.", show_default=False)],
    runtime: Annotated[str, typer.Option(help="openvino or torch.")] = "openvino",
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads (default: all cores).")] = None,
    labels: Annotated[str | None, typer.Option(help="Label convention of the output (default: the model's).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip studies that are finished.")] = False,
    as_json: Json = False,
) -> None:
    """Segment studies: `<id>.nii.gz` on the study's own grid, `<id>.json` with volumes in ml.

    Example: [cyan]gliodistill segment patients/ -m model -o segmentations[/cyan]
    """
    from gliodistill.inference.batch import segment_studies
    from gliodistill.inference.predictor import load_model
    from gliodistill.studies.cohort import find_cohort

    records = [record for path in studies for record in find_cohort(path)[0].studies]
    report = segment_studies(records, load_model(model, runtime, threads), out, labels=labels, resume=resume)

    def show() -> None:
        screen = console()
        rows = []
        for id, summary in report.done.items():
            volumes, seconds = summary["volumes_ml"], summary["seconds"]
            assert isinstance(volumes, dict) and isinstance(seconds, dict)
            rows.append([id, *(f"{volumes[region]:.1f}" for region in ("WT", "TC", "ET")), f"{sum(seconds.values()):.2f}"])
        if rows:
            table(screen, ["study", "WT ml", "TC ml", "ET ml", "seconds"], rows)
        if report.skipped:
            screen.print(f"{len(report.skipped)} finished before")
        screen.print(f"segmentations in {out}; research use, not a medical device")

    failed = {id: str(error) for id, error in report.failed.items()}
    emit(as_json, {"folder": str(out), "done": report.done, "skipped": report.skipped, "failed": failed}, show)
    for id, line in failed.items():
        typer.echo(f"error: {id}: {line}", err=True)
    if failed:
        raise typer.Exit(1)


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted label maps.", show_default=False)],
    truth: Annotated[Path, typer.Argument(help="Studies with truth, in any layout.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file of the scores.", show_default=False)] = None,
    rules: Annotated[str, typer.Option(help="Rule set.")] = "plain",
    labels: Labels = None,
    prediction_labels: Annotated[str | None, typer.Option(help="Label convention of the predictions.", show_default=False)] = None,
    subset: Annotated[bool, typer.Option("--subset", help="Score the predicted studies only; others may lack a prediction.")] = False,
    as_json: Json = False,
) -> None:
    """Score predictions: Dice, HD95 (mm), volumes (ml), sensitivity, specificity per region.

    Example: [cyan]gliodistill evaluate segmentations patients/ -o scores.json[/cyan]
    """
    import json

    from gliodistill.evaluation.evaluate import evaluate as score

    scores = score(predictions, truth, labels=labels, prediction_labels=prediction_labels, rules=rules, subset=subset)
    if out is not None:
        scores.write(out)

    def show() -> None:
        screen = console()

        def number(region: str, metric: str, form: str) -> str:
            mean = scores.mean(region, metric)
            return "–" if mean is None else format(mean, form)

        rows = [
            [
                region,
                number(region, "dice", ".4f"),
                number(region, "hd95_mm", ".2f"),
                number(region, "sensitivity", ".4f"),
                number(region, "specificity", ".5f"),
                number(region, "prediction_ml", ".1f"),
                number(region, "truth_ml", ".1f"),
            ]
            for region in ("WT", "TC", "ET")
        ]
        table(screen, ["region", "Dice", "HD95 mm", "sensitivity", "specificity", "predicted ml", "truth ml"], rows)
        screen.print(f"means over {len(scores.studies)} studies, rules [bold]{scores.rules.name}[/bold]: {scores.rules.text}")

    emit(as_json, json.loads(scores.to_json()), show)
    for id, reason in scores.failed.items():
        typer.echo(f"error: {id}: {reason}", err=True)
    if not scores.ok:
        raise typer.Exit(1)


def demo(
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder of the demo: new, or one to continue.")] = Path("demo"),
) -> None:
    """The whole road in minutes: phantoms, teacher, student alone and distilled, scores, export, segmentation, report.

    Example: [cyan]gliodistill demo -o demo[/cyan]
    """
    from gliodistill.demo import run_demo

    report = run_demo(out)
    console().print(f"report: [bold]{report}[/bold]")
