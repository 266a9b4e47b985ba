"""A really trained, tiny nnU-Net on synthetic studies (``tests/tiny_cohort.py``), and the numbers of its own predictor.

Runs in an environment of its own (``pip install nnunetv2 -e .``), with ``tests`` on
``PYTHONPATH``:

``python -m benchmarks.teachers.nnunet OUT`` trains with nnU-Net's trainer and predicts with its
predictor; ``--freeze tests/teachers/nnunet_results`` keeps the results folders and the logits of
one small study, which the tests compare our teacher with. Plans are written by hand, so that the
networks are tiny; everything else is nnU-Net's.

Two data sets: 901 has regions and z-scores in the mask; 902 has labels, z-scores of the whole
image, transposed axes, another voxel size than the studies, and two folds.
"""

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

CHANNELS = ("FLAIR", "T1", "T1CE", "T2")
"""Another order than ours."""
REGIONS = {
    "labels": {
        "background": 0,
        "whole tumor": [1, 2, 3],
        "tumor core": [2, 3],
        "enhancing tumor": [3],
    },
    "regions_class_order": [1, 2, 3],
}
LABELS = {
    "labels": {
        "background": 0,
        "edema": 1,
        "non-enhancing tumor": 2,
        "enhancing tumor": 3,
    }
}
COMMON = {
    "channel_names": {str(index): name for index, name in enumerate(CHANNELS)},
    "file_ending": ".nii.gz",
}
DATASETS = {"Dataset901_Regions": REGIONS | COMMON, "Dataset902_Labels": LABELS | COMMON}
FOLDS = {"Dataset901_Regions": (0,), "Dataset902_Labels": (0, 1)}
SPACING = 5.0
SHAPE = (30, 26, 28)
RESAMPLING = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}


def plans(dataset: str) -> dict[str, Any]:
    """Plans of a data set, as nnU-Net's planner would write them for a tiny network."""
    if dataset == "Dataset902_Labels":
        return tiny_plans(
            dataset, [2, 4, 6], (12, 16, 20), (6.0, 5.0, 4.0), masked=False, transpose=(2, 0, 1)
        )
    return tiny_plans(dataset, [8, 12, 18], (16, 16, 16), (SPACING,) * 3)


def tiny_plans(
    dataset: str,
    features: list[int],
    patch: tuple[int, int, int],
    spacing: tuple[float, float, float],
    *,
    convolutions: int = 1,
    masked: bool = True,
    batch_dice: bool = False,
    transpose: tuple[int, int, int] = (0, 1, 2),
) -> dict[str, Any]:
    """Plans written by hand: everything but the sizes is the default of nnU-Net's planner."""
    from gliodistill.teachers.nnunet.plans import unet_in_plans

    levels = len(features)
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "median_image_size_in_voxels": [float(side) for side in patch],
        "spacing": list(spacing),
        "normalization_schemes": ["ZScoreNormalization"] * 4,
        "use_mask_for_norm": [masked] * 4,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": RESAMPLING,
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": RESAMPLING | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": RESAMPLING | {"order": 1},
        "batch_dice": batch_dice,
        "architecture": unet_in_plans(
            features,
            [[1, 1, 1], *[[2, 2, 2]] * (levels - 1)],
            [convolutions] * levels,
            [convolutions] * (levels - 1),
        ),
    }
    return {
        "dataset_name": dataset,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(spacing),
        "original_median_shape_after_transp": list(patch),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(transpose),
        "transpose_backward": [transpose.index(axis) for axis in range(3)],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "written by hand",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(channel): {} for channel in range(4)},
    }


def write_raw(root: Path, dataset: str, studies: int) -> Path:
    """Synthetic studies as nnU-Net's raw data, in its naming and in the codes of the MSD."""
    import tiny_cohort
    from gliodistill.images import Volume, write_nifti
    from gliodistill.studies.labels import BRATS2021, MSD
    from gliodistill.studies.sequence import MRSequence

    raw = root / "nnUNet_raw" / dataset
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True, exist_ok=True)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    for number in range(studies):
        images, codes = tiny_cohort.arrays(100 + number, SHAPE)
        case = f"tiny_{number:03d}"
        for index, name in enumerate(CHANNELS):
            image = Volume(images[MRSequence(name)], affine)
            write_nifti(image, raw / "imagesTr" / f"{case}_{index:04d}.nii.gz")
        told = MSD.from_regions(BRATS2021.to_regions(codes))
        write_nifti(Volume(told, affine), raw / "labelsTr" / f"{case}.nii.gz")
    (raw / "dataset.json").write_text(
        json.dumps(DATASETS[dataset] | {"numTraining": studies}, indent=1)
    )
    return raw


