"""Seconds of `gliodistill segment`, stage by stage, before and after: one run, one machine.

``python -m benchmarks.speed --work FOLDER -o benchmarks/results/speed --nnunet-python
VENV/bin/python``

*Before* is the source of ``--before`` (a commit), with zlib as it was installed then; *after* is
this checkout. Both run in turn, so that the machine's load falls on both, and with bytecode, as
installed packages have it. *Warm*: one process with
the model open, studies one after another, wall and processor seconds of every stage. *Cold*: a new
process for each study. *Batch*: one process for all studies. The label maps of both batches are
compared. ``--check RESULT`` measures only warm processor seconds on one thread, as multiples of a
yardstick, and fails where a stage takes :data:`SLOWER` times the committed multiple.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inference import make_studies, peer, with_tta
from benchmarks.provenance import instructions, load, processor, versions, write_results

BEFORE = "a286d8e"
ROOT = Path(__file__).parents[1]
STAGES = ("read", "prepare", "network", "restore", "write", "all")
SLOWER = 1.5
"""Times the committed multiple at which a stage counts as slower: the least of several runs varies
by a fifth between machines and loads.
"""
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
TARGETS = {"warm_s": 0.5, "cold_s": 1.4, "batch_s": 6.5, "peak_gb": 0.6}

WORKER = """
import json, resource, sys, time
from pathlib import Path
from gliodistill.inference.cases.nifti import NiftiCase
from gliodistill.inference.predictor import Predictor
from gliodistill.studies.cohort import find_cohort
try:  # as the command does
    from gliodistill.allocator import reuse_memory
    reuse_memory()
except ImportError:
    pass
studies, out, threads, repeats = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
clocks = (time.perf_counter, time.process_time)
def now():
    return [clock() for clock in clocks]
def since(began):
    return [end - start for end, start in zip(now(), began)]
class Timed:
    def __init__(self, runtime):
        self.runtime, self.spent = runtime, [0.0, 0.0]
    def __call__(self, levels):
        began = now()
        answer = self.runtime(levels)
        self.spent = [one + more for one, more in zip(self.spent, since(began))]
        return answer
predictor = Predictor(threads=threads or None)
predictor.runtime = Timed(predictor.runtime)
records = find_cohort(studies)[0].studies
rows = []
for record in [records[0], *(records * repeats)]:
    row, began = {}, now()
    ready = NiftiCase(record).ready(); row["read"] = since(began)
    start = now(); prepared = predictor.prepare(ready.study); row["prepare"] = since(start)
    start, predictor.runtime.spent = now(), [0.0, 0.0]
    answer = predictor.segment_prepared(prepared); spent = since(start)
    row["network"] = predictor.runtime.spent
    row["restore"] = [all - network for all, network in zip(spent, predictor.runtime.spent)]
    start = now(); answer.save(out / (record.id + ".nii.gz")); json.dumps(answer.summary()); row["write"] = since(start)
    row["all"] = since(began)
    rows.append(row)
