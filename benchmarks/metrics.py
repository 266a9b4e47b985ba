r"""How long a study's scores take: every rule set here, the official packages, MONAI and
surface-distance, in one run.

    python -m benchmarks.metrics -o benchmarks/results/metrics/my-processor \
        --brats2026 oracle2026/bin/python --brats2023 oracle2023/bin/python --checkout
        BraTS-2023-Metrics

Each contestant is a process of its own, with the Python that has its package
(``tests/evaluation/oracle/make_fixtures.py`` says how to make those), on one thread. They take
turns with every pair of label maps, 240×240×155 at 1 mm, first with arrays in memory, then with
files; processor time is what counts, which a busy machine disturbs less than the clock. Peak memory
is what the process holds at most beyond what its first imports hold. Pairs are phantoms whose
outlines were blurred and moved, or with ``--truth`` and ``--predictions`` folders of your own.
"""

import argparse
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.provenance import processor, write_results

ROOT = Path(__file__).parents[1]
Labels = NDArray[np.uint8]
Values = dict[str, dict[str, float | None]]
"""Region → dice, hd95_mm."""
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
SPACING = (1.0, 1.0, 1.0)


class Contestant:
    """Scores one pair of label maps in BraTS 2023 codes."""

    packages: Sequence[str] = ()

    def files(self, prediction: str, truth: str) -> Values:
        """From NIfTI files."""
        import nibabel

        return self.arrays(
            *(np.asarray(nibabel.load(path).dataobj) for path in (prediction, truth))
        )

    def arrays(self, prediction: Labels, truth: Labels) -> Values:
        """From arrays in memory."""
        raise NotImplementedError


class Ours(Contestant):
    """One study as ``gliodistill evaluate`` scores it: cropped to what either map holds."""

    packages = ("gliodistill", "numpy", "scipy", "connected-components-3d")

    def __init__(self, rules: str) -> None:
        from gliodistill.evaluation.rules import get_rules

        self.rules = get_rules(rules)

    def files(self, prediction: str, truth: str) -> Values:
        """By the program's own reader."""
        from gliodistill.images.nifti import read_labels

        return self.arrays(*(read_labels(path).data for path in (prediction, truth)))

    def arrays(self, prediction: Labels, truth: Labels) -> Values:
        """Every metric of the rule set."""
        from gliodistill.evaluation.scores import score_study
        from gliodistill.evaluation.tasks import region_masks
        from gliodistill.images.bounds import filled_box
        from gliodistill.studies.labels import BRATS2023

        box = filled_box((prediction != 0) | (truth != 0)) or (slice(0, 1),) * 3
        masks = [
            region_masks(labels[box], BRATS2023, list(self.rules.tissues.values()))
            for labels in (prediction, truth)
        ]
        scores = score_study(*masks, SPACING, self.rules, image=truth.shape)
        return {
            region: {metric: values[metric] for metric in ("dice", "hd95_mm")}
            for region, values in scores.items()
        }


class Official2026(Contestant):
    """brats-evaluation with its configuration of WT, TC and ET: Dice, NSD and HD95, of regions and
    of matched lesions.
    """

    packages = ("BraTS-evaluation", "panoptica", "numpy", "scipy", "connected-components-3d")

    def __init__(self) -> None:
        from importlib.resources import files

        from panoptica import Panoptica_Evaluator

        self.evaluator = Panoptica_Evaluator.load_from_config(
            str(files("brats_evaluation").joinpath("configs", "config_GoAT.yaml"))
        )

    def files(self, prediction: str, truth: str) -> Values:
        """As its command does."""
        from brats_evaluation.evaluation import evaluate_single_exam

        result = evaluate_single_exam(prediction, truth, "pair", self.evaluator)
        return {region: self._values(result[region.lower()]) for region in REGIONS}

    def arrays(self, prediction: Labels, truth: Labels) -> Values:
        """As its command does after reading."""
        result = self.evaluator.evaluate(prediction, truth, voxelspacing=SPACING)
        return {region: self._values(result[region.lower()].to_dict(True)) for region in REGIONS}

    @staticmethod
    def _values(found: Mapping[str, Any]) -> dict[str, float | None]:
        dice, hd95 = float(found["global_bin_dsc"]), float(found["global_bin_hd95"])
        return {
            "dice": dice if np.isfinite(dice) else None,
            "hd95_mm": hd95 if np.isfinite(hd95) else 373.0 if np.isinf(hd95) else None,
        }


