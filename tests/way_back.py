"""The way back from the prepared grid in three lines: what segmenting, slab by slab, has to equal."""

import numpy as np


def to_native(prepared, scores, threshold):
    """Scores (K X Y Z, prepared grid) above a threshold, bool on the study's own grid."""
    place, part = prepared.on_grid
    result = np.zeros((len(scores), *prepared.native.canonical().shape), dtype=bool)
    result[:, *place] = (prepared.in_box(scores) > threshold)[:, *part]
    return prepared.native.from_canonical(result)
