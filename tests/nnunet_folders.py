"""nnU-Net's three folders: four studies, their split, and the results of a tiny trained network."""

import json
import shutil
from pathlib import Path

import numpy as np

import tiny_cohort
from gliodistill.images import Volume, write_nifti
from gliodistill.studies.labels import BRATS2021, MSD
from gliodistill.studies.sequence import MRSequence

TRAINED = Path(__file__).parent / "teachers" / "nnunet_results" / "Dataset901_Regions"
SHAPE, SPACING = (30, 26, 28), 5.0


def write_nnunet(root: Path, name: str) -> Path:
    """``nnUNet_raw``, ``nnUNet_preprocessed`` and ``nnUNet_results`` of a data set."""
    shutil.copytree(TRAINED, root / "nnUNet_results" / name)
    raw = root / "nnUNet_raw" / name
    trained = next((root / "nnUNet_results" / name).iterdir())
    description = json.loads((trained / "dataset.json").read_text())
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True)
    (raw / "dataset.json").write_text(json.dumps(description | {"numTraining": 4}))
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    for number in range(4):
        images, codes = tiny_cohort.arrays(100 + number, SHAPE)
        for index, sequence in description["channel_names"].items():
            file = raw / "imagesTr" / f"tiny_{number}_{int(index):04d}.nii.gz"
            write_nifti(Volume(images[MRSequence(sequence)], affine), file)
        told = MSD.from_regions(BRATS2021.to_regions(codes))
        write_nifti(Volume(told, affine), raw / "labelsTr" / f"tiny_{number}.nii.gz")
    splits = root / "nnUNet_preprocessed" / name / "splits_final.json"
    splits.parent.mkdir(parents=True)
    sides = {"train": ["tiny_0", "tiny_1"], "val": ["tiny_2", "tiny_3"]}
    splits.write_text(json.dumps([sides]))
    return root
