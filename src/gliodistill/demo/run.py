"""From nothing to a report: phantoms, teacher, student alone and distilled, export, segmentation,
scores.
"""

import os
import sys
import time
from pathlib import Path

from gliodistill.demo.report import write_demo_report
from gliodistill.errors import OutputError
from gliodistill.evaluation.evaluate import evaluate
from gliodistill.inference.batch import segment_studies
from gliodistill.inference.predictor import Predictor
from gliodistill.phantom.cohort import write_cohort
from gliodistill.studies.cohort import open_cohort
from gliodistill.training.packaging import package_run
from gliodistill.training.recipe_file import load_recipe
from gliodistill.training.running import run_experiment
from gliodistill.training.shipped import find_recipe
from gliodistill.training.watching import watcher

LEARNING, TESTING = 40, 12
"""Synthetic studies to learn from (the recipe keeps some for validation), and unseen ones to test
on.
"""
LEARNING_SEED, TESTING_SEED = 1, 2
DIFFICULTY = 0.3
"""Of the studies, on the phantoms' scale of 0 to 2: minutes of training need clear images."""


def run_demo(out: str | os.PathLike[str], recipe: str | os.PathLike[str] = "demo") -> Path:
    """Run the demo in ``out``; a demo that was stopped goes on where it was.

    Args:
        out: new folder, or that of a demo. Gets ``learning/`` and ``testing/`` (studies),
            ``experiment/`` (runs), ``models/``, ``segmentations/``, ``scores/`` and
            ``report.html``.
        recipe: shipped name or file; its last run is the student shown.

    Returns:
        the report.

    Raises:
        GliodistillError: ``out`` holds something else, or any step fails.
    """
    root = Path(out)
    if root.exists() and (
        not root.is_dir() or (any(root.iterdir()) and not (root / "learning").exists())
    ):
        raise OutputError(
            "output exists and is not a demo",
            file=root,
            expected="a new folder",
            hint="choose another with -o",
        )
    parsed = load_recipe(find_recipe(recipe))
    assert parsed.data.spacing is not None
    spacing, began = parsed.data.spacing[0], time.perf_counter()
    names = list(parsed.runs)
    steps = _Steps(4 + len(names))

    steps.next(
        f"{LEARNING + TESTING} synthetic studies at {spacing:g} mm, difficulty {DIFFICULTY:g}"
    )
    write_cohort(root / "learning", LEARNING, LEARNING_SEED, spacing=spacing, difficulty=DIFFICULTY)
    write_cohort(root / "testing", TESTING, TESTING_SEED, spacing=spacing, difficulty=DIFFICULTY)

    steps.next(f"training {', '.join(names)}")
    with watcher(parsed) as watch:
        experiment = run_experiment(
            parsed,
            root / "learning",
            root / "experiment",
            resume=(root / "experiment").exists(),
            watch=watch,
        )

    testing, scores = open_cohort(root / "testing"), {}
    (root / "models").mkdir(exist_ok=True)
    (root / "scores").mkdir(exist_ok=True)
    for name in names:
        steps.next(f"{name}: export, segment {TESTING} unseen studies, score")
        model = root / "models" / name
        package = package_run(root / "experiment" / name, model) if not model.exists() else model
        report = segment_studies(
            testing.studies, Predictor(package), root / "segmentations" / name, resume=True
        )
        for error in report.failed.values():
            raise error
        scores[name] = evaluate(root / "segmentations" / name, root / "testing")
        scores[name].write(root / "scores" / f"{name}.json")

    steps.next("report")
    path = root / "report.html"
    write_demo_report(path, experiment, testing, root / "segmentations", scores, DIFFICULTY)
    steps.done(f"finished in {time.perf_counter() - began:.0f} s")
    return path


class _Steps:
    """Says which part is running, on standard error; bars of the parts are their own."""

    def __init__(self, total: int) -> None:
        self.total, self.number = total - 1, 0

    def next(self, what: str) -> None:
        self.number += 1
        sys.stderr.write(f"[{self.number}/{self.total}] {what}\n")
        sys.stderr.flush()

    def done(self, what: str) -> None:
        sys.stderr.write(f"{what}\n")
