"""The command that trains the runs of a recipe: train."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gliodistill.cli.output import (
    Json,
    Labels,
    Layout,
    OnCluster,
    cluster_of,
    emit,
    error_as_dict,
    issue,
    notes_of,
    report_failures,
    show_machines,
    table,
    unusable_of,
)
from gliodistill.errors import GliodistillError, RecipeError

if TYPE_CHECKING:
    from rich.console import Console

    from gliodistill.cluster import Cluster
    from gliodistill.cross_validation.plan import CrossValidation


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(train)


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe file, or the name of a shipped one, e.g. compression.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="PATH",
            help="Labelled studies in any layout, or a cache made by prepare.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="RUN", help="Folder of the training.", show_default=False
        ),
    ],
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help=(
                "Continue an interrupted training with the recipe stored in RUN; the result equals"
                " that of an uninterrupted one."
            ),
        ),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a key of the recipe, e.g. training.steps=500; may be repeated.",
            show_default=False,
        ),
    ] = None,
    pseudo: Annotated[
        Path | None,
        typer.Option(
            "--pseudo",
            metavar="OUT",
            help=(
                "Output of pseudo-label or phantom, or a cache of either, for runs with a share of"
                " pseudo-labelled studies."
            ),
            show_default=False,
        ),
    ] = None,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            "--pretrained",
            metavar="RUN",
            help="A finished run of another training, for runs with init_from: pretrained.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="NAME",
            help="Train this run of the recipe only; may be repeated.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            min=2,
            metavar="N",
            help="Cross-validate: train every run once for each of N folds, which it leaves out.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            metavar="LIST",
            help="With --folds: repeat all with these numbers added to the recipe's seeds"
            " (default: 0).",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            metavar="N",
            help="With --folds: runs trained at once, which share the cores (default: 1).",
            show_default=False,
        ),
    ] = None,
    cluster: OnCluster = None,
    cpus: Annotated[
        int,
        typer.Option(
            "--cpus",
            min=1,
            metavar="N",
            help="With --cluster: cores of each run (a run on a GPU takes one GPU too).",
        ),
    ] = 1,
    layout: Layout = None,
    labels: Labels = None,
    as_json: Json = False,
) -> None:
    """Train every run of a recipe: teacher, baseline, distilled student.

    If training fails before its first step, it may be started again into the same folder. --resume
    uses the recipe stored there and names the keys in which RECIPE differs; --set may change only
    training.device, compile, prefetch, save_every and tensorboard.

    With --folds, RUN gets a training for every fold and seed. A run whose process dies goes on from
    its last checkpoint; gliodistill cross-validate scores the patients.

    Several processes train together under [bold]torchrun --nproc-per-node 2 -m gliodistill
    train …[/bold], each on its part of every batch.

    Example: [cyan]gliodistill train compression --data patients/ -o runs/first --set
    training.steps=500[/cyan]
    """
    from gliodistill import ranks
    from gliodistill.cross_validation.plan import CrossValidation
    from gliodistill.recipes.catalogue import find_recipe
    from gliodistill.recipes.reading import new_run_name
    from gliodistill.recipes.schema import Recipe
    from gliodistill.training.progress_bars import watcher
    from gliodistill.training.resolve import resolve
    from gliodistill.training.resuming import recipe_to_resume
    from gliodistill.training.run import train as train_recipe

    file = find_recipe(recipe)
    parsed = Recipe.open(file, settings or [])
    resolve(parsed, file)
    if folds is not None:
        if only or ranks.started():
            raise RecipeError(
                "cannot be combined",
                field="--folds",
                got="--only" if only else "torchrun",
                expected="without: it trains whole recipes, each run in a process of its own",
            )
        plan = CrossValidation(
            out, parsed, folds, _numbers(seeds or "0"), data.resolve(), layout, labels
        )
        gpus = any(run.training.device == "cuda" for run in parsed.runs.values())
        executor = cluster_of(cluster, out, cpus=cpus, gpus=int(gpus), shared=True)
        _train_folds(plan, resume, jobs, pseudo, pretrained, executor, as_json)
        return
    if seeds is not None or jobs is not None or cluster is not None:
        raise RecipeError(
            "option of cross-validation",
            field="--seeds, --jobs, --cluster",
            expected="with --folds",
        )
    if resume:
        parsed, differing = recipe_to_resume(out, parsed, settings or [])
        issue(differing)
    for name in only or []:
        if name not in parsed.runs:
            raise RecipeError(
                "no such run in the recipe",
                file=recipe,
                field="--only",
                got=name,
                expected=", ".join(parsed.runs),
                hint=new_run_name(name, parsed.runs),
            )
    begin = partial(
        train_recipe,
        parsed,
        data,
        out,
        resume=resume,
        layout=layout,
        labels=labels,
        only=tuple(only or ()),
        pseudo=pseudo,
        pretrained=pretrained,
    )
    if not ranks.leads():
        begin()
        return  # the first rank reports
    unused = _unused(data, layout)
    issue(unused)
    with watcher(parsed) as watch:
        experiment = begin(watch=watch)
    finished = {
        name: experiment.summary(name) for name in parsed.runs if experiment.is_finished(name)
    }

    def show(screen: "Console") -> None:
        rows = [
            [
                name,
                f"{s['parameters']:,}",
                f"{s['flops'] / 1e9:.3g}",
                str(s["steps"]),
                f"{s['seconds']:.0f}",
                *_dice(s, parsed.described_task.names),
            ]
            for name, s in finished.items()
        ]
        table(
            screen,
            [
                "run",
                "parameters",
                "GFLOP a patch",
                "steps",
                "seconds",
                *(f"{region} Dice" for region in parsed.described_task.names),
            ],
            rows,
        )
        screen.print(
            "Dice of the validation studies, on the prepared grid. Next: gliodistill export"
            f" {out} -o model"
        )

    facts = {"folder": str(out), "runs": finished, "split": experiment.split, "notes": unused}
    emit(as_json, facts, show)


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise RecipeError(
            "unusable seeds", field="--seeds", got=text, expected="integers ≥ 0, e.g. 0,1,2"
        )
    return tuple(map(int, parts))


def _train_folds(
    plan: "CrossValidation",
    resume: bool,
    jobs: int | None,
    pseudo: Path | None,
    pretrained: Path | None,
    executor: "Cluster | None",
    as_json: bool,
) -> None:
    """Train all runs of a cross-validation and say how they ended."""
    from gliodistill.cross_validation.training import train_folds

    report = train_folds(
        plan, resume=resume, jobs=jobs, pseudo=pseudo, pretrained=pretrained, executor=executor
    )

    def show(screen: "Console") -> None:
        if report.skipped:
            screen.print(f"{len(report.skipped)} runs were finished already")
        screen.print(
            f"{len(report.done)} runs trained in {plan.folder}. Next: gliodistill cross-validate"
            f" {plan.folder} -o scores"
        )
        show_machines(screen, executor)

    failed = {str(unit): error for unit, error in report.failed.items()}
    facts = {
        "folder": str(plan.folder),
        "done": list(map(str, report.done)),
        "skipped": list(map(str, report.skipped)),
        "failed": {unit: error_as_dict(error) for unit, error in failed.items()},
        "notes": [],
    }
    emit(as_json, facts, show)
    report_failures({unit: str(error) for unit, error in failed.items()})


def _unused(data: Path, layout: str | None) -> list[str]:
    """Notes on unused files among the studies; none for a cache."""
    from gliodistill.preparation.cache import is_cache
    from gliodistill.studies.cohort import find_cohort

    if is_cache(data):
        return []
    try:
        _, found = find_cohort(data, layout)
    except GliodistillError:
        return []  # reported later by the training
    return [*unusable_of(found).values(), *notes_of(found)]


def _dice(summary: dict[str, Any], regions: tuple[str, ...]) -> list[str]:
    dice = summary.get("dice") or {}
    return ["–" if dice.get(region) is None else f"{dice[region]:.3f}" for region in regions]
