"""A really trained nnU-Net on any labelled studies, by its own package, with a shortened schedule:
two folds, or one with ``--validation N``.

Runs in an environment of its own (``pip install nnunetv2 -e .``):

``python -m benchmarks.teachers.trained OUT --data STUDIES`` writes ``nnUNet_raw``,
``nnUNet_preprocessed`` and ``nnUNet_results`` of ``Dataset137_BraTS`` into OUT. A stopped training
goes on with the same command. :mod:`benchmarks.teachers.table` distils it.
"""

import argparse
import json
import re
from pathlib import Path

from benchmarks.provenance import processor, versions
from benchmarks.teachers.nnunet import (
    CHANNELS,
    COMMON,
    REGIONS,
    environment,
    preprocess,
    tiny_plans,
    train,
)

NAME, SETTINGS = "Dataset137_BraTS", "teacher.json"


def write_raw(root: Path, data: Path) -> Path:
    """The studies as nnU-Net's raw data; written once."""
    import gliodistill as gd
    from gliodistill.images import Volume, write_nifti
    from gliodistill.studies.labels import MSD

    raw = root / "nnUNet_raw" / NAME
    if (raw / "dataset.json").is_file():
        return raw
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True, exist_ok=True)
    cohort = gd.open_cohort(data).labelled()
    for record in cohort:
        study = gd.Study.open(record)
        if len(study.images) < len(CHANNELS):
            raise SystemExit(f"{record.id} lacks a sequence")
        for index, name in enumerate(CHANNELS):
            image = study.images[gd.MRSequence(name)]
            write_nifti(
                Volume(on_grid(image, study.grid), study.grid.affine),
                raw / "imagesTr" / f"{record.id}_{index:04d}.nii.gz",
            )
        told = MSD.from_regions(study.convention.to_regions(study.truth.data))
        write_nifti(study.grid.with_data(told), raw / "labelsTr" / f"{record.id}.nii.gz")
    described = REGIONS | COMMON | {"numTraining": len(cohort)}
    (raw / "dataset.json").write_text(json.dumps(described, indent=1))
    return raw


def on_grid(image, grid):
    """Data on the study's whole grid, of which empty space was left out in reading."""
    import numpy as np

    whole = np.zeros(grid.shape, dtype=np.float32)
    start = np.rint(np.linalg.solve(grid.affine, image.affine[:, 3])[:3]).astype(int)
    place = tuple(slice(a, a + n) for a, n in zip(start, image.shape, strict=True))
    whole[place] = image.data
    return whole


def minutes(results: Path) -> float:
    """Time of all epochs in nnU-Net's logs, also of a training that was stopped and went on."""
    times = (
        re.findall(r"Epoch time: ([\d.]+) s", log.read_text())
        for log in results.glob("fold_*/training_log_*.txt")
    )
    return round(sum(float(each) for found in times for each in found) / 60, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--convolutions", type=int, default=2)
    parser.add_argument("--patch", type=int, nargs=3, default=[24, 24, 24], help="Z Y X")
    parser.add_argument("--spacing", type=float, nargs=3, default=[6.0, 6.0, 6.0], help="Z Y X")
    parser.add_argument("--batch-dice", action="store_true", help="Dice loss over the batch")
    parser.add_argument(
        "--validation", type=int, help="one fold that leaves out this many; without it two halves"
    )
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    environment(options.out)
    import torch

    torch.set_num_threads(options.threads)
    raw = write_raw(options.out, options.data)
    described = json.loads((raw / "dataset.json").read_text())
    z, y, x = options.patch
    made = tiny_plans(
        NAME, options.features, (z, y, x), tuple(options.spacing),
        convolutions=options.convolutions, batch_dice=options.batch_dice,
    )  # fmt: skip
    preprocess(options.out, raw, made, described, options.validation)
    folds = (0, 1) if options.validation is None else (0,)
    base = [train(made, described, fold, options.epochs, options.iterations) for fold in folds][-1]
    settings = {
        key: value for key, value in vars(options).items() if key not in ("out", "data")
    } | {
        "folds": len(folds),
        "minutes": minutes(base),
        "machine": processor(),
        "versions": versions("nnunetv2", "torch", "dynamic-network-architectures"),
    }
    (options.out / SETTINGS).write_text(json.dumps(settings, indent=1))


if __name__ == "__main__":
    main()
