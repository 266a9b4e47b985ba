"""Ways to do the costly steps of a segmentation, measured: ``python -m benchmarks.speed_alternatives
--work FOLDER -o OUT``.

*Resample*: one sequence of a phantom, cropped to its brain, to the shipped model's 1.5 mm, by this
package's sums of neighbours, by products with the axis matrices (BLAS), sparse products (SciPy), an
OpenVINO graph of the same products, SciPy's and SimpleITK's interpolation (which do not anti-alias).
*Normalise and quantise*: NumPy, and an OpenVINO graph. *Read*: isal and zlib; whole and cropped
before conversion. *Memory*: glibc's own settings, and one arena that reuses freed arrays. Least
processor milliseconds of several runs, of all threads (``OMP_NUM_THREADS=1`` leaves one), and how
far the values are apart.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inference import make_studies
from benchmarks.provenance import instructions, load, processor, versions, write_results

RUNS = 7


def least(work: Callable[[], Any], runs: int = RUNS) -> float:
    """Least processor milliseconds of several runs, after a first one."""
    work()
    found = []
    for _ in range(runs):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return round(min(found) * 1000, 2)


def resampling(image: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Rows of one sequence's way to 1.5 mm."""
    import SimpleITK
    from scipy import ndimage, sparse

    from gliodistill.images.resampling import Taps, axis_matrix, resample_by
    from gliodistill.models.telemetry import import_openvino

    matrices = [axis_matrix(side, int(np.ceil(side / 1.5)), 1.5) for side in image.shape]
    taps = tuple(Taps.of(matrix) for matrix in matrices)
    x, y, z = matrices
    thin = [sparse.csr_matrix(matrix) for matrix in matrices]
    planes = image.T  # as the file holds them: Z Y X

    def by_blas() -> np.ndarray[Any, Any]:
        first = (z @ planes.reshape(len(planes), -1)).reshape(-1, *planes.shape[1:])
        return ((y @ first) @ x.T).T

    def by_sparse() -> np.ndarray[Any, Any]:
        first = (thin[2] @ planes.reshape(len(planes), -1)).reshape(-1, *planes.shape[1:])
        second = np.stack([thin[1] @ plane for plane in first])
        last = thin[0] @ second.reshape(-1, second.shape[-1]).T
        return last.reshape(-1, *second.shape[:2]).transpose(0, 2, 1)

    openvino = import_openvino()
    ops = openvino.opset13
    put = ops.parameter(list(planes.shape), np.float32)
    flat = ops.reshape(put, np.array([len(planes), -1]), False)
    first = ops.reshape(ops.matmul(z, flat, False, False), [len(z), *planes.shape[1:]], False)
    graph = ops.matmul(ops.matmul(y, first, False, False), x, False, True)
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(openvino.Model([graph], [put], ""), "CPU", settings)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    scan = SimpleITK.GetImageFromArray(planes)
    sides = [len(matrix) for matrix in matrices]
    identity, straight = SimpleITK.Transform(), [1, 0, 0, 0, 1, 0, 0, 0, 1]

    def by_itk() -> np.ndarray[Any, Any]:
        found = SimpleITK.Resample(
            scan, sides, identity, SimpleITK.sitkLinear, [0.25] * 3, [1.5] * 3, straight
        )
        return SimpleITK.GetArrayFromImage(found).T

    ways: dict[str, Callable[[], np.ndarray[Any, Any]]] = {
        "sums of neighbours (ours)": lambda: resample_by(image, taps),
        "BLAS products": by_blas,
        "sparse products": by_sparse,
        "OpenVINO graph": lambda: compiled(planes, share_inputs=True)[0].T,
        "scipy.ndimage.zoom, order 1": lambda: ndimage.zoom(
            image, [n / s for n, s in zip(sides, image.shape, strict=True)], order=1
        ),
        "SimpleITK, linear": by_itk,
    }
    return rows("resample a sequence", ways)


