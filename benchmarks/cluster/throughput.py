"""Studies a second of two raylets and of one process, overhead, and a slow file system."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cluster.cost import seconds_per_study
from benchmarks.cluster.raylets import digests, two_raylets
from gliodistill.cluster import Cluster, executor
from gliodistill.inference.batch import segment_studies
from gliodistill.inference.predictor import Predictor
from gliodistill.phantom.cohort import write_cohort
from gliodistill.pool import Threads
from gliodistill.studies.cohort import open_cohort

STUDIES, SPACING = 60, 2.0


class Timed:
    """An executor, and when its outcomes come."""

    def __init__(self, there: Any) -> None:
        self.there, self.began, self.times = there, time.perf_counter(), list[float]()

    def outcomes(self, work: Any, items: Any) -> Any:
        """Those of the executor."""
        self.began = time.perf_counter()
        for outcome in self.there.outcomes(work, items):
            self.times.append(time.perf_counter())
            yield outcome

    @property
    def seconds(self) -> float:
        """From the start to the last outcome."""
        return self.times[-1] - self.began

    @property
    def rate(self) -> float:
        """Items a second after the first two, which are begun while workers start."""
        return (len(self.times) - 2) / (self.times[-1] - self.times[1])


def ratio(work: Path) -> dict[str, Any]:
    """Studies a second of two raylets over those of one process."""
    cohort = work / "studies"
    write_cohort(cohort, STUDIES, seed=30, spacing=SPACING, jobs=2)
    studies = open_cohort(cohort).studies
    predictor = Predictor(threads=1)
    for name in ("one", "two"):
        shutil.rmtree(work / name, ignore_errors=True)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # a raylet has one core, too
    alone = Timed(Threads(1))
    here = segment_studies(studies, predictor, work / "one", executor=alone)
    os.sched_setaffinity(0, cores)
    with two_raylets():
        together = Timed(Cluster("auto", work / "two", cpus=1))
        there = segment_studies(studies, predictor, work / "two", executor=together)
    one, two = alone.seconds, together.seconds
    stages: dict[str, list[float]] = {}
    for values in here.done.values():
        for stage, seconds in values["seconds"].items():
            stages.setdefault(stage, []).append(seconds)
    size = sum(file.stat().st_size for file in cohort.rglob("*.nii.gz")) / STUDIES
    return {
        "studies": STUDIES,
        "spacing_mm": SPACING,
        "seconds_one_process": round(one, 1),
        "seconds_two_raylets": round(two, 1),
        "ratio_with_start_of_workers": round(one / two, 2),
        "ratio": round(together.rate / alone.rate, 2),
        "same_label_maps": digests(work / "one") == digests(work / "two"),
        "failed": len(here.failed) + len(there.failed),
        "core_seconds_per_study": round(one / STUDIES, 3),
        "stages_s": {stage: round(median(each), 3) for stage, each in stages.items()},
        "megabytes_per_study": round(size / 1e6, 2),
    }


def nothing(item: int) -> int:
    """The work of an item without work."""
    return item


def overhead(work: Path) -> dict[str, Any]:
    """Milliseconds per item, sent one by one and in batches."""
    found = {}
    batch = executor.BATCH
    with two_raylets():
        for name, most in (("one_by_one", 1), ("batched", batch)):
            executor.BATCH = most
            cluster = Cluster("auto", work / "nothing")
            list(cluster.outcomes(nothing, range(20)))
            times = [0.0, 0.0]
            for place, count in enumerate((100, 600)):  # the difference leaves out the start
                began = time.perf_counter()
                assert len(list(cluster.outcomes(nothing, range(count)))) == count
                times[place] = time.perf_counter() - began
            found[f"ms_{name}"] = round((times[1] - times[0]) / 500 * 1000, 2)
    executor.BATCH = batch
    return found


@dataclass(frozen=True)
class Throttled:
    """Work before which its files are read from a file system of limited rate, one at a time."""

    work: Callable[[Any], Any]
    rate: float
    lock: Path

    def __call__(self, item: Any) -> Any:
        """Wait as long as reading takes, then work."""
        size = sum(file.stat().st_size for file in item.inputs)
        with self.lock.open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            time.sleep(size / self.rate)
        return self.work(item)


@dataclass
class OnThrottled:
    """An executor whose studies come from such a file system."""

    there: Cluster
    rate: float
    lock: Path

    def outcomes(self, work: Any, items: Any) -> Any:
        """As those of the cluster."""
        return self.there.outcomes(Throttled(work, self.rate, self.lock), items)


def throttled(work: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Seconds for all studies at several rates, measured and as the model has them.

    Args:
        work: folder with the studies of :func:`ratio`.
        told: what that found.
    """
    studies = open_cohort(work / "studies").studies[:20]
    predictor = Predictor(threads=1)
    rows = []
    with two_raylets():
        for rate in (1.0, 4.0):
            out = work / f"throttled-{rate:g}"
            shutil.rmtree(out, ignore_errors=True)
            slow = OnThrottled(Cluster("auto", out, cpus=1), rate * 1e6, work / "lock")
            timed = Timed(slow)
            segment_studies(studies, predictor, out, executor=timed)
            reading = told["megabytes_per_study"] / rate
            model, bottleneck = seconds_per_study(told["core_seconds_per_study"], 2, reading)
            rows.append(
                {
                    "megabytes_per_s": rate,
                    "measured_s_per_study": round(1 / timed.rate, 2),
                    "model_s_per_study": round(model, 2),
                    "bottleneck": bottleneck,
                }
            )
    return {"studies": len(studies), "rows": rows}
