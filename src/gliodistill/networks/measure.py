"""How long a pass takes on this machine."""

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
    """What was measured.

    Attributes:
        seconds: of one pass, the median.
        passes: how many were timed.
    """

    seconds: float
    passes: int


def time_passes(run: Callable[[], object]) -> Timing:
    """The median of seven calls of ``run`` after one to warm up; of fewer, where they add up to
    more than a second.

    A first call that already takes longer than a second is itself the measurement.
    """
    first = _seconds(run)
    if first > ENOUGH:
        return Timing(first, 1)
    seconds: list[float] = []
    while len(seconds) < PASSES and sum(seconds) < ENOUGH:
        seconds.append(_seconds(run))
    return Timing(statistics.median(seconds), len(seconds))


def time_in_torch(network: Network, shape: Sequence[int]) -> Timing:
    """Seconds of one pass as the torch runtime makes it: evaluation mode, float32, channels-last,
    torch's current threads.

    Args:
        network: put into evaluation mode and channels-last.
        shape: of the input, ``(B, C, X, Y, Z)``. A batch of one small patch would be no fair
            measure: torch sends its convolutions down a path many times slower.
    """
    network.eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    image = torch.randn(tuple(shape)).to(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        return time_passes(lambda: network(image))


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
