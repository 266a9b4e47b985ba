"""Teacher, baseline and student: what ``gliodistill distil`` makes of a trained nnU-Net, over seeds.

``python -m benchmarks.teachers.table OUT`` distils the nnU-Net that
:mod:`benchmarks.teachers.trained` wrote to OUT: even seeds from fold 0, odd ones from fold 1, so
that the patients of both folds are scored by a teacher that has not seen them. It writes
``benchmarks/results/teachers/NAME.json`` and ``.md``. A stopped one goes on with the same command.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.provenance import load, processor, versions, write_results
from benchmarks.teachers.trained import NAME, SETTINGS
from gliodistill.distil import distil
from gliodistill.evaluation.scores import Scores
from gliodistill.evaluation.statistics import mean_interval, student_interval
from gliodistill.studies.labels import REGIONS
from gliodistill.teachers import ForeignTeacher

RESULTS = Path(__file__).parents[1] / "results" / "teachers"
MODELS = ("teacher", "baseline", "distilled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", default="phantoms")
    parser.add_argument("--data", default="synthetic studies", help="in words, for the table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--budget", nargs="+", default=["params<=11%"])
    parser.add_argument("--set", dest="settings", nargs="+", default=[])
    parser.add_argument("--seconds", type=float, default=1.0, help="of the planner")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    done = {seed: run(options, seed) for seed in options.seeds}
    teacher = json.loads((options.out / SETTINGS).read_text())
    rows = {model: row(model, done) for model in MODELS}
    facts = {
        "data": options.data,
        "teacher": teacher,
        "settings": {
            "budget": options.budget, "set": options.settings, "seeds": options.seeds,
            "student": done[options.seeds[0]]["student"],
            "asked": done[options.seeds[0]]["asked"],
        },
        "machine": {"processor": processor(), "cores": os.cpu_count(), "load": load(),
                    **versions("torch", "openvino")},
        "rows": rows,
        "difference": difference(done),
    }  # fmt: skip
    write_results(RESULTS / options.name, facts, table(facts))
    print(table(facts))


def run(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One distillation: rows, and the Dice of every validation study."""
    folder = options.out / f"distilled-{seed}"
    results = options.out / "nnUNet_results" / NAME
    settings = [
        *options.settings,
        *(f"runs.{run}.seed={seed}" for run in ("baseline", "distilled")),
    ]
    made = distil(
        ForeignTeacher("nnunet", str(results), {"folds": [seed % 2]}),
        options.out / "nnUNet_raw" / NAME, options.budget, folder, settings=settings,
        threads=options.threads, seconds=options.seconds, jobs=1,
    )  # fmt: skip
    plan = json.loads((folder / "plan" / "plan.json").read_text())
    scores = {name: Scores.read(folder / "scores" / f"{name}.json") for name in MODELS}
    return {
        "rows": made.rows,
        "student": plan["proposed"] | {"shares": plan["shares"]},
        "asked": (plan["teaching"] or {}).get("explanation"),
        "dice": {
            name: {region: list(one.values(region)) for region in REGIONS}
            for name, one in scores.items()
        },
    }


def row(model: str, done: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds: Dice by region, seconds, megabytes."""
    dice = {
        region: float(np.mean([np.mean(each["dice"][model][region]) for each in done.values()]))
        for region in REGIONS
    }
    return {
        "dice": {region: round(value, 4) for region, value in dice.items()},
        "seconds": round(float(np.median([e["rows"][model]["seconds"] for e in done.values()])), 3),
        "megabytes": round(done[next(iter(done))]["rows"][model]["megabytes"], 3),
    }


def difference(done: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Distilled − baseline in Dice, paired by study: intervals over studies, and over seeds."""
    found = {}
    for region in (*REGIONS, "mean"):
        by_seed = {seed: paired(each["dice"], region) for seed, each in done.items()}
        folds = [
            np.mean([values for seed, values in by_seed.items() if seed % 2 == fold], axis=0)
            for fold in sorted({seed % 2 for seed in by_seed})
        ]
        studies = np.concatenate(folds)
        low, high = mean_interval(studies)
        over_seeds = student_interval([float(values.mean()) for values in by_seed.values()])
        found[region] = {
            "mean": round(float(studies.mean()), 4),
            "over_studies": [round(low, 4), round(high, 4)],
            "over_seeds": [round(over_seeds.low, 4), round(over_seeds.high, 4)],
            "studies": len(studies),
        }
    return found


def paired(dice: dict[str, Any], region: str) -> Any:
    """Distilled − baseline of each study."""
    named = REGIONS if region == "mean" else (region,)
    both = [
        np.mean([dice[model][each] for each in named], axis=0)
        for model in ("distilled", "baseline")
    ]
    return both[0] - both[1]


def table(facts: dict[str, Any]) -> str:
    """As Markdown."""
    settings, student = facts["settings"], facts["settings"]["student"]
    lines = [
        f"nnU-Net (2 folds of {facts['teacher']['epochs']} epochs of"
        f" {facts['teacher']['iterations']} steps) distilled into a student of"
        f" {student['shares']['params']:.1%} of its parameters; {facts['data']};"
        f" {len(settings['seeds'])} seeds.", "",
        "| model | WT | TC | ET | seconds a study | MB |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for model, one in facts["rows"].items():
        dice = " | ".join(f"{value:.3f}" for value in one["dice"].values())
        lines.append(f"| {model} | {dice} | {one['seconds']:.2f} | {one['megabytes']:.2f} |")
    lines += ["", "| distilled − baseline | Dice | 95 % over studies | 95 % over seeds |",
              "|---|---|---|---|"]  # fmt: skip
    for region, one in facts["difference"].items():
        intervals = (
            f"{one[key][0]:+.3f} … {one[key][1]:+.3f}" for key in ("over_studies", "over_seeds")
        )
        lines.append(f"| {region} | {one['mean']:+.3f} | {' | '.join(intervals)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
