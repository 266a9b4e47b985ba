"""Teacher, baseline and student on studies that decided nothing, over seeds: PLAN.md says how.

``python -m benchmarks.teachers.table OUT --test STUDIES`` distils fold 0 of the nnU-Net that
:mod:`benchmarks.teachers.trained` wrote to OUT, as ``gliodistill distil`` does, once a seed. All
three segment the labelled test STUDIES. It writes ``benchmarks/results/teachers/NAME.json`` and
``.md``. A stopped one goes on with the same command. ``--remedy`` distils as one of
:mod:`benchmarks.teachers.remedies` does.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.provenance import load, processor, versions, write_results
from benchmarks.teachers.crossed import Crossed, crossed
from benchmarks.teachers.remedies import REMEDIES
from benchmarks.teachers.trained import NAME, SETTINGS
from gliodistill.distil import distil
from gliodistill.evaluation.evaluate import evaluate
from gliodistill.evaluation.scores import Scores
from gliodistill.evaluation.statistics import holm
from gliodistill.files import make_folder
from gliodistill.images import write_nifti
from gliodistill.inference.batch import segment_studies
from gliodistill.inference.predictor import Predictor
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.labels import REGIONS, find_convention
from gliodistill.studies.study import load_study
from gliodistill.teachers import ForeignTeacher, Teacher

RESULTS = Path(__file__).parents[1] / "results" / "teachers"
STUDENTS = ("baseline", "distilled")
CODES = "brats2021"
"""Label convention of the teacher's label maps here."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--test", type=Path, required=True, help="labelled studies")
    parser.add_argument("--name", default="nnunet_teacher")
    parser.add_argument("--data", default="synthetic studies", help="in words, for the table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", nargs="+", default=["params<=11%"])
    parser.add_argument("--set", dest="settings", nargs="+", default=[])
    parser.add_argument("--seconds", type=float, default=1.0, help="of the planner")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--remedy", choices=list(REMEDIES))
    options = parser.parse_args()
    remedy = REMEDIES.get(options.remedy, {})
    if remedy:
        losses = json.dumps(remedy["losses"])
        options.settings.append(f"runs.distilled.method.options.losses={losses}")
    results, live = options.out / "nnUNet_results" / NAME, remedy.get("live", False)
    teacher = ForeignTeacher("nnunet", str(results), {"folds": [0]}, live=live)
    runs = {seed: run(options, teacher, seed) for seed in options.seeds}
    asked = by_teacher(teacher.open(), options.test, options.out / options.test.name)
    students = {
        seed: {name: by_student(folder, name, options.test, options.threads) for name in STUDENTS}
        for seed, folder in runs.items()
    }
    plan = json.loads((runs[options.seeds[0]] / "plan" / "plan.json").read_text())
    facts = {
        "plan": "benchmarks/teachers/PLAN.md",
        "data": options.data,
        "test_studies": len(asked["dice"]["WT"]),
        "teacher": json.loads((options.out / SETTINGS).read_text()),
        "settings": {
            "budget": options.budget, "set": options.settings, "seeds": options.seeds,
            "student": plan["proposed"] | {"shares": plan["shares"]},
            "asked": (plan["teaching"] or {}).get("explanation"),
        },
        "machine": {"processor": processor(), "cores": os.cpu_count(), "load": load(),
                    **versions("torch", "openvino")},
        "rows": {
            "teacher": row([asked]),
            **{name: row([each[name] for each in students.values()]) for name in STUDENTS},
        },
        "difference": difference(students),
        "dice": {"teacher": asked["dice"]}
        | {name: {s: each[name]["dice"] for s, each in students.items()} for name in STUDENTS},
    }  # fmt: skip
    write_results(RESULTS / options.name, facts, table(facts))
    print(table(facts))


def run(options: argparse.Namespace, teacher: ForeignTeacher, seed: int) -> Path:
    """One distillation, finished or made now."""
    settings = [*options.settings, *(f"runs.{name}.seed={seed}" for name in STUDENTS)]
    made = distil(
        teacher, options.out / "nnUNet_raw" / NAME, options.budget,
        options.out / f"distilled-{seed}", settings=settings,
        threads=options.threads, seconds=options.seconds, jobs=1,
    )  # fmt: skip
    return made.folder


def by_teacher(teacher: Teacher, truth: Path, out: Path) -> dict[str, Any]:
    """Dice of the teacher, and its costs."""
    network, codes = teacher.as_network(), find_convention(CODES)
    assert network is not None
    size = 4e-6 * sum(p.numel() for p in network.parameters())
    test = open_cohort(truth).labelled()
    if not (out / "teacher.json").is_file():
        make_folder(out / "teacher")
        wall, processor_time = [], []
        for record in test.studies:
            began, busy = time.perf_counter(), time.process_time()
            study = load_study(record)
            regions = teacher.predict(study).probability > 0.5
            labels = study.grid.with_data(codes.from_regions(regions))
            write_nifti(labels, out / "teacher" / f"{record.id}.nii.gz")
            wall.append(time.perf_counter() - began)
            processor_time.append(time.process_time() - busy)
        costs = {"seconds": float(np.median(wall)), "cpu": float(np.median(processor_time))}
        scored(out, "teacher", truth, costs)
    return read(out, "teacher") | {"megabytes": size}


