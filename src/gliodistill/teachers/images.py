"""The images of a study as arrays on its whole grid."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study


def stacked(study: Study, sequences: Sequence[MRSequence]) -> NDArray[np.float32]:
    """Images in this order on the study's grid (float32 C X Y Z, as stored in the file's axes); 0
    where empty space was left out in reading.
    """
    shape = study.grid.shape
    result = np.zeros((len(sequences), *shape), dtype=np.float32)
    for channel, sequence in zip(result, sequences, strict=True):
        image = study.images[sequence]
        start = np.rint(np.linalg.solve(study.grid.affine, image.affine[:, 3])[:3]).astype(int)
        place = tuple(slice(a, a + n) for a, n in zip(start, image.shape, strict=True))
        channel[place] = image.data
    return result
