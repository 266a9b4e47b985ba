"""Dice against core seconds: ``python -m benchmarks.speed_accuracy --work FOLDER -o OUT``.

The shipped model on phantoms with their reference, by this package (as shipped, in float32, with
test-time augmentation) and by MONAI's sliding window with the same graph: mean Dice of WT, TC and
ET, and processor seconds of a study, files to file, in a process that has the model open. Phantoms
resemble the model's training data only roughly, so that Dice compares the ways, not the model with
others; nnU-Net's network has no weights for these, and is not here.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inference import make_studies
from benchmarks.provenance import instructions, load, processor, versions, write_results
from gliodistill.allocator import reuse_memory
from gliodistill.images.nifti import read_labels
from gliodistill.inference.cases.nifti import NiftiCase
from gliodistill.inference.predictor import Predictor
from gliodistill.inference.tta import parse_tta
from gliodistill.models.shipped import find_model
from gliodistill.studies.cohort import find_cohort
from gliodistill.studies.labels import BRATS2021

WAYS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "float32": {"precision": "f32"},
    "TTA over X": {"tta": parse_tta("x")},
    "TTA over X, Y, Z": {"tta": parse_tta("xyz")},
}


def dice(labels: Path, reference: Path) -> float:
    """Mean over the regions; 1 where a region is empty in both."""
    one, other = (BRATS2021.to_regions(read_labels(file).data) for file in (labels, reference))
    both, sizes = (one & other).sum(axis=(1, 2, 3)), one.sum((1, 2, 3)) + other.sum((1, 2, 3))
    return float(np.where(sizes, 2 * both / np.maximum(sizes, 1), 1).mean())


def ours(options: dict[str, Any], studies: Path, count: int, scratch: Path) -> dict[str, Any]:
    """Core seconds and Dice of this package."""
    predictor, records = Predictor(**options), find_cohort(studies)[0].studies[:count]
    spent, scores = [], []
    for number, record in enumerate([records[0], *records]):
        began, file = time.process_time(), scratch / f"{record.id}.nii.gz"
        prepared = predictor.prepare(NiftiCase(record).ready().study)
        predictor.segment_prepared(prepared, labels="brats2021").save(file)
        if number:
            spent.append(time.process_time() - began)
            assert record.truth is not None
            scores.append(dice(file, record.truth.path))
    return {"core_s": float(np.median(spent)), "dice": float(np.mean(scores))}


def monai(studies: Path, count: int, scratch: Path) -> dict[str, Any]:
    """Core seconds and Dice of MONAI's sliding window; without its imports."""
    spent, scores = [], []
    for study in sorted(path for path in studies.iterdir() if path.is_dir())[:count]:
        command = [sys.executable, "-m", "benchmarks.peers.monai_window", str(find_model(None))]
        output = subprocess.run(
            [*command, str(study), str(scratch), "--all-windows"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        seconds = json.loads(output.splitlines()[-1])["core_seconds"]
        spent.append(sum(v for stage, v in seconds.items() if stage not in ("import", "build")))
        scores.append(dice(scratch / "monai.nii.gz", next(study.glob("*_seg.nii.gz"))))
    return {"core_s": float(np.median(spent)), "dice": float(np.mean(scores))}


def table(result: dict[str, Any]) -> str:
    """As Markdown."""
    lines = ["| way | core seconds a study | mean Dice |", "|---|---|---|"]
    for name, row in result["rows"].items():
        lines.append(f"| {name} | {row['core_s']:.2f} | {row['dice']:.4f} |")
    machine = result["machine"]
    lines.append(
        f"\n{result['studies']} phantoms. {machine['processor']}"
        f" ({', '.join(machine['instructions'])}), load {machine['load']}."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="phantoms are made here once")
    parser.add_argument("-o", "--out", type=Path, help="folder of speed_accuracy.json and .md")
    parser.add_argument("-n", "--count", type=int, default=6, help="phantoms to segment")
    options = parser.parse_args()
    reuse_memory()
    at_start, studies = load(), make_studies(options.work / "phantoms", 12)
    with tempfile.TemporaryDirectory() as name:
        rows = {
            f"gliodistill, {way}": ours(settings, studies, options.count, Path(name))
            for way, settings in WAYS.items()
        }
        rows["MONAI's sliding window, float32"] = monai(studies, options.count, Path(name))
    result = {
        "what": "Dice against core seconds of the shipped model on phantoms",
        "studies": options.count,
        "rows": rows,
        "machine": {
            "processor": processor(),
            "instructions": instructions(("avx2", "avx512f", "avx512_bf16", "amx_bf16")),
            "cores": os.cpu_count(),
            "load": at_start,
        },
        "versions": versions("gliodistill", "openvino", "monai"),
    }
    print(table(result))
    if options.out:
        write_results(options.out / "speed_accuracy.json", result, table(result))


if __name__ == "__main__":
    main()
