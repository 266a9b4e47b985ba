"""The command that prepares studies for training: prepare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gliodistill.cli.output import (
    Jobs,
    Json,
    Labels,
    Layout,
    OnCluster,
    cluster_of,
    emit,
    issue,
    notes_of,
    nothing_left,
    show_machines,
    unusable_of,
)
from gliodistill.errors import GliodistillError

if TYPE_CHECKING:
    from rich.console import Console

    from gliodistill.preparation.preparation import Preparation
    from gliodistill.tasks.task import Task

SEQUENCES = "T1,T1CE,T2,FLAIR"


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(prepare)


def prepare(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Studies in any layout.", show_default=False)
    ],
    cache: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="CACHE",
            help="Folder of the cache: new, or one to continue.",
            show_default=False,
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="RECIPE",
            help="Prepare for this recipe, by its `data` keys.",
            show_default=False,
        ),
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(
            "--spacing",
            min=0.3,
            max=8.0,
            metavar="MM",
            help="Voxel size in mm (default: each study's own).",
            show_default=False,
        ),
    ] = None,
    sequences: Annotated[
        str | None,
        typer.Option(
            "--sequences",
            metavar="LIST",
            help=f"Channels in order, comma-separated (default: {SEQUENCES}).",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help="Whose regions the references become (default: the recipe's, or glioma).",
            show_default=False,
        ),
    ] = None,
    layout: Layout = None,
    labels: Labels = None,
    jobs: Jobs = None,
    cluster: OnCluster = None,
    as_json: Json = False,
) -> None:
    """Prepare studies for training, once.

    Crops to the brain, resamples, normalises, and stores one byte per voxel.

    Example: [cyan]gliodistill prepare patients/ -o cache --recipe compression[/cyan]
    """
    from gliodistill.preparation import build_cache
    from gliodistill.studies.cohort import find_cohort, open_cohort

    preparation = _preparation(recipe, spacing, sequences)
    chosen = _task(recipe, task)
    cohort = open_cohort(path, layout=layout, labels=labels)
    _, found = find_cohort(path, layout)
    notes = [*unusable_of(found).values(), *notes_of(found)]
    cohort.note_unlabelled()
    with nothing_left(cache):
        executor = cluster_of(cluster, cache)
        built = build_cache(cohort, preparation, cache, jobs, task=chosen, executor=executor)
        notes += built.notes
    size = sum(file.stat().st_size for study in built for file in study.folder.iterdir())
    issue(notes)
    facts = {
        "cache": str(cache),
        "studies": [study.id for study in built],
        "bytes": size,
        "preparation": preparation.to_dict(),
        "notes": notes,
    }

    def show(screen: "Console") -> None:
        screen.print(f"{len(built)} studies prepared in {cache} ({size / 1e6:.1f} MB)")
        show_machines(screen, executor)

    emit(as_json, facts, show)


def _task(recipe: str | None, task: str | None) -> "Task | None":
    from gliodistill.tasks.catalogue import find_task

    if task is not None:
        return find_task(task)
    if recipe is None:
        return None
    from gliodistill.recipes.schema import Recipe

    return Recipe.open(recipe).described_task


def _preparation(recipe: str | None, spacing: float | None, sequences: str | None) -> "Preparation":
    if recipe is not None:
        if spacing is not None or sequences is not None:
            raise GliodistillError(
                "two sources of settings",
                field="--recipe",
                expected="either --recipe, or --spacing and --sequences",
            )
        from gliodistill.recipes.schema import Recipe

        return Recipe.open(recipe).data.preparation()
    from gliodistill.preparation import Preparation
    from gliodistill.studies.naming import parse_sequence

    channels = tuple(parse_sequence(name) for name in (sequences or SEQUENCES).split(","))
    if len(set(channels)) < len(channels):
        raise GliodistillError(
            "a sequence named twice",
            field="--sequences",
            got=sequences,
            expected="each at most once",
        )
    return Preparation(channels, None if spacing is None else (spacing, spacing, spacing))