print(json.dumps({"rows": rows[1:], "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))
"""


def source_of(commit: str, folder: Path) -> Path:
    """The source of a commit, and a package that hides isal, in a folder; its import path."""
    if not folder.exists():
        (folder / "isal").mkdir(parents=True)
        (folder / "isal" / "__init__.py").write_text("raise ImportError('not installed then')\n")
        archive = subprocess.run(
            ["git", "archive", commit, "src"], cwd=ROOT, check=True, capture_output=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def environment(path: str) -> dict[str, str]:
    """This process's, with another import path and a place for bytecode."""
    changed = {name: value for name, value in os.environ.items() if name != NO_BYTECODE}
    bytecode = Path(tempfile.gettempdir()) / "gliodistill-bytecode"
    return changed | {"PYTHONPATH": path, "PYTHONPYCACHEPREFIX": str(bytecode)}


def run(path: str, *arguments: str) -> dict[str, Any]:
    """Wall and processor seconds, peak memory and output of a process with another import path."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=output,
            stderr=errors,
            env=environment(path),
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0), errors.seek(0)
        if child.returncode:
            raise RuntimeError(f"{arguments[:3]} ended with {child.returncode}: {errors.read()}")
        return {
            "wall_s": wall,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_gb": usage.ru_maxrss / 1e6,
            "text": output.read(),
        }


def warm(path: str, studies: Path, scratch: Path, threads: int, repeats: int) -> dict[str, Any]:
    """Stages of every study in one process."""
    out = Path(tempfile.mkdtemp(dir=scratch))
    text = run(path, "-c", WORKER, str(studies), str(out), str(threads), str(repeats))["text"]
    result: dict[str, Any] = json.loads(text.splitlines()[-1])
    return result


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def sides(options: argparse.Namespace, studies: Path, scratch: Path) -> dict[str, Any]:
    """Both sources, in turn, as :func:`spread` of each measure; and how their labels agree."""
    before = source_of(options.before, options.work / f"before-{options.before}")
    paths = {"before": f"{before}{os.pathsep}{before / 'src'}", "after": str(ROOT / "src")}
    first = sorted(path for path in studies.iterdir() if path.is_dir())[0]
    rows: dict[str, list[Any]] = {side: [] for side in paths}
    colds: dict[str, list[Any]] = {side: [] for side in paths}
    batches: dict[str, list[Any]] = {side: [] for side in paths}
    peaks: dict[str, list[float]] = {side: [] for side in paths}
    for turn in range(options.turns):
        for side, path in paths.items():
            measured = warm(path, studies, scratch, 0, 1)
            rows[side] += measured["rows"]
            peaks[side].append(measured["peak_gb"])
            out = scratch / f"batch-{side}-{turn}"
            words = ["-m", "gliodistill", "segment", str(studies), "-o", str(out), "--json"]
            batches[side].append(run(path, *words))
    for turn in range(options.repeats):  # bytecode is written by now
        for side, path in paths.items():
            out = scratch / f"cold-{side}-{turn}"
            words = ["-m", "gliodistill", "segment", str(first), "-o", str(out), "--json"]
            colds[side].append(run(path, *words))
    found: dict[str, Any] = {
        side: {
            "stages_s": {s: spread([row[s][0] for row in rows[side]]) for s in STAGES},
            "stages_cpu_s": {s: spread([row[s][1] for row in rows[side]]) for s in STAGES},
            "warm_s": spread([row["all"][0] for row in rows[side]]),
            "cold_s": spread([one["wall_s"] for one in colds[side]]),
            "cold_cpu_s": spread([one["cpu_s"] for one in colds[side]]),
            "batch_s": spread([one["wall_s"] for one in batches[side]]),
            "batch_cpu_s": spread([one["cpu_s"] for one in batches[side]]),
            "peak_gb": max(peaks[side] + [one["peak_gb"] for one in colds[side]]),
            "batch_peak_gb": max(one["peak_gb"] for one in batches[side]),
            "repeats": {"warm": len(rows[side]), "cold": len(colds[side])},
        }
        for side in paths
    }
    found["agreement"] = agreement(scratch / "batch-before-0", scratch / "batch-after-0")
    return found


def agreement(before: Path, after: Path) -> dict[str, Any]:
    """How the label maps in two folders agree, all studies together, and the worst of them."""
    from gliodistill.images.nifti import read_labels
    from gliodistill.studies.labels import BRATS2021, REGIONS

    counts, different, voxels, worst = np.zeros((len(REGIONS), 3)), 0, 0, 0.0
    for file in sorted(before.glob("*.nii.gz")):
        one, other = read_labels(file).data, read_labels(after / file.name).data
        apart = int((one != other).sum())
        different, voxels, worst = (
            different + apart,
            voxels + one.size,
            max(worst, apart / one.size),
        )
        for count, a, b in zip(
            counts, BRATS2021.to_regions(one), BRATS2021.to_regions(other), strict=True
        ):
            count += a.sum(), b.sum(), (a & b).sum()
    old, new, both = counts.T
    return {
        "identical_voxels": 1 - different / voxels,
        "identical_voxels_of_worst_study": 1 - worst,
        "dice": dict(zip(REGIONS, (2 * both / np.maximum(old + new, 1)).tolist(), strict=True)),
        "volume_change": dict(
            zip(REGIONS, ((new - old) / np.maximum(old, 1)).tolist(), strict=True)
        ),
    }


def yardstick() -> float:
    """Processor seconds of fixed work of the kinds that the stages do: unzip, sort, sum."""
    rng = np.random.default_rng(0)
    packed = zlib.compress(rng.integers(0, 64, 4_000_000, dtype=np.uint16).tobytes(), 1)
    values = rng.random(2_000_000, dtype=np.float32)
    found = []
    for _ in range(5):
        began = time.process_time()
        zlib.decompress(packed)
        np.partition(values, 20_000)
        for _ in range(20):
            (values * values).sum()
        found.append(time.process_time() - began)
    return min(found)


def multiples(studies: Path, scratch: Path) -> dict[str, float]:
    """Least processor seconds of every stage on one thread, in yardsticks."""
    unit, rows = yardstick(), warm(str(ROOT / "src"), studies, scratch, 1, 1)["rows"]
    unit = min(unit, yardstick())
    return {stage: round(min(row[stage][1] for row in rows) / unit, 2) for stage in STAGES}


def peers(options: argparse.Namespace, studies: Path, scratch: Path) -> list[dict[str, Any]]:
    """MONAI's sliding window on the shipped weights, and nnU-Net's predictor."""
    from gliodistill.models.shipped import find_model

    first = str(sorted(path for path in studies.iterdir() if path.is_dir())[0])
    command = [sys.executable, "-m", "benchmarks.peers.monai_window", str(find_model(None)), first]
    os.environ["PYTHONPATH"] = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    words = [*command, str(scratch), "--all-windows"]
    found = [peer("the shipped model", "MONAI", words, "sliding window, overlap 0.5")]
    if options.nnunet_python:
        words = [options.nnunet_python, "-m", "benchmarks.peers.nnunet_predictor", first]
        name = "its own network, 31 M weights"
        plain = peer(name, "nnU-Net v2", [*words, str(scratch)], "without mirroring")
        found += [plain, with_tta(plain)]
    return found


def table(result: dict[str, Any]) -> str:
    """As Markdown."""
    sources, ours = result["sides"], result["sides"]["after"]
    lines = [
        "| | before, s | after, s | target | CPU before, s | CPU after, s |",
        "|---|---|---|---|---|---|",
    ]

    def cell(values: dict[str, float] | None) -> str:
        return "–" if values is None else "{median:.2f} ({min:.2f}–{max:.2f})".format(**values)

    measures = [(f"warm: {s}", "stages_s", s, "stages_cpu_s") for s in STAGES[:-1]]
    for name, measure, stage, cpu in measures:
        cells = [cell(sources[side][key][stage]) for key in (measure, cpu) for side in sources if side in ("before", "after")]  # fmt: skip
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | – | {cells[2]} | {cells[3]} |")
    for name, measure, cpu in (
        ("**warm, a study**", "warm_s", None),
        ("**cold, a study**", "cold_s", "cold_cpu_s"),
        (f"**batch of {result['studies']}**", "batch_s", "batch_cpu_s"),
    ):
        pair = [sources[side] for side in ("before", "after")]
        used = [one["stages_cpu_s"]["all"] if cpu is None else one[cpu] for one in pair]
        wall, spent = [cell(one[measure]) for one in pair], [cell(one) for one in used]
        lines.append(
            f"| {name} | {wall[0]} | {wall[1]} | {TARGETS[measure]} | {spent[0]} | {spent[1]} |"
        )
    peak = [f"{sources[side]['peak_gb']:.2f}" for side in ("before", "after")]
    lines.append(f"| peak memory, GB | {peak[0]} | {peak[1]} | {TARGETS['peak_gb']} | | |")
    agree = sources["agreement"]
    dice = ", ".join(f"{region} {value:.5f}" for region, value in agree["dice"].items())
    change = ", ".join(f"{region} {value:+.3%}" for region, value in agree["volume_change"].items())
    lines.append(
        f"\nMedian (least–most); warm {ours['repeats']['warm']} studies, cold"
        f" {ours['repeats']['cold']} processes. Labels before and after:"
        f" {agree['identical_voxels']:.5%} of the voxels identical (worst study"
        f" {agree['identical_voxels_of_worst_study']:.5%}); Dice {dice}; volumes {change}."
    )
    if result["peers"]:
        lines += ["", "| system | network | a study, s | times ours |", "|---|---|---|---|"]
        own = ours["warm_s"]["median"]
        lines.append(f"| gliodistill | the shipped model | {own:.2f} | 1 |")
        for row in result["peers"]:
            lines.append(
                f"| {row['system']} | {row['what']}, {row['note']} | {row['warm_s']:.1f} |"
                f" {row['warm_s'] / own:.0f} |"
            )
    machine = result["machine"]
    lines.append(
        f"\nStudies of 240×240×155×4 voxels, files to file. {machine['processor']}"
        f" ({', '.join(machine['instructions'])}), {machine['cores']} cores, load"
        f" {machine['load_at_start']} at the start and {machine['load_at_end']} at the end."
    )
    return "\n".join(lines) + "\n"


def check(options: argparse.Namespace, studies: Path, scratch: Path) -> int:
    """Compare today's multiples with the committed ones; 1 where a stage is slower."""
    expected = json.loads(options.check.read_text())["multiples"]
    found = multiples(studies, scratch)
    slower = {s for s in STAGES if found[s] > SLOWER * expected[s] and found[s] > 0.2}
    for stage in STAGES:
        said = "slower" if stage in slower else "as before"
        print(f"{stage:8} {found[stage]:6.2f} yardsticks, {expected[stage]:.2f} committed: {said}")
    return int(bool(slower))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="phantoms are made here once")
    parser.add_argument("-o", "--out", type=Path, help="folder of speed.json and speed.md")
    parser.add_argument("--studies", type=Path, help="studies to use instead of phantoms")
    parser.add_argument("-n", "--count", type=int, default=12, help="phantoms")
    parser.add_argument("--before", default=BEFORE, help="commit to compare with")
    parser.add_argument("--repeats", type=int, default=10, help="cold processes of each side")
    parser.add_argument(
        "--turns", type=int, default=2, help="warm and batch processes of each side"
    )
    parser.add_argument("--nnunet-python", help="python of an environment with nnunetv2")
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--check", type=Path, metavar="RESULT", help="compare with this speed.json")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    studies = options.studies or make_studies(options.work / "phantoms", options.count)
    count = sum(path.is_dir() for path in studies.iterdir())
    with tempfile.TemporaryDirectory() as name:
        if options.check:
            return check(options, studies, Path(name))
        began, at_start = time.perf_counter(), load()
        result = {
            "what": "gliodistill segment on prepared studies, before and after, in turn",
            "before": options.before,
            "studies": count,
            "sides": sides(options, studies, Path(name)),
            "multiples": multiples(studies, Path(name)),
            "peers": [],
            "machine": {
                "processor": processor(),
                "instructions": instructions(("avx2", "avx512f", "avx512_bf16", "amx_bf16")),
                "cores": os.cpu_count(),
                "load_at_start": at_start,
                "load_at_end": load(),
                "seconds": round(time.perf_counter() - began),
            },
            "versions": versions("gliodistill", "numpy", "openvino", "isal"),
        }
        _write(result, options.out)
        if not options.without_peers:  # they take longest, and need more to be installed
            result["peers"] = peers(options, studies, Path(name))
            _write(result, options.out)
    return 0


def _write(result: dict[str, Any], out: Path | None) -> None:
    sys.stdout.write(table(result))
    sys.stdout.flush()
    if out:
        write_results(out / "speed.json", result, table(result))


if __name__ == "__main__":
    sys.exit(main())
