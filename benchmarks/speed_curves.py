"""How seconds and memory grow: ``python -m benchmarks.speed_curves --work FOLDER -o OUT``.

``gliodistill segment`` in a new process for each point, so that the start counts too: against the
voxels of a study (a phantom whose voxels are cut in two or three along some axes, brain of the same
size), against its sequences, and against the number of studies. Processor seconds are fitted by a
start and a cost for each; a curve whose last point lies a tenth above the line through the others
is said to grow faster than linear, and the exit code is 1.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inference import make_studies
from benchmarks.provenance import instructions, load, processor, versions, write_results
from benchmarks.speed import ROOT, run

CUTS = ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2))
"""Parts of a voxel along each axis. Images have at most 512³ voxels, 15 times those of a phantom."""
SEQUENCES = ("flair", "t1ce", "t1", "t2")
STUDIES = (1, 3, 12, 36, 96)
RUNS, FEW = 3, 8
"""Calls for a point of at most so many voxels, sequences or studies; one for more."""
TOLERANCE = 1.1
"""Times the line through the other points at which the last one counts as above it."""


def cut_voxels(study: Path, cuts: tuple[int, int, int], folder: Path) -> Path:
    """A study with each voxel cut into parts, stored as 16-bit integers."""
    from gliodistill.images.nifti import read_nifti, write_nifti
    from gliodistill.images.volume import Volume

    place = folder / study.name
    if place.exists():
        return folder
    part = folder.with_name(folder.name + ".part") / study.name
    part.mkdir(parents=True, exist_ok=True)
    for name in SEQUENCES:
        file = next(study.glob(f"*_{name}.nii.gz"))
        image = read_nifti(file)
        data = image.data.astype(np.int16)
        for axis, count in enumerate(cuts):
            data = np.repeat(data, count, axis=axis)
        affine = image.affine @ np.diag([*(1 / count for count in cuts), 1])
        # The centre of the first part, so that the image stays where it is.
        affine[:3, 3] += image.affine[:3, :3] @ ((1 / np.asarray(cuts) - 1) / 2)
        write_nifti(Volume(np.asfortranarray(data), affine), part / file.name)
    folder.mkdir(exist_ok=True)
    part.rename(place)
    part.parent.rmdir()
    return folder


def some_sequences(study: Path, count: int, folder: Path) -> Path:
    """A study with its first ``count`` sequences."""
    (folder / study.name).mkdir(parents=True)
    for name in SEQUENCES[:count]:
        file = next(study.glob(f"*_{name}.nii.gz"))
        (folder / study.name / file.name).symlink_to(file)
    return folder


def many(studies: list[Path], count: int, folder: Path) -> Path:
    """So many studies: those there are, again and again under other names."""
    for number in range(count):
        study = studies[number % len(studies)]
        name = f"{study.name}_{number:03d}"
        (folder / name).mkdir(parents=True)
        for file in study.glob("*.nii.gz"):
            if "seg" not in file.name:
                (folder / name / file.name.replace(study.name, name)).symlink_to(file)
    return folder


def point(amount: float, studies: Path, scratch: Path) -> dict[str, float]:
    """Seconds and peak memory of one call: of :data:`RUNS`, that of the least processor seconds."""
    words = ["-m", "gliodistill", "segment", str(studies), "--json", "-o"]
    found = []
    for _ in range(RUNS if amount <= FEW else 1):
        out = Path(tempfile.mkdtemp(dir=scratch)) / "out"
        found.append(run(str(ROOT / "src"), *words, str(out)))
    least = min(found, key=lambda one: float(one["cpu_s"]))
    return {"amount": amount} | {
        key: round(least[key], 3) for key in ("wall_s", "cpu_s", "peak_gb")
    }


def fit(points: list[dict[str, float]]) -> dict[str, Any]:
    """Start and cost of one more by least squares, and whether the last point is above the line
    through the others.
    """
    amounts, seconds = (np.array([p[key] for p in points]) for key in ("amount", "cpu_s"))
    more, start = np.polyfit(amounts, seconds, 1, w=1 / seconds)
    slope, height = np.polyfit(amounts[:-1], seconds[:-1], 1, w=1 / seconds[:-1])
    expected = float(slope * amounts[-1] + height)
    return {
        "start_cpu_s": round(float(start), 3),
        "more_cpu_s": round(float(more), 4),
        "last_over_line_through_others": round(float(seconds[-1]) / expected, 3),
        "faster_than_linear": bool(seconds[-1] > TOLERANCE * expected),
    }


def table(result: dict[str, Any]) -> str:
    """As Markdown."""
    lines = []
    for name, curve in result["curves"].items():
        lines += [
            f"| {name} | wall, s | CPU, s | peak, GB |",
            "|---|---|---|---|",
            *(
                f"| {p['amount']:g} | {p['wall_s']:.2f} | {p['cpu_s']:.2f} | {p['peak_gb']:.2f} |"
                for p in curve["points"]
            ),
            "",
            "{start_cpu_s:.2f} CPU s, and {more_cpu_s:.3f} for one more.".format(**curve["fit"])
            + (" Faster than linear." if curve["fit"]["faster_than_linear"] else ""),
            "",
        ]
    machine = result["machine"]
    lines.append(
        f"A new process for each row. {machine['processor']}"
        f" ({', '.join(machine['instructions'])}), {machine['cores']} cores, load"
        f" {machine['load_at_start']} at the start and {machine['load_at_end']} at the end."
    )
    return "\n".join(lines) + "\n"


def figure(result: dict[str, Any], file: Path) -> None:
    """The curves: CPU seconds above, peak memory below."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "gliodistill"
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(2, 3, figsize=(9, 4.6), sharex="col", layout="constrained")
    for column, (name, curve) in enumerate(result["curves"].items()):
        amounts = [p["amount"] for p in curve["points"]]
        for row, (key, unit) in enumerate((("cpu_s", "CPU, s"), ("peak_gb", "peak memory, GB"))):
            axis = axes[row, column]
            axis.plot(amounts, [p[key] for p in curve["points"]], "o-", color="#0072b2")
            axis.set_ylim(0, 1.15 * max(p[key] for p in curve["points"]))
            axis.spines[["top", "right"]].set_visible(False)
            if not column:
                axis.set_ylabel(unit)
        start, more = curve["fit"]["start_cpu_s"], curve["fit"]["more_cpu_s"]
        ends = np.array([0, amounts[-1]])
        axes[0, column].plot(ends, start + more * ends, "--", color="#999999", label="linear fit")
        axes[1, column].set_xlabel(name)
    axes[0, 0].legend(frameon=False)
    drawing.savefig(file, metadata={"Date": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="phantoms are made here once")
    parser.add_argument("-o", "--out", type=Path, help="folder of speed_curves.json, .md, .svg")
    parser.add_argument("--only-make", action="store_true", help="make the studies and stop")
    parser.add_argument("--only", help="measure this curve anew, and keep the others of --out")
    parser.add_argument("--quick", action="store_true", help="the first points of each curve")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    phantoms = make_studies(options.work / "phantoms", 12)
    studies = sorted(path for path in phantoms.iterdir() if path.is_dir())
    few = 3 if options.quick else None
    fine = {
        cuts: cut_voxels(studies[0], cuts, options.work / f"cut-{'x'.join(map(str, cuts))}")
        for cuts in CUTS[:few]
    }
    if options.only_make:
        return 0
    began, at_start = time.perf_counter(), load()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        point(0, fine[CUTS[0]], scratch)  # writes bytecode
        points = {
            "voxels, × 240×240×155": lambda: [
                point(float(np.prod(cuts)), folder, scratch) for cuts, folder in fine.items()
            ],
            "sequences": lambda: [
                point(n, some_sequences(studies[0], n, scratch / f"s{n}"), scratch)
                for n in range(1, len(SEQUENCES) + 1)[:few]
            ],
            "studies": lambda: [
                point(n, many(studies, n, scratch / f"n{n}"), scratch) for n in STUDIES[:few]
            ],
        }
        curves = {}
        if options.only:
            curves = json.loads((options.out / "speed_curves.json").read_text())["curves"]
        for title, measure in points.items():
            if not options.only or title.startswith(options.only):
                found = measure()
                curves[title] = {"points": found, "fit": fit(found)}
    result = {
        "what": "gliodistill segment against voxels, sequences and studies",
        "curves": curves,
        "machine": {
            "processor": processor(),
            "instructions": instructions(("avx2", "avx512f", "avx512_bf16", "amx_bf16")),
            "cores": os.cpu_count(),
            "load_at_start": at_start,
            "load_at_end": load(),
            "seconds": round(time.perf_counter() - began),
        },
        "versions": versions("gliodistill", "numpy", "openvino"),
    }
    print(table(result))
    if options.out:
        write_results(options.out / "speed_curves.json", result, table(result))
        figure(result, options.out / "speed_curves.svg")
    return int(any(curve["fit"]["faster_than_linear"] for curve in result["curves"].values()))


if __name__ == "__main__":
    sys.exit(main())
