"""nnU-Net v2's own predictor on one study, files to file: run in an environment of its own (``pip install nnunetv2 -e .``).

``python -m benchmarks.peers.nnunet_predictor STUDY_FOLDER OUT_FOLDER [--all-tiles]`` prints seconds per stage as JSON. The
network is nnU-Net's plan for BraTS (PlainConvUNet, 32 … 320 channels, patch 128³) with random weights, which take as long
as any. One tile is timed and multiplied by the number of tiles that the predictor itself asks for, unless ``--all-tiles``.
"""

import argparse
from pathlib import Path

from benchmarks.peers.stopwatch import Stopwatch, images
from gliodistill.teachers.nnunet.plans import unet_in_plans  # before the clock starts

watch = Stopwatch()
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.export_prediction import (
    convert_predicted_logits_to_segmentation_with_correct_shape as to_labels,
)
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

LEVELS = 6
RESAMPLING = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
CONFIGURATION = {
    "data_identifier": "benchmark",
    "preprocessor_name": "DefaultPreprocessor",
    "batch_size": 2,
    "patch_size": [128, 128, 128],
    "median_image_size_in_voxels": [140.0, 171.0, 137.0],
    "spacing": [1.0, 1.0, 1.0],
    "normalization_schemes": ["ZScoreNormalization"] * 4,
    "use_mask_for_norm": [True] * 4,
    "resampling_fn_data": "resample_data_or_seg_to_shape",
    "resampling_fn_data_kwargs": RESAMPLING,
    "resampling_fn_seg": "resample_data_or_seg_to_shape",
    "resampling_fn_seg_kwargs": RESAMPLING | {"is_seg": True, "order": 1},
    "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
    "resampling_fn_probabilities_kwargs": RESAMPLING | {"order": 1},
    "batch_dice": False,
    "architecture": unet_in_plans(
        [32, 64, 128, 256, 320, 320],
        [[1, 1, 1]] + [[2, 2, 2]] * (LEVELS - 1),
        [2] * LEVELS,
        [2] * (LEVELS - 1),
    ),
}
PLANS = {
    "dataset_name": "Dataset999_Benchmark",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "SimpleITKIO",
    "label_manager": "LabelManager",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "foreground_intensity_properties_per_channel": {str(channel): {} for channel in range(4)},
    "configurations": {"3d_fullres": CONFIGURATION},
}
DATASET = {
    "channel_names": {str(index): name for index, name in enumerate(("T1", "T1CE", "T2", "FLAIR"))},
    "labels": {
        "background": 0,
        "whole tumor": [1, 2, 3],
        "tumor core": [2, 3],
        "enhancing tumor": [3],
    },
    "regions_class_order": [1, 2, 3],
    "file_ending": ".nii.gz",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--all-tiles", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    watch.lap("import")
    plans = PlansManager(PLANS)
    configuration = plans.get_configuration("3d_fullres")
    network = get_network_from_plans(
        configuration.network_arch_class_name, configuration.network_arch_init_kwargs, configuration.network_arch_init_kwargs_req_import,
        4, 3, allow_init=True, deep_supervision=False,
    ).eval()  # fmt: skip
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        network, plans, configuration, None, DATASET, "nnUNetTrainer", (0, 1, 2)
    )
    watch.lap("build")
    image, properties = SimpleITKIO().read_images(images(options.study))
    watch.lap("read")
    preprocessor = configuration.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case_npy(
        image, None, properties, plans, configuration, DATASET
    )
    watch.lap("prepare")
    data = torch.from_numpy(data)
    slicers = predictor._internal_get_sliding_window_slicers(data.shape[1:])
    if options.all_tiles:
        logits = predictor.predict_sliding_window_return_logits(data)
        watch.lap("network")
    else:
        predictor._internal_maybe_mirror_and_predict(data[slicers[0]][None])
        watch.lap("network")
        watch.seconds["network"] *= len(slicers)
        logits = torch.randn((3, *data.shape[1:]), dtype=torch.half)
        watch.restart()
    labels = to_labels(
        logits,
        plans,
        configuration,
        predictor.label_manager,
        properties,
        num_threads_torch=options.threads,
    )
    SimpleITKIO().write_seg(labels, str(options.out / "nnunet.nii.gz"), properties)
    watch.lap("restore and write")
    watch.report(len(slicers), options.all_tiles, list(data.shape[1:]))


if __name__ == "__main__":
    main()
