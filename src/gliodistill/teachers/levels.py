"""Outputs of teachers in one byte a voxel and region: logits in steps of 0.1 from −12.7 to 12.7.

Logits and not probabilities, because soft targets divide logits by a temperature: with 8 bits of
probability, all logits below −6 would be one. Level 0 is the lowest logit, so that what lies beyond
a study is background. A probability near 0.5 is off by at most 0.0125.
"""

import numpy as np
from numpy.typing import NDArray

STEP, LIMIT = 0.1, 12.7


def to_levels(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Probabilities (any shape, in [0, 1]) → levels of their logits."""
    with np.errstate(divide="ignore"):
        logits = np.log(probability) - np.log1p(-probability)
    levels = (np.clip(logits, -LIMIT, LIMIT) + LIMIT) / STEP
    found: NDArray[np.uint8] = np.rint(levels).astype(np.uint8)
    return found


def to_logits(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Levels → logits (float32)."""
    return levels.astype(np.float32) * np.float32(STEP) - np.float32(LIMIT)
