"""The preparation spelled out: correct, normalise and resample every voxel, in that order.

The product resamples first and takes the statistics from a part of the voxels; this is what it is
held against.
"""

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.bounds import cut_out
from gliodistill.images.resampling import axis_matrix, resample
from gliodistill.preparation import Preparation, quantise
from gliodistill.preparation.bias import corrections
from gliodistill.studies.study import Study


def prepare_plainly(preparation: Preparation, study: Study) -> NDArray[np.uint8]:
    """Levels (uint8 C X Y Z) of a study with a background of 0, as :meth:`Preparation.apply`."""
    fast = preparation.apply(study)
    grid = study.grid.canonical()
    images = [
        cut_out(study.images[sequence].canonical().data, fast.box)
        for sequence in preparation.sequences
    ]
    inside = [image != 0 for image in images]
    if preparation.bias_mm is not None:
        found = corrections(images, inside, grid.spacing, preparation.bias_mm)
        for image, correction in zip(images, found, strict=True):
            if correction is not None:
                image *= correction.at(image.shape, grid.spacing)
    matrices = tuple(
        axis_matrix(side, target, new / old)
        for side, target, new, old in zip(
            images[0].shape,
            fast.shape,
            preparation.spacing or grid.spacing,
            grid.spacing,
            strict=True,
        )
    )
    levels = np.zeros(fast.image.shape, np.uint8)
    for channel, image, brain in zip(levels, images, inside, strict=True):
        low, high = np.percentile(image[brain], preparation.percentiles)
        kept = image[brain & (image >= low) & (image <= high)].astype(np.float64)
        z = (image - kept.mean()) / kept.std() * brain
        share = resample(brain, matrices)
        channel[:] = quantise(resample(z, matrices) / np.maximum(share, 1e-6), share > 0.5)
    return levels
