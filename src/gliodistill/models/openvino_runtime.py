"""OpenVINO: the default runtime, on CPUs."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.models.telemetry import import_openvino, reason


class OpenVINORuntime:
    """An OpenVINO IR compiled for this processor.

    Compiled once, with dynamic sides: every brain has its own shape, and on whole-brain passes a
    graph compiled for the shape was no faster (within 3 %) than the dynamic one. A thread compiles
    it while the first study is read.

    Args:
        graph: the ``.xml`` file, its ``.bin`` beside it.
        threads: processor threads; None = all cores.
        precision: ``"f32"``, ``"bf16"``, or None = bf16 if the processor supports it in hardware.

    Raises:
        PackageError: the graph cannot be read.
    """

    def __init__(
        self,
        graph: str | os.PathLike[str],
        *,
        threads: int | None = None,
        precision: str | None = None,
    ) -> None:
        core = import_openvino().Core()
        hardware = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = precision or ("bf16" if "BF16" in hardware else "f32")
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self.precision,
            # Pinned threads of several processes would all be pinned to the first cores.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            # The weights are passed explicitly: OpenVINO would silently read none if they are
            # missing.
            weights = Path(graph).with_suffix(".bin")
            model = core.read_model(os.fspath(graph), os.fspath(weights))
        except Exception as error:  # its errors have no base class of their own
            raise PackageError(
                "OpenVINO cannot read the graph", file=graph, got=reason(error)
            ) from error
        self._graph, self._turn = graph, Lock()
        with_a_thread = ThreadPoolExecutor(1)
        self._model = with_a_thread.submit(core.compile_model, model, "CPU", settings)
        with_a_thread.shutdown(wait=False)

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Levels (uint8, B C X Y Z) → logits (float32, B K X Y Z)."""
        # share_outputs would return memory that the next call overwrites. The model has one
        # request, which is busy while another thread uses it.
        try:
            with self._turn:
                logits: NDArray[np.float32] = self._model.result()(
                    np.ascontiguousarray(image), share_inputs=True, share_outputs=False
                )[0]
        except Exception as error:
            raise PackageError(
                "OpenVINO cannot run the graph", file=self._graph, got=reason(error)
            ) from error
        return logits
