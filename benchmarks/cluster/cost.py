"""Hours and bottleneck of a cohort, from the measured figures.

A worker reads a study, then works on it; the file system (or, without a shared one, the network of
the machine with the command) serves all workers at one rate; the command hands out one study at a
time. The slowest of the three sets the pace.
"""

import json
from pathlib import Path
from typing import Any

SPEED = Path(__file__).parents[1] / "results" / "speed" / "speed.json"
MILLION = 1_000_000
CORES, RATES = (2, 32, 256, 2048), (100.0, 1000.0)
"""Of a laptop, a server, a cluster, a large one; MB/s of one network disk or link of 1 Gbit/s, and
of ten."""


def seconds_per_study(
    core_s: float, cores: int, reading_s: float, overhead_s: float = 0.0
) -> tuple[float, str]:
    """Seconds between two finished studies, and what holds them up.

    Args:
        core_s: seconds of one core for a study.
        cores: at work, a worker each.
        reading_s: for the files of a study at the full rate of the file system.
        overhead_s: of the command.
    """
    paces = {
        "processors": (core_s + reading_s) / cores,
        "file system or network": reading_s,
        "command": overhead_s,
    }
    slowest = max(paces, key=lambda name: paces[name])
    return paces[slowest], slowest


def cost(megabytes: float, overhead_ms: float) -> dict[str, Any]:
    """Hours for a million studies of the speed benchmark, 240×240×155 voxels of four sequences."""
    speed = json.loads(SPEED.read_text())
    core_s = speed["sides"]["after"]["batch_cpu_s"]["median"] / speed["studies"]
    rows = []
    for cores in CORES:
        for rate in RATES:
            pace, bottleneck = seconds_per_study(
                core_s, cores, megabytes / rate, overhead_ms / 1000
            )
            rows.append(
                {
                    "cores": cores,
                    "megabytes_per_s": rate,
                    "studies_per_hour": round(3600 / pace),
                    "hours": round(pace * MILLION / 3600, 1),
                    "bottleneck": bottleneck,
                }
            )
    return {
        "studies": MILLION,
        "core_seconds_per_study": round(core_s, 2),
        "megabytes_per_study": megabytes,
        "overhead_ms": overhead_ms,
        "rows": rows,
    }
