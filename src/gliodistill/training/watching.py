"""Watching a training: a bar on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from gliodistill.training.loop import Progress
from gliodistill.training.recipe import Recipe
from gliodistill.training.running import Watch


@contextmanager
def watcher(recipe: Recipe) -> Iterator[Watch]:
    """A function to give to ``run_experiment``: draws one bar a run on a terminal, else writes
    nothing.
    """
    if not sys.stderr.isatty():
        yield lambda run, steps, progress: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {
            name: bars.add_task(name, total=run.training.steps, note="", start=False)
            for name, run in recipe.runs.items()
        }
        started: set[str] = set()

        def watch(run: str, steps: int, progress: Progress) -> None:
            if run not in started:
                started.add(run)
                bars.start_task(tasks[run])
            best = f", best Dice {progress.best:.3f}" if progress.best >= 0 else ""
            bars.update(tasks[run], completed=progress.step, note=f"loss {progress.loss:.3f}{best}")

        yield watch
