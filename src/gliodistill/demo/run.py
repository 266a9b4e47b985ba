"""From nothing to a report: synthetic studies, the teacher's labels, baseline and distilled
student, export, segmentation, scores.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gliodistill.demo.report import Result, write_demo_report
from gliodistill.demo.scenario import SEED, TEACHER, Scenario, with_seed
from gliodistill.demo.study import TEACHER_RUN, DemoStudy
from gliodistill.documents import Refusal, read_json
from gliodistill.errors import OutputError
from gliodistill.evaluation.evaluate import evaluate
from gliodistill.files import make_folder, write_text
from gliodistill.inference.batch import segment_studies
from gliodistill.inference.ensemble import Ensemble
from gliodistill.inference.predictor import Predictor
from gliodistill.inference.pseudo_labels import write_pseudo_labels
from gliodistill.models.package import ModelPackage
from gliodistill.phantom.cohort import write_cohort
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.cohort import Cohort, open_cohort
from gliodistill.training.experiment import Experiment
from gliodistill.training.packaging import export
from gliodistill.training.progress_bars import watcher
from gliodistill.training.run import train

MARK = "demo.json"


@dataclass(frozen=True)
class Demo:
    """A finished demo.

    Attributes:
        experiment: with the runs ``baseline`` and ``distilled``.
        testing: the test studies.
        results: of ``teacher``, ``baseline`` and ``distilled``, in this order.
    """

    experiment: Experiment
    testing: Cohort
    results: Mapping[str, Result]


def run_demo(
    out: str | os.PathLike[str],
    recipe: str | os.PathLike[str] = "demo",
    seed: int = SEED,
    scenario: Scenario | None = None,
) -> Path:
    """Run the demo in ``out`` and write its page; a demo that was stopped goes on where it was.

    Args:
        out: as of :func:`run_models`, and gets ``report.html``.
        recipe: shipped name or file; with the runs ``baseline`` and ``distilled``.
        seed: of the cohorts, the first weights and the patches.
        scenario: how many studies; None = the demo's.

    Returns:
        the report.

    Raises:
        GliodistillError: ``out`` holds something else, or any step fails.
    """
    began, scenario, path = time.perf_counter(), scenario or Scenario(), Path(out) / "report.html"
    demo = run_models(out, recipe, seed, scenario)
    write_demo_report(
        path, demo.experiment, demo.testing, demo.results, scenario, seed, DemoStudy.read()
    )
    sys.stderr.write(f"finished in {time.perf_counter() - began:.0f} s\n")
    return path


def run_models(
    out: str | os.PathLike[str],
    recipe: str | os.PathLike[str],
    seed: int,
    scenario: Scenario,
) -> Demo:
    """Everything but the page: studies, the teacher's labels, training, export, scores.

    Args:
        out: new folder, or that of a demo. Gets ``labelled/``, ``unlabelled/`` and ``testing/``
            (studies), ``pseudo/`` (the teacher's labels), ``experiment/`` (runs), ``models/``,
            ``segmentations/`` and ``scores/``.
        recipe: as of :func:`run_demo`, as are the others.
        seed: of the cohorts, the first weights and the patches.
        scenario: how many studies.

    Raises:
        GliodistillError: ``out`` holds something else, or any step fails.
    """
    root = Path(out)
    parsed = with_seed(Recipe.open(recipe), seed)
    assert parsed.data.spacing is not None
    spacing = parsed.data.spacing[0]
    _claim(root, seed, scenario.fingerprint(parsed))
    runs = (TEACHER_RUN, *parsed.runs)
    steps = _Steps(3 + len(runs))

    cohorts = scenario.cohorts(seed)
    total = sum(size for size, _ in cohorts.values())
    steps.next(f"{total} synthetic studies at {spacing:g} mm, difficulty {scenario.difficulty:g}")
    for name, (size, drawn) in cohorts.items():
        write_cohort(
            root / name,
            size,
            drawn,
            spacing=spacing,
            difficulty=scenario.difficulty,
            labelled=name != "unlabelled",
        )
    labelled, unlabelled, testing = (open_cohort(root / name) for name in cohorts)

    steps.next(f"the teacher labels {scenario.unlabelled} unlabelled studies")
    _label(unlabelled, root / "pseudo", {"labelled": labelled, "testing": testing})

    steps.next(f"training {', '.join(parsed.runs)} on {scenario.labelled} labelled studies")
    with watcher(parsed) as watch:
        experiment = train(
            parsed,
            root / "labelled",
            root / "experiment",
            resume=(root / "experiment").exists(),
            pseudo=root / "pseudo",
            watch=watch,
        )

    for part in ("models", "scores"):
        make_folder(root / part)
    results = {}
    for name in runs:
        steps.next(f"{name}: segment {scenario.testing} test studies, score")
        folder = TEACHER if name == TEACHER_RUN else root / "models" / name
        if not folder.exists():
            export(experiment.folder / name, folder)
        segmentations = root / "segmentations" / name
        report = segment_studies(testing.studies, Predictor(folder), segmentations, resume=True)
        for error in report.failed.values():
            raise error
        scores = evaluate(segmentations, root / "testing")
        scores.write(root / "scores" / f"{name}.json")
        results[name] = Result(ModelPackage.open(folder), scores, segmentations)
    return Demo(experiment, testing, results)


def _claim(root: Path, seed: int, fingerprint: str) -> None:
    """Mark a new folder as that of this demo, or refuse one that holds something else."""
    mark = {"seed": seed, "fingerprint": fingerprint}
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        words = Refusal(OutputError, "output exists and is not a demo", "choose another with -o")
        if read_json(root / MARK, words) != mark:
            raise OutputError(
                "output exists and is not this demo",
                file=root,
                got="a demo of another seed or version",
                expected="a new folder",
                hint="choose another with -o",
            )
        return
    make_folder(root)
    write_text(root / MARK, json.dumps(mark, indent=1) + "\n")


def _label(unlabelled: Cohort, out: Path, exclude: dict[str, Cohort]) -> None:
    """The teacher's soft labels; whoever is in ``exclude`` is left out."""
    teacher = Predictor(TEACHER)
    report = write_pseudo_labels(
        unlabelled.studies,
        Ensemble([teacher]),
        out,
        labels=teacher.package.convention,
        soft=True,
        exclude=exclude,
        resume=True,
    )
    for error in report.failed.values():
        raise error


class _Steps:
    """Says which part is running, on standard error; bars of the parts are their own."""

    def __init__(self, total: int) -> None:
        self.total, self.number = total, 0

    def next(self, what: str) -> None:
        self.number += 1
        sys.stderr.write(f"[{self.number}/{self.total}] {what}\n")
        sys.stderr.flush()
