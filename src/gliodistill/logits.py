"""Logits and probabilities: numbers that cannot overflow."""

import numpy as np
from numpy.typing import NDArray

FLOOR = -100.0
"""Logit of what a model cannot draw: −∞ would spoil its neighbours where it is interpolated."""

NEVER = 1e-7  # least probability that a logit is made of, for the same reason


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (any shape) → probabilities in [0, 1]: a logistic that cannot overflow."""
    result: NDArray[np.float32] = np.tanh(0.5 * np.maximum(logits, FLOOR))
    result *= 0.5
    result += 0.5
    return result
