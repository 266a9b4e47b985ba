"""Studies whose four sequences have the contrasts of the real ones: fluid, grey and white matter,
vessels, a tumour; 4 mm voxels.
"""

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.volume import Volume
from gliodistill.preparation import Preparation
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

SHAPE = (42, 50, 38)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
GREYS = {  # fluid, grey, white, vessels, tumour
    MRSequence.T1: (30, 70, 100, 65, 60),
    MRSequence.T1CE: (30, 70, 95, 200, 190),
    MRSequence.T2: (200, 110, 80, 60, 150),
    MRSequence.FLAIR: (20, 100, 80, 70, 170),
}


def ball(centre: tuple[float, ...], radii: tuple[float, ...] | float) -> NDArray[np.bool_]:
    """Voxels of an ellipsoid; centre and radii as shares of the sides."""
    sizes = np.array(SHAPE)
    away = (np.indices(SHAPE) - (sizes * centre - 0.5)[:, None, None, None]) / (
        sizes * np.broadcast_to(radii, 3)
    )[:, None, None, None]
    return (away**2).sum(axis=0) <= 1


def study(seed: int = 0, *, tumour: bool = True, affine: NDArray[np.float64] = AFFINE) -> Study:
    """A patient; what the brain is like and how it was scanned depends on the seed."""
    random = np.random.default_rng(seed)
    middle = (0.5, 0.5, 0.5)
    tissue = np.zeros(SHAPE, dtype=int)
    for code, radius in (
        (1, 0.44),
        (2, 0.4),
        (3, random.uniform(0.3, 0.34)),
        (1, random.uniform(0.1, 0.16)),
    ):
        tissue[ball(middle, radius)] = code
    tissue[(random.random(SHAPE) < 0.01) & (tissue > 1)] = 4
    if tumour:
        tissue[ball((0.65, 0.5, 0.55), random.uniform(0.08, 0.12))] = 5
    images = {}
    for sequence, greys in GREYS.items():
        drawn = np.array([0, *greys]) * random.normal(1, 0.06, 6) ** np.array([0, 1, 1, 1, 1, 1])
        image = drawn[tissue] + random.normal(0, 5, SHAPE)
        images[sequence] = Volume((np.maximum(image, 1) * (tissue > 0)).astype(np.float32), affine)
    return Study(f"case_{seed}", f"case_{seed}", images)


def levels(seed: int) -> NDArray[np.uint8]:
    """The study as prepared, uint8 C X Y Z."""
    return Preparation().apply(study(seed)).image
