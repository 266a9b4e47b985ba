"""Folds and seeds of a tiny run on a cluster that loses a raylet, and several ranks of one run."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.cluster.raylets import two_raylets
from gliodistill.cluster import Cluster
from gliodistill.cross_validation import CrossValidation, cross_validate, train_folds
from gliodistill.files import make_folder, write_text
from gliodistill.phantom.cohort import write_cohort
from gliodistill.recipes.schema import Recipe

FOLDS, SEEDS, SPACING = 5, (0, 1), 6.0
RANKS, LARGE, FINE_SPACING = (1, 2, 4), 48, 3.0


def tiny_recipe(work: Path, side: int = 16, **training: Any) -> Recipe:
    """A small U-Net with batch norms and its teacher."""
    network = {"name": "unet", "options": {"widths": [4, 8], "norm": "batch"}}
    method = {"name": "compression", "options": {"teacher": "teacher"}}
    described = {
        "name": "tiny",
        "sampling": {"patch": [side] * 3, "batch": 4},
        "training": {"steps": 20, "warmup": 2, "validate_every": 10, "save_every": 2,
                     "precision": "float32", "device": "cpu", **training},
        "runs": {"teacher": {"network": network}, "distilled": {"network": network,
                                                               "method": method}},
    }  # fmt: skip
    file = make_folder(work) / "tiny.yaml"
    write_text(file, yaml.safe_dump(described, sort_keys=False))
    return Recipe.open(file)


def folds(work: Path) -> dict[str, Any]:
    """The tables of an undisturbed cross-validation, and of one that loses a raylet."""
    cohort = work / "patients"
    write_cohort(cohort, 10, seed=32, spacing=SPACING, jobs=2)
    recipe = tiny_recipe(work)
    facts, seconds = {}, {}
    for name in ("undisturbed", "disturbed"):
        shutil.rmtree(work / name, ignore_errors=True)
        plan = CrossValidation(work / name / "runs", recipe, FOLDS, SEEDS, cohort)
        began = time.perf_counter()
        if name == "undisturbed":
            report = train_folds(plan, jobs=2)
        else:
            with two_raylets() as raylets:
                lost = threading.Timer(
                    0.5 * seconds["undisturbed"],
                    lambda: raylets.remove_node(raylets.worker_nodes.copy().pop(),
                                                allow_graceful=False),
                )  # fmt: skip
                lost.start()
                report = train_folds(plan, executor=Cluster("auto", plan.folder, shared=True))
                lost.cancel()
        seconds[name] = round(time.perf_counter() - began, 1)
        if report.failed:
            raise SystemExit(str(next(iter(report.failed.values()))))
        facts[name] = cross_validate(plan.folder, work / name / "scores", jobs=2)
    return {
        "runs": len(plan.units),
        "seconds": seconds,
        "same_tables": facts["undisturbed"] == facts["disturbed"],
        "dice": {run: {region: values["mean"] for region, values in regions.items()}
                 for run, regions in facts["disturbed"]["runs"].items()},
    }  # fmt: skip


def ranks(work: Path) -> dict[str, Any]:
    """Loss curves and final weights of one process and of several, and seconds of larger steps."""
    cohort = work / "patients"
    write_cohort(cohort, 10, seed=32, spacing=SPACING, jobs=2)
    schedule = {"save_every": 40, "validate_every": 40,
                "optimiser": {"name": "sgd", "rate": 0.02}}  # fmt: skip
    tiny_recipe(work, steps=40, **schedule)
    found = {count: on_ranks(work, cohort, count) for count in RANKS}
    finer = work / "finer"
    write_cohort(finer, 4, seed=33, spacing=FINE_SPACING, jobs=2)
    tiny_recipe(work, LARGE, steps=12, **schedule)
    large = {count: on_ranks(work, finer, count) for count in RANKS}
    one, mine = found[1]
    rows = []
    for count, (lines, weights) in found.items():
        apart = [
            abs(a["loss"][term] - b["loss"][term]) / abs(a["loss"][term])
            for a, b in zip(one, lines, strict=True)
            for term in a["loss"]
        ]
        seconds = [b["seconds"] - a["seconds"] for a, b in pairwise(large[count][0][2:-1])]
        rows.append(
            {
                "ranks": count,
                "loss_relative_difference_first_step": max(apart[: len(one[0]["loss"])]),
                "loss_relative_difference": max(apart),
                "weights_largest_difference": max(
                    float((mine[name].float() - weights[name].float()).abs().max())
                    for name in mine
                    if name.startswith("network/")
                ),
                "step_seconds": round(median(seconds), 4),
            }
        )
    return {"steps": len(one), "large_patch": LARGE, "rows": rows}


def on_ranks(work: Path, cohort: Path, count: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The log and the last weights of a training by ``count`` processes of one thread."""
    from safetensors.torch import load_file

    out = work / f"ranks{count}"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               f"--nproc-per-node={count}", "-m", "gliodistill", "train", str(work / "tiny.yaml"),
               "--data", str(cohort), "-o", str(out)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    lines = (out / "distilled" / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], load_file(out / "distilled" / "last.safetensors")
