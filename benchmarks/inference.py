"""From four files to a written mask: how long, how much memory, beside nnU-Net's predictor and
MONAI's sliding window.

``python -m benchmarks.inference --work /tmp/bench -o benchmarks/results/inference --nnunet-python
VENV/bin/python``

*Cold* is a whole new process per study, from the command line to the written mask; *warm* is the
median study of one process that has the model open. Studies are phantoms of 240×240×155 voxels;
with ``--data`` (real patients, with truth) every row of ours also shows the Dice of its own
weights, which says something for trained models only (``--model``). Models without training have
random weights: they take as long as any.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.provenance import instructions, load, versions, write_results

THREADS = 2
SIDE = 2048
MIRRORINGS = 8
MODELS = {
    "fast at 1 mm": ("fast", {}, None),
    "fast at 2 mm": ("fast", {}, (2.0, 2.0, 2.0)),
    "11 % student at 1 mm": ("nnunet_third", {}, None),
}
"""Title → network, options, voxel size (None: the study's own)."""

WARM = """
import json, resource, sys, time
from pathlib import Path
from gliodistill.inference.batch import SegmentationJob
from gliodistill.inference.predictor import Predictor
from gliodistill.studies.cohort import find_cohort
from gliodistill.studies.study import load_brain
model, studies, out, threads, precision = sys.argv[1:]
predictor = Predictor(model, threads=int(threads), precision=precision or None)
batch = SegmentationJob(predictor, Path(out), predictor.package.convention, False)
records = find_cohort(Path(studies))[0].studies
shape = predictor.prepare(load_brain(records[0])).shape
seconds, stages = [], []
for record in [records[0], *records]:
    began = time.perf_counter()
    stages.append(batch.segment(record)["seconds"])
    seconds.append(time.perf_counter() - began)
print(json.dumps({"seconds": seconds[1:], "stages": stages[1:], "shape": shape, "divisor": predictor.package.runtime.divisor,
                  "whole": predictor._whole(shape), "precision": precision or getattr(predictor.runtime, "precision", "f32"),
                  "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))
"""


def gemm_peak() -> float:
    """Best of several float32 products of 2048² matrices with all threads, in GFLOP/s: what this
    processor does at most.
    """
    left = np.random.default_rng(0).random((SIDE, SIDE), dtype=np.float32)
    best = float("inf")
    for _ in range(8):
        began = time.perf_counter()
        _ = left @ left
        best = min(best, time.perf_counter() - began)
    return 2 * SIDE**3 / best / 1e9


def process(command: list[str]) -> tuple[float, float, str]:
    """Wall seconds, peak memory (GB) and output of a process."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": str(THREADS)},
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if child.returncode:
        raise RuntimeError(f"{command} ended with {child.returncode}: {text[-500:]}")
    return seconds, usage.ru_maxrss / 1e6, text


def make_studies(folder: Path, count: int) -> Path:
    """Phantoms at 1 mm: float volumes with integer values, 240×240×155."""
    if not folder.exists():
        process(
            [
                sys.executable,
                "-m",
                "gliodistill",
                "phantom",
                str(folder),
                "-n",
                str(count),
                "--seed",
                "5",
            ]
        )
    return folder


def make_model(
    folder: Path, network: str, options: dict[str, Any], spacing: tuple[float, float, float] | None
) -> Path:
    """A package of random weights."""
    if not folder.exists():
        from gliodistill.models import (
            InferenceSettings,
            ModelSpec,
            NetworkSpec,
            OutputChannels,
            TrainingSummary,
        )
        from gliodistill.models.export import export_package
        from gliodistill.networks import build
        from gliodistill.preparation import Preparation
        from gliodistill.studies.labels import BRATS2021

        training = TrainingSummary("none", "none", 0, 0, {}, "nothing: random weights, for timing")
        spec = ModelSpec(
            folder.name, Preparation(spacing=spacing), NetworkSpec(network, options), OutputChannels(), BRATS2021,
            InferenceSettings((128, 128, 128)), training,
        )  # fmt: skip
        export_package(build(network, **options), spec, folder)
    return folder


def gflop_of(model: Path, shape: list[int], divisor: int) -> float:
    """Operations of one pass over a brain, in 10⁹; the network is convolutional, so they are those
    of a block times its number.
    """
    from gliodistill.models.package import ModelPackage
    from gliodistill.networks import build, flops

    package = ModelPackage.open(model)
    described, side = package.spec.network, 2 * divisor
    network = build(described.name, **described.options)
    network.strip()
    voxels = np.prod([-(-length // divisor) * divisor for length in shape])
    return float(
        flops(network, (1, len(package.sequences), side, side, side)) / side**3 * voxels / 1e9
    )


def ours(
    title: str, model: Path, precision: str, studies: Path, data: Path | None, scratch: Path
) -> dict[str, Any]:
    """One model: cold, warm, memory, network, accuracy."""
    first = next(path for path in sorted(studies.iterdir()) if path.is_dir())
    colds = []
    for turn in range(3):
        out = scratch / f"cold-{turn}"
        command = [
            sys.executable,
            "-m",
            "gliodistill",
            "segment",
            str(first),
            "-m",
            str(model),
            "-o",
            str(out),
            "--threads",
            str(THREADS),
        ]
        command += ["--precision", precision] if precision else []
        colds.append(process(command)[:2])
    (scratch / "warm").mkdir()
    _, _, text = process(
        [
            sys.executable,
            "-c",
            WARM,
            str(model),
            str(studies),
            str(scratch / "warm"),
            str(THREADS),
            precision,
        ]
    )
    warm = json.loads(text.splitlines()[-1])
    network, gflop = (
        statistics.median(stage["infer"] for stage in warm["stages"]),
        gflop_of(model, warm["shape"], warm["divisor"]),
    )
    return {
        "what": title,
        "system": "gliodistill",
        "precision": warm["precision"],
        "cold_s": statistics.median(seconds for seconds, _ in colds),
        "warm_s": statistics.median(warm["seconds"]),
        "stages_s": {
            stage: statistics.median(s[stage] for s in warm["stages"])
            for stage in warm["stages"][0]
        },
        "network_s": network,
        "gflop": gflop,
        "gflop_per_s": gflop / network if warm["whole"] else None,
        "peak_gb": max(warm["peak_gb"], *(memory for _, memory in colds)),
        "dice": None if data is None else dice_of(model, precision, data, scratch / "real"),
        "note": "one pass over the brain" if warm["whole"] else "by windows",
    }


def dice_of(model: Path, precision: str, data: Path, out: Path) -> dict[str, float | None]:
    """Mean Dice of the model's own weights on labelled studies; in processes, since a child's peak
    counts what its parent held.
    """
    options = ["--threads", str(THREADS), *(["--precision", precision] if precision else [])]
    program = [sys.executable, "-m", "gliodistill"]
    process([*program, "segment", str(data), "-m", str(model), "-o", str(out), *options])
    _, _, text = process([*program, "evaluate", str(out), str(data), "--json"])
    summary = json.loads(text)["summary"]
    return {region: summary[region]["dice"]["mean"] for region in ("WT", "TC", "ET")}


def peer(title: str, system: str, command: list[str], note: str) -> dict[str, Any]:
    """One run of a peer, which times its own stages; what it multiplied is added to the time of its
    process.
    """
    wall, memory, text = process(command)
    facts = json.loads(text.splitlines()[-1])
    seconds = facts["seconds"]
    one = seconds["network"] if facts["all_tiles"] else seconds["network"] / facts["tiles"]
    cold = wall - one + seconds["network"]
    return {
        "what": title,
        "system": system,
        "precision": "f32",
        "cold_s": cold,
        "warm_s": cold - seconds["import"] - seconds["build"],
        "stages_s": seconds,
        "network_s": seconds["network"],
        "gflop": None,
        "gflop_per_s": None,
        "peak_gb": memory,
        "dice": None,
        "note": (
            f"{note}; {facts['tiles']} tiles of 128³"
            + ("" if facts["all_tiles"] else ", one timed and multiplied")
        ),
    }


def with_tta(row: dict[str, Any]) -> dict[str, Any]:
    """A peer's row with its network with test-time augmentation by eight mirrorings, each of equal
    cost.
    """
    more = (MIRRORINGS - 1) * row["network_s"]
    note = (
        row["note"].replace("without mirroring", f"{MIRRORINGS} mirrorings (TTA), its default")
        + f", × {MIRRORINGS} mirrorings"
    )
    changed = {key: row[key] + more for key in ("cold_s", "warm_s", "network_s")}
    return (
        row
        | changed
        | {
            "stages_s": row["stages_s"] | {"network": changed["network_s"]},
            "note": note,
        }
    )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rows."""
    studies = make_studies(options.work / "studies", options.count)
    first = next(path for path in sorted(studies.iterdir()) if path.is_dir())
    models = {
        title: make_model(options.work / title.replace(" ", "_").replace("%", "percent"), *made)
        for title, made in MODELS.items()
    }
    rest = [
        (title, *place.partition(":")[::2])
        for title, place in (text.split("=", 1) for text in options.model)
    ]
    rows, peaks = [], [gemm_peak()]
    with tempfile.TemporaryDirectory() as scratch:
        for index, (title, model, precision) in enumerate(
            [*((title, str(model), "") for title, model in models.items()), *rest]
        ):
            folder = Path(scratch) / str(index)
            folder.mkdir()
            peaks.append(gemm_peak())
            data = None if title in MODELS else options.data  # random weights have no accuracy
            rows.append(ours(title, Path(model), precision, studies, data, folder))
        if not options.without_peers:
            student = models["11 % student at 1 mm"]
            command = [
                sys.executable,
                "-m",
                "benchmarks.peers.monai_window",
                str(student),
                str(first),
                scratch,
            ]
            rows.append(
                peer(
                    "11 % student at 1 mm, same weights",
                    "MONAI",
                    command,
                    "sliding window, overlap 0.5",
                )
            )
        if options.nnunet_python and not options.without_peers:
            command = [
                options.nnunet_python,
                "-m",
                "benchmarks.peers.nnunet_predictor",
                str(first),
                scratch,
            ]
            plain = peer(
                "its own network, 31 M weights", "nnU-Net v2", command, "without mirroring"
            )
            rows += [plain, with_tta(plain)]
    peaks.append(gemm_peak())
    for row in rows:
        row["share_of_peak"] = row["gflop_per_s"] / max(peaks) if row["gflop_per_s"] else None
    sets = instructions(("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8"))
    return {
        "what": (
            f"one study of 240×240×155×4 voxels, files to file, {THREADS} threads; seconds are"
            " medians"
        ),
        "matmul_gflop_per_s": peaks,
        "rows": rows,
        "machine": {
            "processor": f"{platform.machine()} with {', '.join(sets) or 'nothing known'}",
            "cores": os.cpu_count(),
            "load_1min": load(),
        },
        "versions": versions("gliodistill", "numpy", "openvino", "torch", "monai"),
    }


def table(result: dict[str, Any]) -> str:
    """As Markdown."""
    columns = [
        "system",
        "what",
        "precision",
        "cold s",
        "warm s",
        "network s",
        "of peak",
        "memory GB",
        "Dice WT/TC/ET",
        "how",
    ]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in result["rows"]:
        share, dice = row["share_of_peak"], row["dice"]
        cells = [
            row["system"], row["what"], row["precision"], f"{row['cold_s']:.2f}", f"{row['warm_s']:.2f}", f"{row['network_s']:.2f}",
            f"{share:.0%}" if share else "–", f"{row['peak_gb']:.2f}",
            " / ".join("–" if value is None else f"{value:.3f}" for value in dice.values()) if dice else "–", row["note"],
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    peaks = result["matmul_gflop_per_s"]
    lines.append(
        f"\nMatrix products of {SIDE}² in float32, measured {len(peaks)} times in between:"
        f" {min(peaks):.0f} to {max(peaks):.0f} GFLOP/s; shares are of the largest."
    )
    lines.append(f"{result['what'].capitalize()}.")
    lines.append(
        f"{result['machine']['processor']}, {result['machine']['cores']} cores, load"
        f" {result['machine']['load_1min']} when finished."
    )
    return "\n".join(lines) + "\n"


def plot(result: dict[str, Any], path: Path) -> None:
    """Seconds of a warm study, stage by stage, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "inference"
    from matplotlib import pyplot

    rows = result["rows"][::-1]
    figure, axes = pyplot.subplots(figsize=(9, 0.55 * len(rows) + 1.2), layout="constrained")
    names = [f"{row['system']}: {row['what']}, {row['note'].split(';')[0]}" for row in rows]
    axes.barh(
        names,
        [row["warm_s"] for row in rows],
        color=["#2a6f97" if row["system"] == "gliodistill" else "#a0a0a0" for row in rows],
    )
    axes.scatter(
        [row["network_s"] for row in rows],
        names,
        color="black",
        marker="|",
        s=160,
        zorder=3,
        label="network alone",
    )
    for row, name in zip(rows, names, strict=True):
        axes.annotate(f" {row['warm_s']:.2g} s", (row["warm_s"], name), va="center")
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel("seconds a study, warm, files to file")
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="phantoms and packages are made here once"
    )
    parser.add_argument(
        "-o", "--out", type=Path, help="folder of inference.json, inference.md and inference.svg"
    )
    parser.add_argument("-n", "--count", type=int, default=3, help="studies")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="TITLE=FOLDER[:PRECISION]",
        help="more packages, trained ones",
    )
    parser.add_argument("--data", type=Path, help="labelled studies, for Dice")
    parser.add_argument("--nnunet-python", help="python of an environment with nnunetv2")
    parser.add_argument("--without-peers", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    result = measure(options)
    sys.stdout.write(table(result))
    if options.out:
        write_results(options.out / "inference.json", result, table(result))
        plot(result, options.out / "inference.svg")


if __name__ == "__main__":
    main()