class Official2023(Contestant):
    """The lesion-wise script of BraTS 2023, which reads files only."""

    packages = ("surface-distance", "numpy", "scipy", "connected-components-3d")

    def __init__(self) -> None:
        from brats_2023_metrics.surface_distance import brats_metrics

        # As in make_fixtures.py: arrays in cells of a table, which only its pandas 1.3 bears.
        score = brats_metrics.get_lesion_wise_score
        brats_metrics.get_lesion_wise_score = lambda **given: self._with_lists(score(**given))
        self.results = brats_metrics.get_lesion_wise_results

    @staticmethod
    def _with_lists(scores: dict[str, Any]) -> dict[str, Any]:
        return scores | {
            "metric_pairs": [(list(lesions), *rest) for lesions, *rest in scores["metric_pairs"]]
        }

    def files(self, prediction: str, truth: str) -> Values:
        """Its table."""
        table = self.results(prediction, truth, "BraTS-GLI").set_index("Labels")
        names = {"dice": "Lesion_Wise_Score_Dice", "hd95_mm": "Lesion_Wise_Score_HD95"}
        return {
            region: {ours: float(table.loc[region, theirs]) for ours, theirs in names.items()}
            for region in REGIONS
        }


class Monai(Contestant):
    """MONAI's DiceMetric and HausdorffDistanceMetric at 95 %, on the three regions as channels."""

    packages = ("monai", "torch", "numpy", "scipy")

    def __init__(self) -> None:
        import torch
        from monai.metrics import DiceMetric, HausdorffDistanceMetric

        torch.set_num_threads(1)
        self.dice = DiceMetric(include_background=True)
        self.hd95 = HausdorffDistanceMetric(include_background=True, percentile=95)

    def arrays(self, prediction: Labels, truth: Labels) -> Values:
        """Dice and HD95."""
        import torch

        pair = [
            torch.from_numpy(np.stack([np.isin(labels, codes) for codes in REGIONS.values()]))[None]
            for labels in (prediction, truth)
        ]
        dice, hd95 = self.dice(*pair)[0].tolist(), self.hd95(*pair, spacing=SPACING)[0].tolist()
        return {
            region: {"dice": dice[index], "hd95_mm": hd95[index]}
            for index, region in enumerate(REGIONS)
        }


class SurfaceDistance(Contestant):
    """DeepMind's surface-distance: Dice, HD95 and surface Dice of the three regions."""

    packages = ("surface-distance", "numpy", "scipy")

    def arrays(self, prediction: Labels, truth: Labels) -> Values:
        """Dice, HD95 and (not handed on) surface Dice at 1 mm."""
        import surface_distance

        values: Values = {}
        for region, codes in REGIONS.items():
            masks = [np.isin(labels, codes) for labels in (truth, prediction)]
            found = surface_distance.compute_surface_distances(*masks, SPACING)
            surface_distance.compute_surface_dice_at_tolerance(found, 1.0)
            hd95 = float(surface_distance.compute_robust_hausdorff(found, 95))
            values[region] = {
                "dice": float(surface_distance.compute_dice_coefficient(*masks)),
                "hd95_mm": hd95,
            }
        return values


CONTESTANTS: dict[str, tuple[str, Callable[..., Contestant]]] = {
    "ours-plain": ("gliodistill, rules plain", lambda: Ours("plain")),
    "ours-brats2026": ("gliodistill, rules brats2026", lambda: Ours("brats2026")),
    "ours-brats2023": ("gliodistill, rules brats2023", lambda: Ours("brats2023")),
    "monai": ("MONAI Dice + HD95", Monai),
    "surface-distance": ("surface-distance", SurfaceDistance),
    "official-2026": ("brats-evaluation (2026)", Official2026),
    "official-2023": ("BraTS-2023-Metrics", Official2023),
}
PEERS = {
    "official-2026": "ours-brats2026",
    "official-2023": "ours-brats2023",
    "monai": "ours-plain",
    "surface-distance": "ours-brats2023",
}
"""Who is measured against which rule set: the one whose numbers it gives, or (surface-distance)
whose surfaces.
"""
SLOW = {"official-2023"}
"""Scores every pair once: half a minute each."""
SAME = ("official-2026", "official-2023", "monai")
"""Peers whose Dice and HD95 must be ours where both masks hold something."""