def preprocess(
    root: Path,
    raw: Path,
    made: dict[str, Any],
    described: dict[str, Any],
    validation: int | None = None,
) -> None:
    """nnU-Net's own preprocessing, in this process, and a split: into two folds, or one whose
    validation studies are the last ones. What is there is kept.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    folder = root / "nnUNet_preprocessed" / made["dataset_name"]
    (folder / "nnUNetPlans_3d_fullres").mkdir(parents=True, exist_ok=True)
    (folder / "dataset_fingerprint.json").write_text("{}")
    (folder / "dataset.json").write_text((raw / "dataset.json").read_text())
    manager = PlansManager(made)
    configuration = manager.get_configuration("3d_fullres")
    cases = sorted(file.name[: -len(".nii.gz")] for file in (raw / "labelsTr").glob("*.nii.gz"))
    for case in cases:
        if (folder / "nnUNetPlans_3d_fullres" / f"{case}.pkl").is_file():
            continue
        images = [str(raw / "imagesTr" / f"{case}_{index:04d}.nii.gz") for index in range(4)]
        configuration.preprocessor_class(verbose=False).run_case_save(
            str(folder / "nnUNetPlans_3d_fullres" / case),
            images,
            str(raw / "labelsTr" / f"{case}.nii.gz"),
            manager,
            configuration,
            described,
        )
    cut = len(cases) // 2 if validation is None else len(cases) - validation
    sides = (cases[:cut], cases[cut:])
    splits = [{"train": sides[0], "val": sides[1]}]
    if validation is None:
        splits = [{"train": sides[1], "val": sides[0]}, *splits]
    (folder / "splits_final.json").write_text(json.dumps(splits, indent=1))


def train(
    made: dict[str, Any], described: dict[str, Any], fold: int, epochs: int, iterations: int
) -> Path:
    """One fold by nnU-Net's own trainer, shortened; a stopped one goes on from its last epoch."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    trainer = nnUNetTrainer(
        made | {"continue_training": False}, "3d_fullres", fold, described, torch.device("cpu")
    )
    trainer.num_epochs, trainer.save_every = epochs, 1
    trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = iterations, 1
    there = Path(trainer.output_folder)
    if not (there / "checkpoint_final.pth").is_file():
        if (there / "checkpoint_latest.pth").is_file():
            trainer.initialize()
            trainer.load_checkpoint(str(there / "checkpoint_latest.pth"))
        trainer.run_training()
    return Path(trainer.output_folder_base)


def environment(root: Path) -> None:
    """Where nnU-Net looks for its folders, and one process."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(root / f"nnUNet_{name}")
        (root / f"nnUNet_{name}").mkdir(parents=True, exist_ok=True)
    os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f"}


def predictor(results: Path, folds: tuple[int, ...]) -> Any:
    """nnU-Net's own predictor, without mirroring."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    made = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    made.initialize_from_trained_model_folder(str(results), folds, "checkpoint_final.pth")
    return made


def predict(results: Path, raw: Path, cases: list[str], out: Path) -> None:
    """Predictions of validation studies with probabilities, as ``nnUNetv2_predict`` writes them."""
    out.mkdir(parents=True, exist_ok=True)
    files = [[str(raw / "imagesTr" / f"{case}_{i:04d}.nii.gz") for i in range(4)] for case in cases]
    predictor(results, (0,)).predict_from_files_sequential(
        files, [str(out / case) for case in cases], save_probabilities=True
    )
    for name in ("dataset.json", "plans.json"):
        (out / name).write_text((results / name).read_text())


def freeze(results: dict[str, Path], target: Path) -> None:
    """Keep what inference needs of each results folder, and the logits of one study."""
    import torch

    import tiny_cohort
    from gliodistill.studies.sequence import MRSequence

    images, _ = tiny_cohort.arrays(3, SHAPE)
    stack = np.stack([images[MRSequence(name)] for name in CHANNELS]).transpose(0, 3, 2, 1)
    oracle = {}
    for dataset, folder in results.items():
        kept = target / dataset / folder.name
        for name in ("plans.json", "dataset.json"):
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name, kept / name)
        for fold in FOLDS[dataset]:
            (kept / f"fold_{fold}").mkdir(exist_ok=True)
            file = f"fold_{fold}/checkpoint_final.pth"
            shutil.copy(folder / file, kept / file)
            if dataset == "Dataset901_Regions":  # half of the file, and read by training only
                whole = torch.load(kept / file, map_location="cpu", weights_only=False)
                torch.save(whole | {"optimizer_state": None}, kept / file)
        asked = [(FOLDS[dataset], False), ((0,), len(FOLDS[dataset]) == 1)]
        for folds, mirrored in asked:
            model = predictor(folder, folds)
            model.use_mirroring = mirrored
            manager, configuration = model.plans_manager, model.configuration_manager
            preprocessor = configuration.preprocessor_class(verbose=False)
            data, _, properties = preprocessor.run_case_npy(
                stack, None, {"spacing": [SPACING] * 3}, manager, configuration, model.dataset_json
            )
            logits = model.predict_logits_from_preprocessed_data(torch.from_numpy(data))
            key = f"{dataset} {folds}{' mirrored' if mirrored else ''}"
            oracle[f"{key} logits"] = logits.numpy()[:, ::2, ::2, ::2]
            from nnunetv2.inference.export_prediction import (
                convert_predicted_logits_to_segmentation_with_correct_shape as to_labels,
            )

            labels = to_labels(
                logits, manager, configuration, model.label_manager, properties, num_threads_torch=1
            )
            oracle[f"{key} labels"] = np.asarray(labels, dtype=np.uint8)
    np.savez_compressed(target / "oracle.npz", **oracle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--studies", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--freeze", type=Path)
    options = parser.parse_args()
    environment(options.out)
    results = {}
    for dataset in reversed(DATASETS):
        raw = write_raw(options.out, dataset, options.studies)
        preprocess(options.out, raw, plans(dataset), DATASETS[dataset])
        for fold in FOLDS[dataset]:
            epochs = options.epochs if dataset == "Dataset901_Regions" else 2
            results[dataset] = train(
                plans(dataset), DATASETS[dataset], fold, epochs, options.iterations
            )
    folder = options.out / "nnUNet_preprocessed" / "Dataset901_Regions" / "splits_final.json"
    cases = json.loads(folder.read_text())[0]["val"]
    predict(results["Dataset901_Regions"], raw, cases, options.out / "predictions")
    if options.freeze is not None:
        freeze(results, options.freeze)


if __name__ == "__main__":
    main()
