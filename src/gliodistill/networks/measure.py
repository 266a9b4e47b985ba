"""Timing of forward passes."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from gliodistill.networks.base import Network

PASSES = 7
ENOUGH = 1.0  # seconds


@dataclass(frozen=True)
class Timing:
    """A timing.

    Attributes:
        seconds: of one pass, the median.
        passes: how many were timed.
    """

    seconds: float
    passes: int


def time_passes(run: Callable[[], object]) -> Timing:
    """The median of seven calls of ``run`` after a warm-up call; of fewer if they take more than a
    second in total.

    If the first call takes longer than a second, it is the measurement.
    """
    first = _seconds(run)
    if first > ENOUGH:
        return Timing(first, 1)
    seconds: list[float] = []
    while len(seconds) < PASSES and sum(seconds) < ENOUGH:
        seconds.append(_seconds(run))
    return Timing(statistics.median(seconds), len(seconds))


def time_in_torch(network: Network, shape: Sequence[int]) -> Timing:
    """Seconds of one pass in the torch runtime: evaluation mode, float32, channels-last,
    torch's current threads.

    Args:
        network: put into evaluation mode and channels-last.
        shape: of the input, ``(B, C, X, Y, Z)``. A batch of one small patch is not representative:
            torch uses much slower convolutions for it.
    """
    network.eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    image = torch.randn(tuple(shape)).to(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        return time_passes(lambda: network(image))


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
