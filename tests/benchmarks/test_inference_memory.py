"""The bounds on memory that docs/inference.md leads to, measured in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "widths", "most_gb"),
    [((240, 240, 155), (32, 64, 128, 160), 1.5), ((512, 512, 512), (8, 16), 4.0)],
    ids=["BraTS", "512³"],
)
def test_peak_stays_bounded(
    shape: tuple[int, ...], widths: tuple[int, ...], most_gb: float
) -> None:
    numbers = ["--shape", *map(str, shape), "--widths", *map(str, widths)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.inference_memory", *numbers],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    (run,) = json.loads(done.stdout)
    assert 0.1 < run["peak_gb"] < most_gb
