"""Our live nnU-Net teacher against nnU-Net's own predictor: logits, labels and time.

Runs in an environment of its own (``pip install nnunetv2 -e .``), with one thread:

``python -m benchmarks.teachers.equality OUT --test STUDIES`` asks both, study by study in turn,
what the nnU-Net that :mod:`benchmarks.teachers.trained` wrote to OUT says of STUDIES. It writes
``benchmarks/results/teachers/nnunet_equality.json`` and ``.md``.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.provenance import processor, versions, write_results
from benchmarks.teachers.nnunet import CHANNELS, environment, predictor
from benchmarks.teachers.trained import NAME, on_grid

RESULTS = Path(__file__).parents[1] / "results" / "teachers" / "nnunet_equality"
LIMIT, LEAST = 1e-3, 0.999


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--studies", type=int, default=48)
    options = parser.parse_args()
    environment(options.out)
    import torch

    import gliodistill as gd
    from gliodistill.teachers import NnUNet

    torch.set_num_threads(1)
    results = next((options.out / "nnUNet_results" / NAME).iterdir())
    theirs, ours = predictor(results, (0,)), NnUNet(str(results), folds=[0])
    compared = []
    for record in list(gd.open_cohort(options.test).labelled())[: options.studies]:
        study = gd.Study.open(record)
        stack = [
            on_grid(study.images[gd.MRSequence(name)], study.grid).transpose(2, 1, 0)
            for name in CHANNELS
        ]
        compared.append(compare(theirs, ours, np.stack(stack), study))
    largest = max(one["logits"] for one in compared)
    worst = min(dice for one in compared for dice in one["dice"] if dice is not None)
    seconds = {who: float(np.median([one[who] for one in compared])) for who in ("ours", "theirs")}
    facts = {
        "studies": len(compared),
        "largest_logit_difference": largest,
        "least_dice": worst,
        "voxels_that_differ": sum(one["differ"] for one in compared),
        "cpu_seconds_a_study": {who: round(value, 3) for who, value in seconds.items()},
        "limits": {"logits": LIMIT, "dice": LEAST},
        "machine": processor(),
        "packages": versions("nnunetv2", "torch", "dynamic-network-architectures"),
    }
    write_results(RESULTS, facts, table(facts))
    print(table(facts))
    if largest > LIMIT or worst < LEAST:
        raise SystemExit("not equal")


def compare(theirs: Any, ours: Any, stack: Any, study: Any) -> dict[str, Any]:
    """Largest difference of logits, Dice of the label maps by region, processor seconds."""
    import torch
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape as to_labels,
    )

    began = time.process_time()
    manager, configuration = theirs.plans_manager, theirs.configuration_manager
    spacing = {"spacing": list(study.grid.spacing)[::-1]}
    data, _, properties = configuration.preprocessor_class(verbose=False).run_case_npy(
        stack, None, spacing, manager, configuration, theirs.dataset_json
    )
    logits = theirs.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    labels = to_labels(
        logits, manager, configuration, theirs.label_manager, properties, num_threads_torch=1
    )
    middle = time.process_time()
    prediction = ours.predict(study).probability > 0.5
    ended = time.process_time()
    found = ours.logits(ours.prepare(study))
    codes = np.asarray(labels).transpose(2, 1, 0)
    regions = np.stack([codes >= 1, codes >= 2, codes >= 3])  # trained.py: in this order
    painted = nested(prediction)
    return {
        "logits": float(np.abs(found - logits.numpy()).max()),
        "dice": [dice(a, b) for a, b in zip(painted, regions, strict=True)],
        "differ": int((painted != regions).any(0).sum()),
        "theirs": middle - began,
        "ours": ended - middle,
    }


def nested(prediction: Any) -> Any:
    """Regions as nnU-Net paints them: a later one over an earlier one."""
    codes = np.zeros(prediction.shape[1:], dtype=np.uint8)
    for code, region in enumerate(prediction, start=1):
        codes[region] = code
    return np.stack([codes >= 1, codes >= 2, codes >= 3])


def dice(a: Any, b: Any) -> float | None:
    """Overlap; None where both are empty."""
    total = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / total if total else None


def table(facts: dict[str, Any]) -> str:
    """As Markdown."""
    seconds = facts["cpu_seconds_a_study"]
    return (
        f"nnU-Net's own predictor and the live teacher, {facts['studies']} studies, one thread.\n\n"
        "| | found | limit |\n|---|---|---|\n"
        f"| largest difference of a logit | {facts['largest_logit_difference']:.1e} |"
        f" {LIMIT:.0e} |\n"
        f"| least Dice of a region's label maps | {facts['least_dice']:.5f} | {LEAST} |\n"
        f"| voxels whose label differs | {facts['voxels_that_differ']} | |\n"
        f"| CPU seconds a study: nnU-Net, gliodistill | {seconds['theirs']:.2f},"
        f" {seconds['ours']:.2f} | |\n"
    )


if __name__ == "__main__":
    main()
