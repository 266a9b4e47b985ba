"""torch.compile keeps the numbers. In a process of its own: the compiler cannot trace through
run-time type checks.
"""

import os
import subprocess
import sys
from pathlib import Path

import gliodistill

SCRIPT = """
import torch
from gliodistill.distillation import FeatureTaps
from gliodistill.networks import build

torch.set_num_threads(1)
torch.manual_seed(0)
last = torch.channels_last_3d
network = build("unet", widths=(4, 6, 8), stem_stride=2, deep_supervision=1).to(memory_format=last)
x = torch.randn(2, 4, 16, 16, 16).to(memory_format=last)


def run(network):
    with FeatureTaps(network, ["bottleneck", "decoder0"]) as taps:
        logits = network(x)
        (sum(l.square().mean() for l in logits)).backward()
        features = taps.values()
    gradients = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    return [*logits, *features, *gradients]


eager = run(network)
compiled = run(torch.compile(network, backend="aot_eager", dynamic=False))
for a, b in zip(compiled, eager, strict=True):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
"""


def test_compiled_equals_eager_and_can_be_tapped():
    source = str(Path(gliodistill.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
