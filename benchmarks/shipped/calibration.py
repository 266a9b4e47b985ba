"""Is a region there as often as the shipped recipe's networks say? Held-out patients, four
sequences, no clean-up rule.
"""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.distillation.score import model_of
from gliodistill.evaluation.evaluate import evaluate
from gliodistill.evaluation.statistics import mean_interval
from gliodistill.inference.batch import segment_studies
from gliodistill.inference.predictor import Predictor
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.labels import REGIONS
from gliodistill.training.experiment import Experiment

TOGETHER = 3
"""Bins of the reliability curve that make one of the table."""


def calibration(folds: list[Path], data: Path, processes: int) -> dict[str, Any]:
    """Per region ECE and Brier score of every patient, and the pooled curve: voxels, mean
    probability and frequency a bin.
    """
    with ProcessPoolExecutor(processes) as pool:
        parts = list(pool.map(_of_fold, folds, [data] * len(folds)))
    found: dict[str, Any] = {}
    for region in REGIONS:
        sums = np.sum([part["sums"][region] for part in parts], axis=0)
        found[region] = {
            metric: [value for part in parts for value in part[metric][region]]
            for metric in ("ece", "brier")
        }
        found[region]["curve"] = sums.reshape(-1, TOGETHER, 3).sum(1).tolist()
    return found


def table(found: dict[str, Any]) -> str:
    """Mean ECE and Brier score with intervals, and how often a region is there that is said to be
    so with a probability.
    """
    bins = len(found[REGIONS[0]]["curve"])
    shares = [f"{number / bins:.1f}–{(number + 1) / bins:.1f}" for number in range(bins)]
    lines = [f"| region | ECE | Brier score | {' | '.join(shares)} |", "|---" * (3 + bins) + "|"]
    for region in REGIONS:
        cells = []
        for metric in ("ece", "brier"):
            values = np.asarray(found[region][metric])
            low, high = mean_interval(values)
            cells.append(f"{values.mean():.3f} [{low:.3f}, {high:.3f}]")
        cells += [
            f"{said / n:.2f} → {seen / n:.2f}" if n else "–"
            for n, said, seen in found[region]["curve"]
        ]
        lines.append(f"| {region} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _of_fold(fold: Path, data: Path) -> dict[str, Any]:
    experiment = Experiment.open(fold)
    cohort = open_cohort(data).labelled().select(sorted(experiment.split["validation"]))
    predictor = Predictor(model_of(experiment, "student", fold), threads=1)
    with TemporaryDirectory(dir=fold, prefix="segmentations-") as out:
        report = segment_studies(cohort.studies, predictor, out, probability=True, jobs=1)
        result = evaluate(out, data, subset=True, jobs=1, probabilities=out)
    for line in (*report.failed.values(), *result.failed.values()):
        raise SystemExit(f"{fold.name}: {line}")
    assert result.calibration is not None  # probabilities were given
    rows = [values for _, values in sorted(result.studies.items())]
    sums = {
        region: [
            (b.voxels, b.voxels * (b.probability or 0.0), b.voxels * (b.frequency or 0.0))
            for b in bins
        ]
        for region, bins in result.calibration.items()
    }
    return {
        "sums": sums,
        **{
            metric: {r: [row[r][metric] for row in rows] for r in REGIONS}
            for metric in ("ece", "brier")
        },
    }
