"""One real training of each task on its phantoms: teacher, baseline, distilled.

    python -m benchmarks.tasks.trainings runs/tasks

Stopped, it goes on where it was. Every task has the same budget (`trainings.yaml`): phantoms of its
own, one teacher, and both students with one or two seeds (`--seeds`; a task that has more keeps
them). Scored are 12 phantoms that no network saw, by the plain rules, as `segment` and `evaluate`
do it; no setting was chosen on them. Writes `benchmarks/results/tasks/trainings.json` and `.md`.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.provenance import processor, versions, write_results
from gliodistill.evaluation.evaluate import evaluate
from gliodistill.evaluation.statistics import paired_difference
from gliodistill.files import make_folder, write_text
from gliodistill.inference.batch import segment_studies
from gliodistill.inference.predictor import Predictor
from gliodistill.phantom.cohort import write_cohort
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.cohort import open_cohort
from gliodistill.tasks.catalogue import find_task
from gliodistill.training.experiment import Experiment
from gliodistill.training.packaging import export
from gliodistill.training.resuming import bound, differences
from gliodistill.training.run import train

RECIPE = Path(__file__).with_suffix(".yaml")
RESULT = Path(__file__).parents[1] / "results" / "tasks" / "trainings"
TASKS = ["glioma-post", "metastases", "paediatric", "meningioma", "meningioma-rt", "goat"]
TRAINING, TESTING = 16, 12
DIFFICULTY = 0.5
DISTILLED = ("distilled", "channelwise")
STUDENTS = ("baseline", *DISTILLED)
Dice = dict[str, dict[str, list[float]]]
"""Run → region → Dice of the test studies, in the order of their ids."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder of studies, runs and models")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=1, choices=(1, 2))
    given = parser.parse_args()
    for name in given.tasks.split(","):
        one_task(name, given.work / name, given.seeds)
        found = {
            each: json.loads(file.read_text()) | trained(given.work / each)
            for each in TASKS
            if (file := given.work / each / "result.json").exists()
        }
        facts = {
            "what": "Dice of test phantoms; difference = distilled - baseline, seeds averaged"
            " within each study, 95 % bootstrap over studies",
            "budget": {
                "training": TRAINING,
                "testing": TESTING,
                "difficulty": DIFFICULTY,
                "recipe": yaml.safe_load(RECIPE.read_text()),
            },
            "machine": {"processor": processor()} | versions("numpy", "torch", "openvino"),
            "tasks": found,
        }
        write_results(RESULT, facts, table(found))
        print(table(found), flush=True)


def one_task(name: str, work: Path, seeds: int) -> None:
    """Studies, training of each seed, export, segmentation and scores of one task; kept in
    ``result.json``.
    """
    file = work / "result.json"
    runs = ["teacher", *(f"{kind}-{seed}" for seed in range(seeds) for kind in STUDENTS)]
    if (
        file.exists()
        and set(runs) <= json.loads(file.read_text())["dice"].keys()
        and not bound(differences(Experiment.open(work / "run").recipe, recipe_of(name)))
    ):
        return  # else a folder of another recipe is refused by `train`
    began, task = time.process_time(), find_task(name)
    labels = task.conventions[0].name
    spacing = Recipe.open(RECIPE).data.spacing
    assert spacing is not None
    for place, (side, size) in enumerate((("training", TRAINING), ("testing", TESTING)), start=1):
        write_cohort(
            work / side,
            size,
            1000 + 100 * (TASKS.index(name) + 1) + place,
            spacing=spacing[0],
            difficulty=DIFFICULTY,
            task=name,
            jobs=1,
        )
    experiment = train(
        recipe_of(name),
        work / "training",
        work / "run",
        resume=(work / "run").exists(),
        labels=labels,
        only=runs,
        jobs=1,
    )
    testing = open_cohort(work / "testing", labels=labels)
    dice: Dice = {}
    for run in runs:
        model = work / "models" / run
        make_folder(model.parent)
        if not model.exists():
            export(experiment.folder / run, model, formats=("openvino",))
        out = work / "segmentations" / run
        report = segment_studies(testing.studies, Predictor(model), out, resume=True)
        for error in report.failed.values():
            raise error
        scores = evaluate(out, work / "testing", labels=labels, task=name, jobs=1)
        dice[run] = {region: scores.values(region) for region in scores.rules.regions}
    cpu_s = round(time.process_time() - began)
    found = {"regions": task.names, "dice": dice, "cpu_s": cpu_s}
    write_text(file, json.dumps(found))


def trained(work: Path) -> dict[str, Any]:
    """How the networks of a task were trained: by the recipe in their folder, which may be an
    earlier version of `trainings.yaml`.
    """
    training = Experiment.open(work / "run").recipe.runs["teacher"].training
    return {
        "steps": training.steps,
        "batch_norm_recalibration": training.batch_norm_recalibration,
    }


def recipe_of(name: str) -> Recipe:
    """`trainings.yaml` for one task."""
    values = yaml.safe_load(RECIPE.read_text())
    values["task"] = name
    if name == "meningioma-rt":
        values["data"]["sequences"] = ["T1CE"]
    return Recipe.model_validate(values)


def table(found: dict[str, Any]) -> str:
    """Mean Dice in points, a row a region."""
    lines = [
        "| task | steps | seeds | region | teacher | baseline | soft targets | channel-wise"
        " | soft targets − baseline [95 %] | channel-wise − baseline [95 %] |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, facts in found.items():
        dice: Dice = facts["dice"]
        regions = [region for region in dice["teacher"] if region in facts["regions"]]
        for region in [*regions, *(["mean"] if len(regions) > 1 else [])]:
            among = regions if region == "mean" else [region]
            values = {
                kind: np.mean(
                    [dice[run][one] for run in runs_of(dice, kind) for one in among], axis=0
                )
                for kind in ("teacher", *STUDENTS)
                if runs_of(dice, kind)
            }
            cells = [f"`{name}`", facts["steps"], len(runs_of(dice, "baseline")), region]
            for kind in ("teacher", *STUDENTS):
                cells.append(f"{100 * values[kind].mean():.1f}" if kind in values else "–")
            for kind in DISTILLED:
                if kind not in values:
                    cells.append("–")
                    continue
                gain = paired_difference(values[kind], values["baseline"])
                points = [f"{100 * value:+.1f}" for value in gain[:3]]
                cells.append(f"{points[0]} [{points[1]}, {points[2]}]")
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, ""])


def runs_of(dice: Dice, kind: str) -> list[str]:
    return [run for run in dice if run.partition("-")[0] == kind]


if __name__ == "__main__":
    main()
