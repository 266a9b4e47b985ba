"""Random kills of workers, a raylet and the driver while a cohort is written."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.cluster.raylets import digests, two_raylets, workers_of
from gliodistill.phantom.cohort import write_cohort

SMALL, SMALL_SPACING = 200, 6.0


def kills(work: Path, most: int, limit: float) -> dict[str, Any]:
    """Kill until ``most`` kills or ``limit`` seconds, then let the cohort finish."""
    right, out = work / "small", work / "killed"
    write_cohort(right, SMALL, seed=31, spacing=SMALL_SPACING, jobs=2)
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "gliodistill", "phantom", str(out), "-n", str(SMALL),
               "--seed", "31", "--spacing", str(SMALL_SPACING), "--cluster", "auto"]  # fmt: skip
    chance, counts = random.Random(30), {"worker": 0, "raylet": 0, "driver": 0}
    began, starts = time.perf_counter(), 0

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    with two_raylets() as raylets:
        driver, extra = start(), next(iter(raylets.worker_nodes))
        while sum(counts.values()) < most and time.perf_counter() - began < limit:
            time.sleep(chance.uniform(0.2, 3.0))
            if driver.poll() is not None:
                if driver.returncode == 0:
                    break
                driver, starts = start(), starts + 1
            kind = chance.choices(["worker", "raylet", "driver"], [8, 1, 1])[0]
            if kind == "worker" and (workers := workers_of(raylets)):
                os.kill(chance.choice(workers), signal.SIGKILL)
            elif kind == "raylet":
                raylets.remove_node(extra, allow_graceful=False)
                extra = raylets.add_node(num_cpus=1, object_store_memory=100 * 2**20)
            elif kind == "driver":
                driver.kill()
                driver.wait()
            else:
                continue
            counts[kind] += 1
        driver.wait()
        finished = time.perf_counter()
        while subprocess.run(command, capture_output=True, check=False).returncode:
            starts += 1
        last = time.perf_counter() - finished
    made, expected = digests(out, ""), digests(right, "")
    return {
        "studies": SMALL,
        "kills": counts,
        "drivers_started_again": starts,
        "seconds": round(finished - began, 1),
        "seconds_of_last_call": round(last, 1),
        "same_files": made == expected,
        "studies_there": len(list(out.glob("Phantom_*"))),
        "leftovers": len([p for p in out.iterdir() if p.name.startswith(".")]),
    }
