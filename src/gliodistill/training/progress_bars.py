"""Watching a training: how far each run is, its loss and its best validation Dice."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from gliodistill.progress import EVERY, showing
from gliodistill.recipes.schema import Recipe
from gliodistill.training.loop import Progress
from gliodistill.training.run import Watch


@contextmanager
def watcher(recipe: Recipe, every: float = EVERY) -> Iterator[Watch]:
    """A function to give to ``train``: one bar a run on a terminal, else a line each
    ``every`` seconds (:mod:`gliodistill.progress`).
    """
    tasks: dict[str, int | None] = {
        f"training {name}": run.training.steps for name, run in recipe.runs.items()
    }
    with showing(tasks, every, keep=True) as update:

        def watch(run: str, steps: int, progress: Progress) -> None:
            notes = [] if math.isnan(progress.loss) else [f"loss {progress.loss:.3f}"]
            if progress.best >= 0:
                notes.append(f"best Dice {progress.best:.3f}")
            update(f"training {run}", progress.step, ", ".join(notes))

        yield watch
