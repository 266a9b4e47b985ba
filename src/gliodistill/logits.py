"""Logits and probabilities without overflow."""

import numpy as np
from numpy.typing import NDArray

FLOOR = -100.0
"""Logit of a region that a model cannot predict; −∞ would spread to its neighbours in
interpolation.
"""

NEVER = 1e-7  # smallest probability that is turned into a logit, for the same reason


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (any shape) → probabilities in [0, 1]: a logistic function without overflow."""
    result: NDArray[np.float32] = np.tanh(0.5 * np.maximum(logits, FLOOR))
    result *= 0.5
    result += 0.5
    return result
