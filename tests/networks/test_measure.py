"""How long a pass takes: medians of real sleeps."""

import time

import pytest
import torch

from gliodistill.networks import build
from gliodistill.networks.measure import time_in_torch, time_passes


def sleeping(*seconds):
    """A pass that takes these times one after the other, the last again and again."""
    left = list(seconds)
    return lambda: time.sleep(left.pop(0) if len(left) > 1 else left[0])


def test_a_slow_start_and_one_slow_pass_do_not_count():
    timing = time_passes(sleeping(0.3, 0.02, 0.3, 0.02))
    assert timing.passes == 7
    assert timing.seconds == pytest.approx(0.02, abs=0.02)


def test_a_second_is_enough():
    assert time_passes(sleeping(0.0, 0.6)).passes == 2
    once = time_passes(sleeping(1.05, 5.0))
    assert once.passes == 1
    assert once.seconds == pytest.approx(1.05, abs=0.2)


def test_a_network_is_timed_as_it_is_used():
    network, seen = build("unet", widths=(4, 8)), []
    network.head.register_forward_hook(
        lambda m, i, o: seen.append(
            (
                m.training,
                torch.is_grad_enabled(),
                i[0].is_contiguous(memory_format=torch.channels_last_3d),
            )
        )
    )
    timing = time_in_torch(network, (2, 4, 16, 16, 16))
    assert 0 < timing.seconds < 5
    assert len(seen) == timing.passes + 1
    assert set(seen) == {(False, False, True)}
