"""A small cohort with images, truths, predictions and probabilities on disk, for what shows an
evaluation (no torch).
"""

from pathlib import Path

import nibabel
import numpy as np

from gliodistill.evaluation.evaluate import Pairs, match_pairs, score_pairs
from gliodistill.evaluation.rules import get_rules
from gliodistill.evaluation.scores import Scores
from gliodistill.images.nifti import write_channels, write_nifti
from gliodistill.images.volume import Volume
from gliodistill.studies.labels import BRATS2021

SHAPE = (40, 44, 32)
AFFINE = np.diag([-2.0, -2.0, 3.0, 1.0])
SHIFTS = {
    "case-2": 1,
    "case-10": 5,
    "p<b>&7": 0,
    "case-1": 2,
    "case-3": 3,
    "case-4": 9,
    "case-5": 2,
}
"""How far each prediction lies beside its truth: sorted as text these ids are in another order than
sorted as numbers.
"""
BROKEN = "case-9"
SECRET = "Doe^Jane"


def regions(shift: int = 0, radius: float = 8.0) -> np.ndarray:
    """Nested balls as WT, TC, ET on 3 X Y Z."""
    axes = np.meshgrid(
        *(np.arange(n) - c for n, c in zip(SHAPE, (18 + shift, 20, 16), strict=True)), indexing="ij"
    )
    distance = np.sqrt(sum(axis**2 for axis in axes))
    return np.stack(
        [
            distance < radius,
            distance < 0.7 * radius,
            (distance < 0.7 * radius) & (distance > 0.4 * radius),
        ]
    )


def write(folder: Path) -> tuple[Pairs, Scores]:
    """Seven studies that are scored and one whose prediction is damaged after it was checked."""
    truth, predictions = folder / "truth", folder / "predictions"
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    brain = sum(axis**2 for axis in axes) < 0.9
    random = np.random.default_rng(0)
    predictions.mkdir(parents=True)
    for order, (id, shift) in enumerate({**SHIFTS, BROKEN: 1}.items()):
        true, predicted = regions(radius=6.0 + order), regions(shift, 6.5 + order)
        (truth / id).mkdir(parents=True)
        for sequence in ("t1", "t1ce", "t2", "flair"):
            image = nibabel.Nifti1Image(
                ((300 + random.normal(0, 9, SHAPE) + 200 * true[1]) * brain).astype(np.float32),
                AFFINE,
            )
            image.header["descrip"] = SECRET
            nibabel.save(image, truth / id / f"{id}_{sequence}.nii.gz")
        write_nifti(
            Volume(BRATS2021.from_regions(true & brain), AFFINE), truth / id / f"{id}_seg.nii.gz"
        )
        write_nifti(
            Volume(BRATS2021.from_regions(predicted & brain), AFFINE), predictions / f"{id}.nii.gz"
        )
        soft = [
            Volume((0.05 + 0.9 * mask * brain).astype(np.float32), AFFINE) for mask in predicted
        ]
        write_channels(soft, predictions / f"{id}_prob.nii.gz")
    pairs = match_pairs(predictions, truth, probabilities=predictions, jobs=1)
    (predictions / f"{BROKEN}.nii.gz").write_bytes(b"cut short")
    return pairs, score_pairs(pairs, get_rules("plain"), jobs=1)
