"""How long a network takes for a brain, in the runtime that users run; all rows interleaved, on a
quiet machine.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.provenance import processor
from gliodistill.inference.predictor import Predictor
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.study import load_brain

ROUNDS = 15


def measure(protocol: dict[str, Any], fold: dict[str, Any], out: Path) -> None:
    """Median milliseconds of only the network (OpenVINO, all cores) on one test study, for every
    row that has a model.
    """
    study = load_brain(open_cohort(fold["test"]).labelled().studies[0])
    predictors = {}
    for table in protocol["tables"].values():
        for row in (entry["row"] for entry in table["rows"]):
            models = [
                fold["work"] / "models" / name for name in (row, f"{row}-{protocol['seeds'][0]}")
            ]
            model = next((folder for folder in models if folder.exists()), None)
            if model is not None and row not in predictors:
                predictors[row] = Predictor(model)
    seconds: dict[str, list[float]] = {row: [] for row in predictors}
    for _ in range(ROUNDS):
        for row, predictor in predictors.items():
            seconds[row].append(predictor.segment(study).seconds["infer"])
    facts = {
        "ms": {row: round(1000 * float(np.median(times)), 1) for row, times in seconds.items()},
        "what": (
            f"the network on one brain at {protocol['recipe']['data']['spacing'][0]} mm, median of"
            f" {ROUNDS}, rows interleaved"
        ),
        "processor": processor(),
        "cores": os.cpu_count(),
    }
    out.write_text(json.dumps(facts, indent=1))
