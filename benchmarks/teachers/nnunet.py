"""A really trained, small nnU-Net on synthetic studies: run in an environment with ``nnunetv2``.

``python -m benchmarks.teachers.nnunet OUT`` writes ``OUT/nnUNet_raw/Dataset901_Phantoms`` (synthetic
studies with regions as labels), lets nnU-Net plan, preprocess and train two folds of it with a tiny
network, and predict its own validation studies with probabilities. The results folder is
``OUT/nnUNet_results/Dataset901_Phantoms/nnUNetTrainer__nnUNetPlans__3d_fullres``.
"""

import argparse
import json
import os
from pathlib import Path

NAME, NUMBER = "Dataset901_Phantoms", 901
CHANNELS = ("FLAIR", "T1", "T1CE", "T2")
"""Another order than ours."""
DATASET = {
    "channel_names": {str(index): name for index, name in enumerate(CHANNELS)},
    "labels": {
        "background": 0,
        "whole tumor": [1, 2, 3],
        "tumor core": [2, 3],
        "enhancing tumor": [3],
    },
    "regions_class_order": [1, 2, 3],
    "file_ending": ".nii.gz",
}
SCHEDULE = {"num_iterations_per_epoch": 25, "num_val_iterations_per_epoch": 2}
WIDTHS = [4, 8, 16]


def write_raw(out: Path, studies: int, spacing: float, seed: int) -> Path:
    """Synthetic studies as nnU-Net's raw data, in its naming and codes (those of the MSD)."""
    from gliodistill.images import write_nifti
    from gliodistill.phantom.cohort import make_phantom
    from gliodistill.studies.labels import MSD
    from gliodistill.studies.sequence import MRSequence

    raw = out / "nnUNet_raw" / NAME
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True)
    for number in range(studies):
        study = make_phantom(seed, number, spacing=spacing, difficulty=0.5)
        case = f"phantom_{number:03d}"
        for index, name in enumerate(CHANNELS):
            write_nifti(
                study.images[MRSequence(name)], raw / "imagesTr" / f"{case}_{index:04d}.nii.gz"
            )
        regions = study.convention.to_regions(study.truth.data)
        write_nifti(
            study.truth.with_data(MSD.from_regions(regions)), raw / "labelsTr" / f"{case}.nii.gz"
        )
    (raw / "dataset.json").write_text(json.dumps(DATASET | {"numTraining": studies}, indent=1))
    return raw


def plan(out: Path, patch: list[int]) -> Path:
    """nnU-Net's own fingerprint and plan, with a tiny network put into it; preprocessed."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        plan_experiment_dataset,
        preprocess_dataset,
    )

    extract_fingerprint_dataset(NUMBER, num_processes=1)
    plan_experiment_dataset(NUMBER)
    file = out / "nnUNet_preprocessed" / NAME / "nnUNetPlans.json"
    plans = json.loads(file.read_text())
    full = plans["configurations"]["3d_fullres"]
    kept = full["architecture"]["arch_kwargs"]
    levels = len(WIDTHS)
    kept |= {
        "n_stages": levels,
        "features_per_stage": WIDTHS,
        "kernel_sizes": [[3, 3, 3]] * levels,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (levels - 1)],
        "n_conv_per_stage": [1] * levels,
        "n_conv_per_stage_decoder": [1] * (levels - 1),
    }
    full |= {"patch_size": patch, "batch_size": 2}
    plans["configurations"] = {"3d_fullres": full}
    file.write_text(json.dumps(plans, indent=1))
    preprocess_dataset(NUMBER, configurations=("3d_fullres",), num_processes=(1,))
    return file


def train(out: Path, plans: Path, fold: int, epochs: int) -> Path:
    """One fold by nnU-Net's own trainer, shortened."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    trainer = nnUNetTrainer(
        json.loads(plans.read_text()),
        "3d_fullres",
        fold,
        DATASET | {"numTraining": 0},
        torch.device("cpu"),
    )
    trainer.num_epochs, trainer.initial_lr = epochs, 1e-2
    for name, value in SCHEDULE.items():
        setattr(trainer, name, value)
    trainer.run_training()
    return Path(trainer.output_folder_base)


def predict(results: Path, raw: Path, cases: list[str], out: Path) -> None:
    """nnU-Net's own predictor, without mirroring, with probabilities."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(results), (0,), "checkpoint_final.pth")
    out.mkdir(parents=True, exist_ok=True)
    files = [[str(raw / "imagesTr" / f"{case}_{i:04d}.nii.gz") for i in range(4)] for case in cases]
    predictor.predict_from_files_sequential(
        files, [str(out / case) for case in cases], save_probabilities=True
    )
    for name in ("dataset.json", "plans.json"):
        (out / name).write_text((results / name).read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--studies", type=int, default=12)
    parser.add_argument("--spacing", type=float, default=3.0)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--patch", type=int, nargs=3, default=[32, 40, 32])
    options = parser.parse_args()
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(options.out / f"nnUNet_{name}")
        (options.out / f"nnUNet_{name}").mkdir(parents=True, exist_ok=True)
    os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f"}
    raw = write_raw(options.out, options.studies, options.spacing, seed=901)
    plans = plan(options.out, options.patch)
    for fold in range(options.folds):
        results = train(options.out, plans, fold, options.epochs)
    splits = json.loads((plans.parent / "splits_final.json").read_text())
    predict(results, raw, splits[0]["val"], options.out / "predictions")
    print(results)


if __name__ == "__main__":
    main()