def serve(name: str) -> None:
    """Be a contestant: read requests from standard input, a line each, until it ends."""
    import warnings

    warnings.simplefilter("ignore")
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print must not mix with the answers
    contestant = CONTESTANTS[name][1]()
    held: list[Labels] = []
    print(
        json.dumps({"versions": {package: version(package) for package in contestant.packages}}),
        file=talk,
        flush=True,
    )
    before = peak_kib()
    for line in sys.stdin:
        request = json.loads(line)
        if request["what"] == "arrays" and type(contestant).arrays is Contestant.arrays:
            print(json.dumps({"seconds": None}), file=talk, flush=True)
            continue
        if request["what"] == "arrays":
            import nibabel

            held = [
                np.ascontiguousarray(nibabel.load(path).dataobj, dtype=np.uint8)
                for path in request["pair"]
            ]
        start, cpu = time.perf_counter(), time.process_time()
        values = (
            contestant.arrays(*held)
            if request["what"] == "arrays"
            else contestant.files(*request["pair"])
        )
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(
            json.dumps(
                {
                    "seconds": seconds,
                    "cpu": cpu,
                    "values": values,
                    "peak_mib": (peak_kib() - before) / 1024,
                }
            ),
            file=talk,
            flush=True,
        )
        held = []


def peak_kib() -> int:
    """The most memory that this process has held."""
    try:  # what getrusage says begins, on Linux, with the peak of the process that started this one
        return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak


