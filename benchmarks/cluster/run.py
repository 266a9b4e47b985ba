"""The benchmark of Ray and torchrun.

    python -m benchmarks.cluster.run --work FOLDER --parts ratio,overhead,throttled,kills,folds,ranks

needs the extra `cluster` and, for `ratio` and `throttled`, two free cores. Parts:

* `ratio`: 60 phantom studies segmented with the shipped model on one thread, by one process and by
  the two raylets; every label map is compared byte by byte;
* `overhead`: milliseconds of the executor per item that does nothing;
* `throttled`: studies from a file system that all workers share at a limited rate, and the cost
  model's answer;
* `cost`: that model for a million studies;
* `kills`: a cohort of 200 small phantoms with random kills of workers, a raylet and the driver;
  every file is compared with the cohort that one machine makes;
* `folds`: five folds × two seeds of a tiny run, undisturbed here, and on the cluster, which loses a
  raylet half-way; the tables are compared;
* `ranks`: a tiny recipe on one, two and four processes of torchrun.

Each part adds its figures to `benchmarks/results/cluster/cluster.json`; the table is made of all.
"""

import argparse
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.cluster.cost import cost
from benchmarks.cluster.kills import kills
from benchmarks.cluster.throughput import overhead, ratio, throttled
from benchmarks.cluster.training import folds, ranks
from benchmarks.metrics import machine
from benchmarks.provenance import load
from gliodistill.files import make_folder, write_text

RESULT = Path(__file__).parents[1] / "results" / "cluster" / "cluster.json"
PARTS = ("ratio", "overhead", "throttled", "cost", "kills", "folds", "ranks")
STUDY_MB = 8.4
"""A study of the speed benchmark: four files of 240×240×155 voxels, compressed."""


def main() -> None:
    """Run the parts that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made; kept")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--limit", type=float, default=1200.0, help="seconds of kills")
    given = parser.parse_args()
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "ratio": lambda: ratio(given.work),
        "overhead": lambda: overhead(given.work),
        "throttled": lambda: throttled(given.work, result["ratio"]),
        "cost": lambda: cost(STUDY_MB, result["overhead"]["ms_one_by_one"]),
        "kills": lambda: kills(given.work, given.kills, given.limit),
        "folds": lambda: folds(given.work),
        "ranks": lambda: ranks(given.work),
    }
    make_folder(given.work)
    make_folder(RESULT.parent)
    for part in given.parts.split(","):
        before = load()
        told = parts[part]()
        result[part] = {
            **told,
            "command": f"python -m benchmarks.cluster.run --work WORK --parts {part}",
            "date": date.today().isoformat(),
            "load_before": before,
            "machine": machine(),
        }
        write_text(RESULT, json.dumps(result, indent=1) + "\n")
        write_text(RESULT.with_suffix(".md"), tables(result))
        print(part, json.dumps(told, indent=1), flush=True)


def tables(result: dict[str, Any]) -> str:
    """What the docs show of the parts that have been run."""
    lines = ["| what | measured | aim |", "|---|---|---|"]
    if told := result.get("ratio"):
        lines += [
            f"| {told['studies']} studies: two raylets of one core against one process | "
            f"{told['ratio']} × the studies a second ({told['ratio_with_start_of_workers']} × with "
            f"the start of the workers); label maps {_same(told['same_label_maps'])} | 1.7 |"
        ]
    if told := result.get("overhead"):
        lines += [f"| overhead of a study | {told['ms_one_by_one']} ms | 30 ms |"]
    if told := result.get("kills"):
        counts = ", ".join(f"{count} of the {kind}" for kind, count in told["kills"].items())
        lines += [
            f"| {sum(told['kills'].values())} random kills ({counts}) over {told['studies']} small "
            f"studies | {told['studies_there']} studies, files {_same(told['same_files'])}, "
            f"{told['leftovers']} leftovers | all, none twice |"
        ]
    if told := result.get("folds"):
        lines += [
            f"| five folds × two seeds × two runs, a raylet lost half-way | {told['runs']} runs, "
            f"tables {_same(told['same_tables'])} | the same tables |"
        ]
    if told := result.get("ranks"):
        lines += ["", "| processes | loss, largest difference | weights | a step, s |",
                  "|---|---|---|---|"]  # fmt: skip
        lines += [
            f"| {row['ranks']} | {row['loss_relative_difference']:.1e} (first step "
            f"{row['loss_relative_difference_first_step']:.1e}) | "
            f"{row['weights_largest_difference']:.1e} | {row['step_seconds']:.3f} |"
            for row in told["rows"]
        ]
    if told := result.get("throttled"):
        lines += ["", "| file system, MB/s | a study, s | by the model, s | bottleneck |",
                  "|---|---|---|---|"]  # fmt: skip
        lines += [
            f"| {row['megabytes_per_s']:g} | {row['measured_s_per_study']} | "
            f"{row['model_s_per_study']} | {row['bottleneck']} |"
            for row in told["rows"]
        ]
    if told := result.get("cost"):
        lines += ["", "| cores | file system or network, MB/s | studies an hour | "
                  "hours for a million | bottleneck |", "|---|---|---|---|---|"]  # fmt: skip
        lines += [
            f"| {row['cores']} | {row['megabytes_per_s']:g} | {row['studies_per_hour']:,} | "
            f"{row['hours']:,} | {row['bottleneck']} |"
            for row in told["rows"]
        ]
        lines += [
            "",
            f"The last table is computed: {told['core_seconds_per_study']} core seconds, "
            f"{told['megabytes_per_study']} MB and {told['overhead_ms']} ms of the command for a "
            "study of 240×240×155 voxels and four sequences.",
        ]
    there = machine()
    return "\n".join([*lines, "", f"{there['cpu']}, {there['cores']} cores.", ""])


def _same(equal: bool) -> str:
    return "equal, byte by byte" if equal else "DIFFERENT"


if __name__ == "__main__":
    main()
