"""Every export of a run beside its trained network: logits, Dice with the network's answers and
with the reference, size, time.

``python -m benchmarks.parity RUN… --work FOLDER -o benchmarks/results/parity/NAME.json`` exports
each finished run in every format and in int8 (kept in ``--work``: a second call only measures), and
writes NAME.json and NAME.md. Agreement is what the packages themselves record; Dice with the reference
is that of the run's validation studies on the prepared grid, one value a region, voxels of all
studies counted together; time is the median of whole-study passes of each runtime in turn.
"""

import argparse
import os
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.provenance import instructions, processor, write_results
from gliodistill.errors import PackageError
from gliodistill.inference import tiling
from gliodistill.inference.runtimes import Runtime, open_runtime
from gliodistill.models import ModelPackage
from gliodistill.models.telemetry import import_openvino
from gliodistill.preparation.cache import Cache, CachedStudy
from gliodistill.preparation.prepared import unpack_regions
from gliodistill.studies.labels import REGIONS
from gliodistill.training.experiment import find_run
from gliodistill.training.packaging import export as export_run
from gliodistill.training.resolve import resolve_run

PRECISION = {"float16": "f32", "shared-float16": "f32", "int8": "int8", "float32": "f32"}


def export(run: Path, folder: Path) -> tuple[ModelPackage, str]:
    """The package of a run, and why it holds no int8 if it does not."""
    reason = folder.with_name(f"{folder.name}.refused")
    if folder.is_dir():
        return ModelPackage.open(folder), reason.read_text() if reason.exists() else ""
    try:
        return export_run(run, folder, formats=("openvino", "onnx", "torch"), int8=True), ""
    except PackageError as error:
        if error.field != "--int8":
            raise
        reason.write_text(str(error))
        return export_run(run, folder, formats=("openvino", "onnx", "torch")), str(error)


def dice_with_truth(
    run: Runtime, package: ModelPackage, studies: list[CachedStudy], channels: list[int]
) -> dict[str, float]:
    common, total = np.zeros(3), np.zeros(3)
    for study in studies:
        logits = tiling.whole(np.asarray(study.image()[channels]), run, package.runtime.divisor)
        ours = package.spec.outputs.region_logits(logits) > package.spec.inference.logit_threshold
        theirs = unpack_regions(np.asarray(study.truth()))
        common += (ours & theirs).sum(axis=(1, 2, 3))
        total += ours.sum(axis=(1, 2, 3)) + theirs.sum(axis=(1, 2, 3))
    return {region: float(2 * c / t) for region, c, t in zip(REGIONS, common, total, strict=True)}


def times(runs: list[Runtime], image: NDArray[np.uint8], passes: int) -> list[float]:
    """Median seconds of a pass of each; one pass of each in turn, so that what else the machine
    does falls on all alike.
    """
    seconds: list[list[float]] = [[] for _ in runs]
    for i in range(passes + 1):
        for run, found in zip(runs, seconds, strict=True):
            began = time.perf_counter()
            run(image)
            if i:  # the first warms up
                found.append(time.perf_counter() - began)
    return [statistics.median(found) for found in seconds]


def measure(run: Path, folder: Path, threads: int, passes: int) -> dict[str, Any]:
    experiment, name = find_run(run)
    package, refused = export(run, folder)
    cache = Cache.open(experiment.cache)
    studies = list(cache.select(set(experiment.split["validation"])))
    channels = resolve_run(experiment.recipe, name).channels
    image = np.asarray(studies[0].image()[channels])
    image = np.pad(
        image, [(0, 0), *((0, -side % package.runtime.divisor) for side in image.shape[1:])]
    )[None]
    runs = [
        open_runtime(e.runtime, package, threads, PRECISION[e.weights]) for e in package.exports
    ]
    rows = [
        export.to_dict()
        | {
            "bytes": sum((folder / file).stat().st_size for file in export.files),
            "truth_dice": dice_with_truth(runtime, package, studies, channels),
            "seconds": seconds,
        }
        for export, runtime, seconds in zip(
            package.exports, runs, times(runs, image, passes), strict=True
        )
    ]
    return {
        "model": package.name,
        "network": package.spec.network.name,
        "parameters": package.runtime.parameters,
        "image": list(image.shape),
        "validation_studies": len(studies),
        "int8_refused": refused,
        "exports": rows,
    }


def machine(threads: int) -> dict[str, Any]:
    return {
        "processor": processor(),
        "instructions": instructions(
            ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16")
        ),
        "openvino_capabilities": list(
            import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        ),
        "cores": os.cpu_count(),
        "threads": threads,
        "versions": {
            name: version(name)
            for name in ("gliodistill", "torch", "openvino", "nncf", "onnxruntime", "onnx")
        },
    }


def as_markdown(results: dict[str, Any]) -> str:
    facts = results["machine"]
    lines = [
        (
            f"{facts['processor']}, {facts['threads']} threads, {', '.join(facts['instructions'])}."
            " Dice with the network's own answers: on training studies that int8 was not"
            " calibrated on. Seconds: one whole prepared study."
        ),
        "",
        (
            "| model | export | MB | largest logit difference (of ±) | Dice with the network WT,"
            " TC, ET | with the reference | seconds |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for model in results["models"]:
        for row in model["exports"]:
            agreement = row["studies"] or row["random"]
            calibration = row["calibration"]
            kept = (
                f", {calibration['float_layers']} layers at either end in float"
                if calibration and calibration["float_layers"]
                else ""
            )
            shared, truth = (
                ", ".join(f"{dice[region]:.4f}" for region in REGIONS)
                for dice in (agreement["dice"], row["truth_dice"])
            )
            differs = f"{agreement['max_abs_difference']:.2g} (±{agreement['max_abs_logit']:.1f})"
            label = f"{row['runtime']} {row['weights']}{kept}"
            lines.append(
                f"| {model['model']} | {label} | {row['bytes'] / 1e6:.2f} | {differs} | {shared} |"
                f" {truth} | {row['seconds']:.3f} |"
            )
        if model["int8_refused"]:
            lines.append(f"| {model['model']} | int8: {model['int8_refused']} | | | | | |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="where packages are kept")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="results, JSON; a table is written beside it",
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--passes", type=int, default=9)
    parser.add_argument(
        "--export-only", action="store_true", help="write the packages, measure nothing"
    )
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.export_only:
        for run in options.runs:
            print(export(run, options.work / run.name))
        return
    import torch

    torch.set_num_threads(options.threads)
    models = [
        measure(run, options.work / run.name, options.threads, options.passes)
        for run in options.runs
    ]
    results = {
        "machine": machine(options.threads),
        "models": models,
    }
    table = as_markdown(results)
    write_results(options.output, results, table)
    print(table)


if __name__ == "__main__":
    main()
