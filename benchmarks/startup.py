"""How long ``gliodistill --help`` takes, and what it loads: ``python -m benchmarks.startup [-o
results.json]``.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.provenance import load, versions

COMMANDS = {
    "--help": ["--help"],
    "segment --help": ["segment", "--help"],
    "--version": ["--version"],
}
HEAVY = ("torch", "scipy", "nibabel", "openvino", "numpy", "yaml")
LIMIT_SECONDS = 0.5


def run_times(arguments: list[str], repeats: int) -> tuple[list[float], list[float]]:
    """Wall and processor seconds of the whole process, from start to exit, warm disk cache."""
    walls, cpus = [], []
    for _ in range(repeats + 1):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "gliodistill", *arguments], check=True, stdout=subprocess.DEVNULL
        )
        walls.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return walls[1:], cpus[1:]  # the first fills the disk cache


def spread(values: list[float]) -> dict[str, float]:
    """Median, best, worst."""
    return {
        "median": round(statistics.median(values), 3),
        "best": round(min(values), 3),
        "worst": round(max(values), 3),
    }


def imports(arguments: list[str]) -> dict[str, float]:
    """Module → milliseconds of its import with all that it imports, by ``-X importtime``."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "gliodistill", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = {}
    for line in done.stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) == 3 and parts[1].strip().isdigit():
            found[parts[2].strip()] = int(parts[1]) / 1000
    return found


def measure(repeats: int) -> dict[str, object]:
    """All commands."""
    results = {}
    for name, arguments in COMMANDS.items():
        (walls, cpus), loaded = run_times(arguments, repeats), imports(arguments)
        slowest = sorted(loaded.items(), key=lambda item: -item[1])[:8]
        results[name] = {
            "wall_s": spread(walls),
            "processor_s": spread(cpus),
            "modules": len(loaded),
            "heavy_modules_loaded": [module for module in HEAVY if module in loaded],
            "slowest_imports_ms": {module: round(cost, 1) for module, cost in slowest},
        }
    return {
        "what": f"python -m gliodistill, {repeats} runs each, warm disk cache",
        "limit_s": LIMIT_SECONDS,
        "commands": results,
        "machine": {
            "processors": os.cpu_count(),
            "architecture": platform.machine(),
            "load_1min": load(),
        },
        "versions": versions("gliodistill", "typer", "rich"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="write the JSON here as well")
    parser.add_argument("-n", "--repeats", type=int, default=15)
    options = parser.parse_args()
    result = measure(options.repeats)
    text = json.dumps(result, indent=1) + "\n"
    print(text, end="")
    if options.output:
        options.output.write_text(text)
    first = result["commands"]["--help"]  # type: ignore[index]
    return int(
        first["wall_s"]["median"] > LIMIT_SECONDS or "torch" in first["heavy_modules_loaded"]
    )


if __name__ == "__main__":
    sys.exit(main())
