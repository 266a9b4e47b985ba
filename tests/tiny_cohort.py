"""Studies of a few thousand voxels with a tumour that is easy to see, and recipes that train on
them in a second.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.images import Volume, write_nifti
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.labels import CONVENTIONS
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study
from gliodistill.training.resolve import resolve

SHAPE = (26, 24, 22)
AFFINE = np.array([[-1.0, 0, 0, 40], [0, -1.0, 0, 30], [0, 0, 1.0, -20], [0, 0, 0, 1]])
NAMES = {
    MRSequence.T1: "t1",
    MRSequence.T1CE: "t1ce",
    MRSequence.T2: "t2",
    MRSequence.FLAIR: "flair",
}
BRIGHT = {
    MRSequence.T1: (),
    MRSequence.T1CE: (4,),
    MRSequence.T2: (1, 4),
    MRSequence.FLAIR: (1, 2, 4),
}


def ball(
    shape: tuple[int, ...], centre: NDArray[Any], radius: NDArray[Any] | float
) -> NDArray[np.bool_]:
    """Voxels of an ellipsoid."""
    offsets = np.stack([axis - c for axis, c in zip(np.indices(shape), centre, strict=True)])
    return ((offsets / np.reshape(np.broadcast_to(radius, 3), (3, 1, 1, 1))) ** 2).sum(0) <= 1


def arrays(
    seed: int = 0, shape: tuple[int, int, int] = SHAPE
) -> tuple[dict[MRSequence, NDArray[np.float32]], NDArray[np.uint8]]:
    """Four images (0 outside an ellipsoid of brain) and BraTS-2021 codes of nested balls in it."""
    random = np.random.default_rng(seed)
    size = np.array(shape)
    brain = ball(shape, (size - 1) / 2, size * 0.42)
    centre = (size - 1) / 2 + random.uniform(-0.1, 0.1, 3) * size
    codes = np.zeros(shape, dtype=np.uint8)
    for code, radius in ((2, 0.27), (4, 0.19), (1, 0.1)):
        codes[ball(shape, centre, radius * size.min()) & brain] = code
    images = {}
    for sequence in MRSequence:
        image = random.normal(400, 12, shape)
        image[np.isin(codes, BRIGHT[sequence])] += 250
        images[sequence] = (np.round(image) * brain).astype(np.float32)
    return images, codes


def study(
    seed: int = 0,
    shape: tuple[int, int, int] = SHAPE,
    affine: NDArray[Any] = AFFINE,
    lacking: tuple[MRSequence, ...] = (),
) -> Study:
    """A labelled study in memory."""
    images, codes = arrays(seed, shape)
    volumes = {
        sequence: Volume(image, affine)
        for sequence, image in images.items()
        if sequence not in lacking
    }
    return Study(
        f"case_{seed}", f"case_{seed}", volumes, Volume(codes, affine), CONVENTIONS["brats2021"]
    )


def write_study(
    root: Path, id: str, seed: int, *, labelled: bool = True, shape: tuple[int, int, int] = SHAPE
) -> Path:
    """A study's folder in BraTS naming; ids like ``BraTS-GLI-00001-000`` tell the patient."""
    images, codes = arrays(seed, shape)
    folder = root / id
    folder.mkdir(parents=True, exist_ok=True)
    for sequence, image in images.items():
        write_nifti(Volume(image, AFFINE), folder / f"{id}_{NAMES[sequence]}.nii.gz")
    if labelled:
        write_nifti(Volume(codes, AFFINE), folder / f"{id}_seg.nii.gz")
    return folder


def write_cohort(root: Path, n: int = 3, *, labelled: bool = True) -> Path:
    """``n`` studies of as many patients."""
    for seed in range(n):
        write_study(root, f"case_{seed}", seed, labelled=labelled)
    return root


STUDENT: dict[str, Any] = {"name": "unet", "options": {"widths": [4, 8]}}
PLAIN = {
    "flip": 0,
    "spatial": 0,
    "gamma": 0,
    "brightness": 0,
    "contrast": 0,
    "noise": 0,
    "blur": 0,
    "low_resolution": 0,
}


def values(runs: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A tiny recipe as plain values; ``training=…`` and other parts replace the defaults key by
    key.
    """
    base: dict[str, Any] = {
        "name": "tiny",
        "data": {"validation": 1},
        "sampling": {"patch": [16, 16, 16], "batch": 2},
        "augmentation": {},
        "training": {
            "steps": 6,
            "warmup": 2,
            "optimiser": {"rate": 0.01},
            "precision": "float32",
            "device": "cpu",
            "validate_every": 3,
            "save_every": 2,
        },
        "runs": runs or {"baseline": {"network": STUDENT}},
    }
    for key, change in changes.items():
        base[key] = {**base.get(key, {}), **change} if isinstance(change, dict) else change
    return base


def recipe(runs: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    """The recipe of :func:`values`."""
    made = Recipe.of(values(runs, **changes), Path("tiny.yaml"))
    resolve(made, "tiny.yaml")
    return made


def distilled(**losses: Any) -> dict[str, Any]:
    """Runs ``teacher``, ``baseline`` and ``distilled``, by the method's own losses if none are
    given.
    """
    teacher = {"network": {"name": "unet", "options": {"widths": [6, 12]}}, "seed": 7}
    method = {
        "name": "compression",
        "options": {"teacher": "teacher", **({"losses": losses} if losses else {})},
    }
    return {
        "teacher": teacher,
        "baseline": {"network": STUDENT},
        "distilled": {"network": STUDENT, "method": method},
    }
