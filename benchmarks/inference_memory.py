"""Peak memory of segmenting one study, files to file: ``python -m benchmarks.inference_memory
--side 512 [-o memory.json]``.

The study is a ball of brain as large as a head in a cube of ``side``³ voxels, int16, at the model's
own voxel size, so that nothing is resampled and every voxel of the brain goes through the network:
by windows where a pass over the whole would take more than ``--memory``. The network is ``fast``
with random weights, unless ``--widths`` says otherwise.

With ``--scanned``, the study is four synthetic heads with skull, each moved and enlarged to ``side``³
voxels: they are aligned, and the brain is extracted. The network is the one that ships.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inference import process
from benchmarks.provenance import command, versions
from gliodistill.images import Volume, write_nifti
from gliodistill.models import (
    InferenceSettings,
    ModelSpec,
    NetworkSpec,
    OutputChannels,
    TrainingSummary,
)
from gliodistill.models.export import export_package
from gliodistill.networks import build
from gliodistill.phantom.raw import make_raw
from gliodistill.preparation import Preparation
from gliodistill.studies.labels import BRATS2021

HEAD = (0.30, 0.36, 0.28)
"""Half axes of the brain, as shares of the field of view: of a field of 240 mm, 144×173×134 mm."""


def make_study(folder: Path, shape: tuple[int, int, int]) -> None:
    """Four times one int16 volume of noise in an ellipsoid."""
    rng, lines = np.random.default_rng(0), [np.arange(side) / side - 0.5 for side in shape]
    image = np.zeros(shape, dtype=np.int16, order="F")
    for plane, z in enumerate(lines[2]):
        inside = (lines[0][:, None] / HEAD[0]) ** 2 + (lines[1][None] / HEAD[1]) ** 2 + (
            z / HEAD[2]
        ) ** 2 < 1
        image[:, :, plane][inside] = rng.integers(100, 116, int(inside.sum()), dtype=np.int16)
    first = folder / "case_t1.nii.gz"
    write_nifti(Volume(image, np.diag([*[240 / side for side in shape], 1.0])), first)
    for name in ("t1ce", "t2", "flair"):
        shutil.copyfile(first, folder / f"case_{name}.nii.gz")


def make_scans(folder: Path, shape: tuple[int, int, int]) -> None:
    """Four heads with skull, int16, each on a grid of its own of ``shape``."""
    for sequence, image in make_raw(seed=5, index=2, spacing=3.0).images.items():
        places = [
            np.arange(side) * there // side for side, there in zip(shape, image.shape, strict=True)
        ]
        steps = [there / side for side, there in zip(shape, image.shape, strict=True)]
        affine = image.affine @ np.diag([*steps, 1.0])
        data = image.data.astype(np.int16)[np.ix_(*places)]
        write_nifti(Volume(data, affine), folder / f"case_{sequence.lower()}.nii.gz")


def make_model(folder: Path, widths: list[int], patch: int) -> None:
    """A U-Net on a grid folded 2³, as ``fast`` is."""
    options: dict[str, Any] = {"widths": widths, "stem_stride": 2}
    training = TrainingSummary("none", "none", 0, 0, {}, "nothing: random weights, for memory")
    settings = InferenceSettings((patch, patch, patch), overlap=0.25)
    spec = ModelSpec(
        "memory",
        Preparation(),
        NetworkSpec("unet", options),
        OutputChannels(),
        BRATS2021,
        settings,
        training,
    )
    export_package(build("unet", **options), spec, folder)


def measure(
    shape: tuple[int, int, int],
    widths: list[int],
    patch: int,
    threads: int,
    memory: float,
    probabilities: bool,
    scanned: bool,
) -> dict[str, Any]:
    """One run in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "case").mkdir()
        words = [str(scratch / "case"), "-o", str(scratch / "out"), "--threads", str(threads)]
        if scanned:
            make_scans(scratch / "case", shape)
        else:
            make_study(scratch / "case", shape)
            make_model(scratch / "model", widths, patch)
            words += ["-m", str(scratch / "model"), "--input", "prepared"]  # noise is no brain
        words.append("--json")
        words += ["--memory", str(memory), *(["--probabilities"] if probabilities else [])]
        seconds, peak, text = process([sys.executable, "-m", "gliodistill", "segment", *words])
        stages = json.loads(text)["done"]["case"]["seconds"]
    return {
        "shape": shape,
        "study": "as scanned" if scanned else "prepared",
        "model": "shipped" if scanned else {"widths": widths, "patch": patch},
        "probabilities": probabilities,
        "peak_gb": peak,
        "seconds": seconds,
        "stages_s": stages,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shape", type=int, nargs=3, action="append", help="voxels; more than once for more runs"
    )
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128, 160])
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=float, default=3.0)
    parser.add_argument("--probabilities", action="store_true")
    parser.add_argument("--scanned", action="store_true", help="heads with skull, to be aligned")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    shapes = options.shape or [[240, 240, 155], [512, 512, 512]]
    runs = [
        measure(
            (x, y, z),
            options.widths,
            options.patch,
            options.threads,
            options.memory,
            options.probabilities,
            options.scanned,
        )
        for x, y, z in shapes
    ]
    text = json.dumps(runs, indent=1) + "\n"
    sys.stdout.write(text)
    if options.output:
        facts = {"command": command(), "versions": versions("gliodistill", "numpy", "openvino")}
        options.output.write_text(json.dumps(facts | {"runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
