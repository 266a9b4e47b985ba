"""The command that scores label maps: evaluate."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gliodistill.cli.output import (
    Json,
    Labels,
    Layout,
    OnCluster,
    cluster_of,
    emit,
    nothing_left,
    report_failures,
    show_machines,
    table,
)

if TYPE_CHECKING:
    from rich.console import Console

    from gliodistill.evaluation.scores import Scores

SCORES, TABLE, REPORT = "scores.json", "scores.csv", "report.html"


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(evaluate)


def evaluate(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS",
            help="Folder of label maps, in any layout, or a manifest.",
            show_default=False,
        ),
    ],
    truth: Annotated[
        Path,
        typer.Argument(
            metavar="REFERENCE",
            help=(
                "Studies with reference segmentations, in any layout; a folder of label maps, flat"
                " or one folder per case; or a manifest."
            ),
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Folder for scores.json, scores.csv and report.html.",
            show_default=False,
        ),
    ] = None,
    rules: Annotated[
        str,
        typer.Option(
            "--rules", metavar="NAME", help="Rule set: plain, or brats2023, 2024, 2025 or 2026."
        ),
    ] = "plain",
    task: Annotated[
        str,
        typer.Option(
            "--task",
            metavar="NAME",
            help=(
                "What was segmented: gli, ssa, gli-post (after treatment), men, men-rt, met, ped,"
                " goat, a task of `gliodistill tasks`, or the YAML file of your own."
            ),
        ),
    ] = "gli",
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            min=0.0,
            metavar="MM",
            help="Tolerance of the surface Dice (default: that of the rule set).",
            show_default=False,
        ),
    ] = None,
    probabilities: Annotated[
        Path | None,
        typer.Option(
            "--probabilities",
            metavar="FOLDER",
            help="Folder of <id>_prob.nii.gz (4-D: the task's regions), to evaluate calibration.",
            show_default=False,
        ),
    ] = None,
    subset: Annotated[
        bool,
        typer.Option("--subset", help="Score only studies that have a prediction."),
    ] = False,
    layout: Layout = None,
    labels: Labels = None,
    prediction_labels: Annotated[
        str | None,
        typer.Option(
            "--prediction-labels",
            metavar="NAME",
            help=(
                "Label convention of the predictions (default: that of their manifest, dataset.json"
                " or summaries of segment, else that of the reference)."
            ),
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            metavar="N",
            help="Studies scored at once (default: one per core).",
            show_default=False,
        ),
    ] = None,
    cluster: OnCluster = None,
    as_json: Json = False,
) -> None:
    """Score label maps against reference segmentations.

    For each region: Dice, HD95 (mm), surface Dice, sensitivity, specificity, volumes (ml), lesions
    found and missed, calibration. If a study fails, the others are still scored, and the exit code
    is 1.

    Example: [cyan]gliodistill evaluate segmentations patients/ --rules brats2023 -o
    evaluation[/cyan]
    """
    from gliodistill.errors import note
    from gliodistill.evaluation.evaluate import match_pairs, score_pairs
    from gliodistill.evaluation.rules import get_rules
    from gliodistill.files import check_file, make_folder, write_text
    from gliodistill.reports.pages.evaluation import write_evaluation_report

    rule_set = get_rules(rules, task, tolerance)
    with nullcontext() if out is None else nothing_left(out):
        if out is not None:
            make_folder(out)  # before the work, which may be long
            for name in (SCORES, TABLE, REPORT):
                check_file(out / name, [predictions, truth])
        executor = cluster_of(cluster)
        pairs = match_pairs(
            predictions,
            truth,
            layout=layout,
            labels=labels,
            prediction_labels=prediction_labels,
            probabilities=probabilities,
            subset=subset,
            jobs=jobs,
            task=rule_set.described,
            executor=executor,
        )
        if out is not None:  # a study "scores" has its summary where the scores shall be
            summaries = [pair.prediction.path.with_name(f"{pair.id}.json") for pair in pairs.pairs]
            check_file(out / SCORES, summaries)
        if pairs.left_out:
            some = ", ".join(pairs.left_out[:6]) + (", …" if len(pairs.left_out) > 6 else "")
            note(f"{len(pairs.left_out)} studies left out, no prediction: {some}")
        scores = score_pairs(pairs, rule_set, jobs=jobs, executor=executor)
        if out is not None:
            scores.write(out / SCORES)
            write_text(out / TABLE, scores.to_csv())
            write_evaluation_report(
                out / REPORT, scores, pairs, title=f"Evaluation of {predictions.resolve().name}"
            )

    def show(screen: "Console") -> None:
        _show(screen, scores, out)
        show_machines(screen, executor)

    emit(as_json, json.loads(scores.to_json()), show)
    report_failures(dict(scores.failed))


def _show(screen: "Console", scores: "Scores", out: Path | None) -> None:
    from gliodistill.evaluation.metrics import FACTS

    rules = scores.rules
    shown = [
        metric
        for metric in rules.metrics
        if any(scores.summary[region][metric]["n"] for region in rules.regions)
    ]
    rows = []
    for metric in shown:
        fact = FACTS[metric]
        means = (scores.mean(region, metric) for region in rules.regions)
        rows.append(
            [
                f"{fact.title} {fact.unit}".strip(),
                *("–" if mean is None else format(mean, fact.format) for mean in means),
            ]
        )
    table(screen, ["mean", *rules.regions], rows)
    # The text of the rules is long: if a report is written, only its path is printed.
    words = rules.text if out is None else f"task {rules.task}, in words in {out / REPORT}"
    screen.print(f"means over {len(scores.studies)} studies; rules {rules.name}: {words}")
