"""Latency of candidates on this machine, in the student's runtime."""

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gliodistill.errors import BudgetError
from gliodistill.models.export import save_graph
from gliodistill.models.levels_input import LevelsInput
from gliodistill.models.openvino_runtime import OpenVINORuntime
from gliodistill.models.telemetry import import_openvino
from gliodistill.networks import Network
from gliodistill.planner.candidate import Candidate
from gliodistill.planner.counting import BYTES, Setting, make

Pass = Callable[[np.ndarray[Any, np.dtype[np.uint8]]], object]
PASSES = 2
"""Timed passes per visit, after a warm-up pass."""
SLOW = 2.0  # seconds; a pass that takes longer is timed once


@dataclass(frozen=True)
class Bench:
    """Timing of candidates, one graph at a time, because whole-brain activations need gigabytes.

    Attributes:
        setting: of the input.
        precision: ``f32``, ``bf16`` or ``f16``.
        threads: processor threads.
        folder: of exported graphs.
    """

    setting: Setting
    precision: str
    threads: int
    folder: Path

    def visit(self, candidate: Candidate) -> None:
        """Load the candidate's graph, warm up, time two passes (one if slow), unload."""
        candidate.seconds += self.time(
            str(candidate.shape), lambda: make(candidate.shape, self.setting)
        )

    def time(self, name: str, build: Callable[[], Network]) -> list[float]:
        """Seconds of each timed pass of a network; its graph is kept under ``name``."""
        run, divisor = self._load(name, build)
        shape = (1, self.setting.in_channels, *self.setting.sides(divisor))
        image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        slow = _seconds(run, image) > SLOW
        return [_seconds(run, image) for _ in range(1 if slow else PASSES)]

    def _load(self, name: str, build: Callable[[], Network]) -> tuple[Pass, int]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = build().eval()
        network.strip()
        if self.setting.runtime == "torch":
            return self._in_torch(network), network.divisor
        graph = self.folder / f"{name}.xml"
        if not graph.exists():
            save_graph(LevelsInput(network), self.setting.in_channels, network.divisor, graph)
        return (
            OpenVINORuntime(graph, threads=self.threads, precision=self.precision),
            network.divisor,
        )

    def _in_torch(self, network: Network) -> Pass:
        wrapped = LevelsInput(network).eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

        def run(image: np.ndarray[Any, np.dtype[np.uint8]]) -> object:
            with torch.inference_mode():
                return wrapped(torch.from_numpy(image))

        return run


@contextmanager
def open_bench(setting: Setting, precision: str | None, threads: int | None) -> Iterator[Bench]:
    """A bench in a temporary folder; torch's number of threads is restored afterwards.

    Args:
        setting: of the input, and the runtime.
        precision: of the arithmetic; None = the runtime's default on this processor.
        threads: processor threads; None = all cores.

    Raises:
        BudgetError: a runtime or a precision that does not exist, or that this processor does not
            have.
    """
    runtime, valid = setting.runtime, precisions(setting.runtime)
    if precision is not None and precision not in valid:
        raise BudgetError(
            f"{runtime} has no such precision here",
            field="--precision",
            got=precision,
            expected=" or ".join(valid),
        )
    before, count = torch.get_num_threads(), threads or os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        torch.set_num_threads(count)
        try:
            yield Bench(setting, precision or valid[0], count, Path(folder))
        finally:
            torch.set_num_threads(before)


def precisions(runtime: str) -> list[str]:
    """Precisions with hardware support on this processor, the runtime's default first.

    Raises:
        BudgetError: no such runtime.
    """
    if runtime not in BYTES:
        raise BudgetError(
            "unknown runtime", field="--runtime", got=runtime, expected=" or ".join(BYTES)
        )
    if runtime == "torch":
        return ["f32"]
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return (["bf16"] if "BF16" in capabilities else []) + ["f32"]


def predict(candidates: Sequence[Candidate]) -> None:
    """Predict unmeasured latencies by a power law in operations between the nearest measured ones.

    Beyond the measured ones of the same network and stem, time is proportional to operations. A
    shape without measured relatives has no prediction; a measured one keeps its last prediction.
    """
    for candidate in candidates:
        kin = [c for c in candidates if c.seconds and _chain(c) == _chain(candidate)]
        known = {c.flops: c.latency for c in sorted(kin, key=lambda c: c.flops)}
        if candidate.seconds or not known:
            continue
        xs = [math.log(flops) for flops in known]
        ys = [math.log(seconds) for seconds in known.values() if seconds]
        x = math.log(candidate.flops)
        beyond = min(0.0, x - xs[0]) + max(0.0, x - xs[-1])
        candidate.predicted = math.exp(float(np.interp(x, xs, ys)) + beyond)


def _chain(candidate: Candidate) -> tuple[str, int]:
    return candidate.shape.network, candidate.shape.stem_stride


def _seconds(run: Pass, image: np.ndarray[Any, np.dtype[np.uint8]]) -> float:
    start = time.perf_counter()
    run(image)
    return time.perf_counter() - start