def by_student(folder: Path, name: str, truth: Path, threads: int) -> dict[str, Any]:
    """Dice of a package, and its costs: as ``gliodistill segment`` runs it."""
    model, out = folder / "models" / name, folder / truth.name
    test = open_cohort(truth).labelled()
    if not (out / f"{name}.json").is_file():
        predictor = Predictor(model, threads=threads)
        began, busy = time.perf_counter(), time.process_time()
        report = segment_studies(test.studies, predictor, out / name, labels=CODES, resume=True)
        if report.failed:
            raise next(iter(report.failed.values()))
        if report.skipped:
            raise SystemExit(f"{out / name} was begun earlier: remove it, for its time")
        costs = {
            "seconds": (time.perf_counter() - began) / len(test),
            "cpu": (time.process_time() - busy) / len(test),
        }
        scored(out, name, truth, costs)
    size = sum(file.stat().st_size for file in model.glob("*.bin")) / 1e6
    return read(out, name) | {"megabytes": size}


def scored(out: Path, name: str, truth: Path, costs: dict[str, float]) -> None:
    """Score a folder of label maps, and keep scores and costs; the costs are written last."""
    scores = evaluate(out / name, truth, prediction_labels=CODES, jobs=1)
    scores.write(out / f"{name}-scores.json")
    (out / f"{name}.json").write_text(json.dumps(costs))


def read(out: Path, name: str) -> dict[str, Any]:
    """Costs, and Dice by region of the studies in the order of their ids."""
    studies = Scores.read(out / f"{name}-scores.json").studies
    dice = {r: [round(studies[id][r]["dice"], 5) for id in sorted(studies)] for r in REGIONS}
    return {**json.loads((out / f"{name}.json").read_text()), "dice": dice}


def row(done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds."""
    dice = {r: float(np.mean([each["dice"][r] for each in done])) for r in REGIONS}
    return {
        "dice": {r: round(value, 4) for r, value in dice.items()},
        "seconds": round(float(np.median([each["seconds"] for each in done])), 3),
        "cpu_seconds": round(float(np.median([each["cpu"] for each in done])), 3),
        "megabytes": round(done[0]["megabytes"], 3),
    }


def difference(students: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Distilled − baseline: the mean of the regions, and each region with p-values after Holm."""
    by_region = {
        r: np.array(
            [np.subtract(*(each[n]["dice"][r] for n in reversed(STUDENTS)))
             for each in students.values()]
        )
        for r in REGIONS
    }  # fmt: skip
    primary = crossed(np.mean(list(by_region.values()), axis=0))
    each = {r: crossed(values) for r, values in by_region.items()}
    corrected = dict(zip(each, holm([found.p for found in each.values()]), strict=True))
    return {"mean": facts_of(primary)} | {
        r: facts_of(found) | {"p_holm": corrected[r]} for r, found in each.items()
    }


def facts_of(found: Crossed) -> dict[str, Any]:
    """As JSON."""
    return {
        "mean": round(found.mean, 5),
        "interval": [round(found.low, 5), round(found.high, 5)],
        "p": found.p,
        "by_seed": [round(value, 5) for value in found.by_seed],
    }


def table(facts: dict[str, Any]) -> str:
    """As Markdown."""
    settings, teacher = facts["settings"], facts["teacher"]
    lines = [
        f"nnU-Net ({teacher['epochs']} epochs of {teacher['iterations']} steps) distilled into a"
        f" student of {settings['student']['shares']['params']:.1%} of its parameters;"
        f" {facts['data']}; {facts['test_studies']} test studies, {len(settings['seeds'])} seeds.",
        "",
        "| model | WT | TC | ET | mean | CPU seconds a study | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, one in facts["rows"].items():
        dice = [*one["dice"].values(), float(np.mean(list(one["dice"].values())))]
        lines.append(
            f"| {model} | {' | '.join(f'{value:.3f}' for value in dice)} |"
            f" {one['cpu_seconds']:.2f} | {one['megabytes']:.2f} |"
        )
    lines += ["", "| distilled − baseline | Dice | 95 % interval | p | by seed |",
              "|---|---|---|---|---|"]  # fmt: skip
    for region, one in facts["difference"].items():
        p = f"{one.get('p_holm', one['p']):.3f}" + (" (Holm)" if "p_holm" in one else "")
        seeds = " ".join(f"{value:+.3f}" for value in one["by_seed"])
        low, high = one["interval"]
        lines.append(
            f"| {region} | {one['mean']:+.4f} | {low:+.4f} … {high:+.4f} | {p} | {seeds} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