def quantising(values: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Rows of the last step: mean, deviation, levels."""
    from gliodistill.models.telemetry import import_openvino
    from gliodistill.preparation.quantise import CLIP, OFFSET, STEP, quantise

    inside = values != 0
    middle, deviation = values[inside].mean(), values[inside].std()
    openvino = import_openvino()
    ops = openvino.opset13
    put = ops.parameter(list(values.shape), np.float32)
    share = ops.parameter(list(values.shape), np.float32)
    one = ops.divide(ops.subtract(put, middle), deviation)
    level = ops.round(ops.divide(ops.subtract(ops.clamp(one, -CLIP, CLIP), np.float32(OFFSET)), np.float32(STEP)), "half_to_even")  # fmt: skip
    graph = ops.convert(ops.multiply(level, share), np.uint8)
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(
        openvino.Model([graph], [put, share], ""), "CPU", settings
    )
    mask = inside.astype(np.float32)
    ways: dict[str, Callable[[], np.ndarray[Any, Any]]] = {
        "NumPy (ours)": lambda: quantise((values - middle) / deviation, inside),
        "OpenVINO graph": lambda: compiled([values, mask], share_inputs=True)[0],
    }
    return rows("normalise and quantise a sequence", ways)


def rows(step: str, ways: dict[str, Callable[[], np.ndarray[Any, Any]]]) -> list[dict[str, Any]]:
    """Milliseconds of each way, and its difference from the first."""
    first = np.asarray(next(iter(ways.values()))(), dtype=np.float64)
    found = []
    for name, way in ways.items():
        value = np.asarray(way(), dtype=np.float64)
        apart = float(np.abs(value - first).max()) if value.shape == first.shape else None
        found.append({"step": step, "way": name, "cpu_ms": least(way), "most_apart": apart})
    return found


def reading(file: Path) -> list[dict[str, Any]]:
    """Rows of unpacking and converting a file."""
    from isal import isal_zlib

    from gliodistill.images.stored import read_stored

    packed = file.read_bytes()

    def whole() -> Any:
        return read_stored(file, [None])[0].scaled()

    def cropped() -> Any:
        stored = read_stored(file, [None])[0]
        return stored.scaled(stored.box())

    ways = {
        "unpack: isal (ours)": lambda: isal_zlib.decompress(packed, wbits=31),
        "unpack: zlib": lambda: zlib.decompress(packed, wbits=31),
        "read, crop, then convert (ours)": cropped,
        "read, convert all": whole,
    }
    return [
        {"step": "read a file", "way": name, "cpu_ms": least(way), "most_apart": None}
        for name, way in ways.items()
    ]


MEMORY = """
import json, resource, sys, tempfile
from pathlib import Path
from gliodistill.allocator import reuse_memory
from gliodistill.inference.cases.nifti import NiftiCase
from gliodistill.inference.predictor import Predictor
from gliodistill.studies.cohort import find_cohort
if sys.argv[2] == "reuse":
    reuse_memory()
records, predictor = find_cohort(Path(sys.argv[1]))[0].studies[:4], Predictor()
def used():
    told = resource.getrusage(resource.RUSAGE_SELF)
    return told.ru_utime + told.ru_stime, told.ru_minflt
with tempfile.TemporaryDirectory() as out:
    for number, record in enumerate([records[0], *records, *records]):
        if number == 1:
            began = used()
        ready = NiftiCase(record).ready()
        prepared = predictor.prepare(ready.study)
        del ready
        predictor.segment_prepared(prepared).save(Path(out) / f"{number}.nii.gz")
ended = used()
count = 2 * len(records)
print(json.dumps({"cpu_ms": 1000 * (ended[0] - began[0]) / count, "faults": (ended[1] - began[1]) / count,
                  "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))
"""


def memory(studies: Path) -> list[dict[str, Any]]:
    """Rows of whole studies with either setting of glibc, each in a process of its own."""
    found = []
    for name, word in (("glibc's own", "own"), ("one arena, reused (ours)", "reuse")):
        command = [sys.executable, "-c", MEMORY, str(studies), word]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        told = json.loads(output.splitlines()[-1])
        found.append({"step": "memory of a study", "way": name, "most_apart": None} | told)
    return found


def table(result: dict[str, Any]) -> str:
    """As Markdown."""
    lines = ["| step | way | CPU, ms | values apart, at most |", "|---|---|---|---|"]
    for row in result["rows"]:
        apart = "–" if row["most_apart"] is None else f"{row['most_apart']:.3g}"
        more = f", peak {row['peak_gb']:.2f} GB, {row['faults']:.0f} page faults" if "faults" in row else ""  # fmt: skip
        lines.append(f"| {row['step']} | {row['way']}{more} | {row['cpu_ms']:.1f} | {apart} |")
    machine = result["machine"]
    lines.append(
        f"\nA sequence of {result['shape']} voxels. {machine['processor']}"
        f" ({', '.join(machine['instructions'])}), load {machine['load']}."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="phantoms are made here once")
    parser.add_argument("-o", "--out", type=Path, help="folder of speed_alternatives.json and .md")
    options = parser.parse_args()
    from gliodistill.images.nifti import read_nifti

    studies = make_studies(options.work / "phantoms", 12)
    file = next(sorted(studies.iterdir())[0].glob("*_flair.nii.gz"))
    data = read_nifti(file).data
    filled = np.argwhere(data != 0)
    box = tuple(slice(a - 3, b + 4) for a, b in zip(filled.min(0), filled.max(0), strict=True))
    image = np.asfortranarray(data[box])
    result = {
        "what": "ways to do the costly steps of a segmentation, one thread",
        "rows": [
            *resampling(image),
            *quantising(np.ascontiguousarray(image[::2, ::2])),
            *reading(file),
            *memory(studies),
        ],
        "shape": "×".join(map(str, image.shape)),
        "machine": {
            "processor": processor(),
            "instructions": instructions(("avx2", "avx512f", "avx512_bf16", "amx_bf16")),
            "cores": os.cpu_count(),
            "load": load(),
        },
        "versions": versions("gliodistill", "numpy", "openvino", "scipy", "SimpleITK", "isal"),
    }
    print(table(result))
    if options.out:
        write_results(options.out / "speed_alternatives.json", result, table(result))


if __name__ == "__main__":
    main()
