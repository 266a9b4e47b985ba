"""ONNX Runtime, for platforms without OpenVINO."""

import os

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.models.telemetry import import_onnxruntime, reason


class OnnxRuntime:
    """An ONNX graph on the processor, in float32.

    Args:
        graph: the ``.onnx`` file.
        threads: processor threads; None = all cores.

    Raises:
        PackageError: the graph cannot be read.
    """

    def __init__(self, graph: str | os.PathLike[str], *, threads: int | None = None) -> None:
        onnxruntime = import_onnxruntime()
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4  # errors are raised, not printed
        if threads is not None:
            settings.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(graph), settings, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # its errors have no common base class
            raise PackageError(
                "ONNX Runtime cannot read the graph", file=graph, got=reason(error)
            ) from error
        self._graph = graph

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Levels (uint8, B C X Y Z) → logits (float32, B K X Y Z)."""
        try:
            logits: NDArray[np.float32] = self._session.run(
                None, {"image": np.ascontiguousarray(image)}
            )[0]
        except Exception as error:
            raise PackageError(
                "ONNX Runtime cannot run the graph", file=self._graph, got=reason(error)
            ) from error
        return logits