class Process:
    """A contestant at work elsewhere.

    Args:
        name: of the contestant.
        python: the interpreter of its environment.
        checkout: folder of its code, where it is not installed.
    """

    def __init__(self, name: str, python: str, checkout: Path | None = None) -> None:
        one = {
            variable: "1"
            for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        }
        roots = [str(ROOT), str(checkout or ""), os.environ.get("PYTHONPATH", "")]
        path = {"PYTHONPATH": os.pathsep.join(filter(None, roots))}
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.metrics", "--serve", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **one, **path},
        )
        self.versions: dict[str, str] = self._answer()["versions"]

    def ask(self, what: str, pair: Sequence[str]) -> dict[str, Any]:
        """Have one pair scored."""
        assert self.process.stdin is not None
        print(json.dumps({"what": what, "pair": pair}), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a contestant ended early: {self.process.args}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def phantoms(count: int) -> Iterator[tuple[Labels, Labels]]:
    """Predictions and truths: grown tumours, and what is left of them with outlines blurred and
    moved, bites and strays.
    """
    from scipy.ndimage import gaussian_filter

    from gliodistill.phantom import make_phantom
    from gliodistill.studies.labels import BRATS2021, BRATS2023

    for index in range(count):
        study, rng = make_phantom(17, index), np.random.default_rng(index)
        assert study.truth is not None
        regions = BRATS2021.to_regions(study.truth.data)
        noise = gaussian_filter(rng.standard_normal(regions.shape[1:]).astype(np.float32), 3.0)
        noise *= 0.15 / noise.std()
        soft = np.stack([gaussian_filter(region.astype(np.float32), 2.0) for region in regions])
        blurred = soft + noise * (soft > 0.01) > 0.5
        drawn = np.argwhere(regions[0])
        for stray in range(4):  # bites out of the tumour, and blobs beside it
            centre = drawn[rng.integers(len(drawn))] + (stray % 2) * rng.integers(-20, 21, size=3)
            part = tuple(slice(max(int(c), 0), int(c) + int(rng.integers(2, 6))) for c in centre)
            blurred[(slice(None), *part)] = stray % 2
        yield BRATS2023.from_regions(blurred), BRATS2023.from_regions(regions)


def folders(
    predictions: Path, truth: Path, labels: str, count: int
) -> Iterator[tuple[Labels, Labels]]:
    """Pairs of one's own, in BraTS 2023 codes."""
    from gliodistill.evaluation.evaluate import match_pairs
    from gliodistill.images.nifti import read_labels
    from gliodistill.studies.labels import BRATS2023

    found = match_pairs(predictions, truth, labels=labels, subset=True)
    for pair in found.pairs[:count]:
        prediction = pair.prediction_labels.to_regions(read_labels(pair.prediction.path).data)
        yield (
            BRATS2023.from_regions(prediction),
            BRATS2023.from_regions(pair.truth_labels.to_regions(read_labels(pair.truth.path).data)),
        )


def write_pairs(pairs: Iterator[tuple[Labels, Labels]], folder: Path) -> list[list[str]]:
    """Files of prediction and truth, in the layout that ``evaluate`` takes."""
    import nibabel

    written = []
    for index, pair in enumerate(pairs):
        written.append(
            [str(folder / part / f"Pair_{index:03d}.nii.gz") for part in ("prediction", "truth")]
        )
        for path, labels in zip(written[-1], pair, strict=True):
            Path(path).parent.mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(labels, np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    return written


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, best and worst."""
    return {
        "median": round(statistics.median(values), 4),
        "best": round(min(values), 4),
        "worst": round(max(values), 4),
    }


def duel(
    processes: Mapping[str, Process], pairs: Sequence[Sequence[str]], rounds: int
) -> dict[str, Any]:
    """All contestants in turn, with every pair: first from arrays, then from files, after one to
    warm up.
    """
    quick = [name for name in processes if name not in SLOW]
    for name in quick:
        processes[name].ask("files", pairs[0])
    results: dict[str, Any] = {
        name: {
            "arrays": [],
            "files": [],
            "wall": {"arrays": [], "files": []},
            "values": {},
            "peak_mib": 0.0,
        }
        for name in processes
    }
    for done in range(rounds):
        for number, pair in enumerate(pairs):
            for what in ("arrays", "files"):
                for name in quick if done else processes:
                    answer = processes[name].ask(what, pair)
                    print(
                        f"{name:16} pair {number}, {what}: {answer['seconds']} s",
                        file=sys.stderr,
                        flush=True,
                    )
                    if answer["seconds"] is not None:
                        results[name][what].append(answer["cpu"])
                        results[name]["wall"][what].append(answer["seconds"])
                        results[name]["values"][number] = answer["values"]
                        results[name]["peak_mib"] = max(
                            results[name]["peak_mib"], answer["peak_mib"]
                        )
    return results


def largest_difference(
    first: Mapping[int, Values], second: Mapping[int, Values]
) -> dict[str, float]:
    """Of Dice and HD95, where both contestants give a finite number."""
    found = {"dice": 0.0, "hd95_mm": 0.0}
    for number, values in first.items():
        for region, metrics in values.items():
            for metric, value in metrics.items():
                other = second[number][region][metric]
                if (
                    value is not None
                    and other is not None
                    and np.isfinite(value)
                    and np.isfinite(other)
                ):
                    found[metric] = max(found[metric], abs(value - other))
    return {metric: float(f"{value:.2g}") for metric, value in found.items()}


def cohort(pairs: Sequence[Sequence[str]]) -> dict[str, float]:
    """Seconds a study of a whole ``evaluate``: checks, reading, scoring."""
    from gliodistill.evaluation.evaluate import evaluate

    folder, manifest = (Path(path).parent for path in pairs[0])
    manifest = manifest / "truth.csv"
    manifest.write_text(
        "id,flair,truth\n" + "".join(f"{Path(path).name[:-7]},{path},{path}\n" for _, path in pairs)
    )
    seconds = {}
    for jobs in sorted({1, os.cpu_count() or 1}):
        start = time.perf_counter()
        scores = evaluate(folder, manifest, rules="brats2026", labels="brats2023", jobs=jobs)
        assert scores.ok
        seconds[str(jobs)] = round((time.perf_counter() - start) / len(pairs), 4)
    return seconds


def machine() -> dict[str, Any]:
    """What decides the numbers."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def table(found: Mapping[str, Any]) -> str:
    """The table in the docs."""
    rows = [
        "| one study, one thread | arrays → numbers, s | files → numbers, s | peak, MiB | times"
        " ours | Dice, HD95 differ by at most |"
    ]
    rows.append("|---|---|---|---|---|---|")
    for name, row in found["contestants"].items():
        arrays = f"{row['arrays_s']['median']:.3f}" if row["arrays_s"] else "–"
        peer, difference = "", ""
        if against := PEERS.get(name):
            times = [
                f"{row['times'][what]:.1f} ×"
                for what in ("arrays", "files")
                if what in row["times"]
            ]
            peer = f"{' / '.join(times)} `{against.removeprefix('ours-')}`"
            difference = (
                f"{row['difference']['dice']:g}, {row['difference']['hd95_mm']:g} mm"
                if "difference" in row
                else "other rules"
            )
        rows.append(
            f"| {row['title']} | {arrays} | {row['files_s']['median']:.3f} | {row['peak_mib']:.0f}"
            f" | {peer} | {difference} |"
        )
    jobs = ", ".join(
        f"{seconds:.3f} s with {count} job{'s' * (count != '1')}"
        for count, seconds in found["cohort_s"].items()
    )
    versions = {
        package: number
        for row in found["contestants"].values()
        for package, number in row["versions"].items()
        if package != "numpy"
    }
    used = ", ".join(
        f"{package} {versions[package]}"
        for package in ("BraTS-evaluation", "panoptica", "monai", "surface-distance")
        if package in versions
    )
    about = found["machine"]
    rows.append(
        f"\nMedian processor seconds over {found['pairs']}, each scored {found['rounds']} times;"
        f" {about['cpu']}, {about['cores']} cores; {used}."
    )
    rows.append(
        "`gliodistill evaluate --rules brats2026` over all of them, checks and reading included:"
        f" {jobs} a study."
    )
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--pairs", type=int, default=4, help="how many [4]")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is scored [3]")
    parser.add_argument("--truth", type=Path, metavar="FOLDER", help="a cohort instead of phantoms")
    parser.add_argument("--predictions", type=Path, metavar="FOLDER", help="of that cohort")
    parser.add_argument("--labels", default="brats2021", help="convention of both [brats2021]")
    parser.add_argument(
        "--brats2026", metavar="PYTHON", help="interpreter that has brats-evaluation"
    )
    parser.add_argument(
        "--brats2023",
        metavar="PYTHON",
        help="interpreter that has what BraTS-2023-Metrics needs, and surface-distance",
    )
    parser.add_argument("--checkout", type=Path, metavar="FOLDER", help="of BraTS-2023-Metrics")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="NAME", help="write NAME.json and NAME.md"
    )
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return

    pythons = {"official-2026": options.brats2026, "surface-distance": options.brats2023}
    pythons["official-2023"] = options.brats2023 if options.checkout else None
    chosen = {name: pythons.get(name, sys.executable) for name in CONTESTANTS}
    with tempfile.TemporaryDirectory() as folder:
        source = (
            folders(options.predictions, options.truth, options.labels, options.pairs)
            if options.truth
            else phantoms(options.pairs)
        )
        pairs = write_pairs(source, Path(folder))
        processes = {
            name: Process(name, python, options.checkout if name == "official-2023" else None)
            for name, python in chosen.items()
            if python
        }
        results = duel(processes, pairs, options.rounds)
        for process in processes.values():
            process.close()
        whole = cohort(pairs)

    contestants: dict[str, Any] = {}
    for name, result in results.items():
        row: dict[str, Any] = {
            "title": CONTESTANTS[name][0],
            "versions": processes[name].versions,
            "peak_mib": round(result["peak_mib"], 1),
        }
        for what in ("arrays", "files"):
            row[f"{what}_s"] = spread(result[what]) if result[what] else None
            row[f"{what}_wall_s"] = spread(result["wall"][what]) if result[what] else None
        contestants[name] = row
    for name, against in PEERS.items():
        if name in contestants:
            row, ours = contestants[name], contestants[against]
            row["times"] = {
                w: round(row[f"{w}_s"]["median"] / ours[f"{w}_s"]["median"], 2)
                for w in ("arrays", "files")
                if row[f"{w}_s"]
            }
            if name in SAME:
                row["difference"] = largest_difference(
                    results[name]["values"], results[against]["values"]
                )
    what = (
        f"{len(pairs)} {'pairs of given folders' if options.truth else 'phantoms'} of 240×240×155"
        " voxels"
    )
    found = {
        "machine": machine(),
        "pairs": what,
        "rounds": options.rounds,
        "contestants": contestants,
        "cohort_s": whole,
    }
    print(table(found))
    if options.output:
        write_results(options.output, found, table(found))


if __name__ == "__main__":
    main()
