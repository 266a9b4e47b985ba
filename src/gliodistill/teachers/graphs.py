"""Teachers from graphs: ONNX and OpenVINO. They give outputs only."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.models.telemetry import import_onnxruntime, import_openvino, reason
from gliodistill.teachers.declared import Declared
from gliodistill.teachers.registry import register_teacher


@register_teacher("onnx")
class Onnx(Declared):
    """An ONNX graph, whose input and output are declared."""

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether it is a file of ONNX."""
        return path.suffix == ".onnx" and path.is_file()

    @cached_property
    def _session(self) -> Any:
        onnxruntime = import_onnxruntime()
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4  # errors are raised, not printed
        try:
            return onnxruntime.InferenceSession(
                str(self.path), settings, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # its errors have no common base class
            raise PackageError(
                "ONNX Runtime cannot read the graph", file=self.path, got=reason(error)
            ) from error

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """The first output of the graph for its first input."""
        name = self._session.get_inputs()[0].name
        try:
            found: NDArray[np.float32] = self._session.run(
                None, {name: np.ascontiguousarray(image)}
            )[0]
        except Exception as error:
            raise PackageError(
                "ONNX Runtime cannot run the graph", file=self.path, got=reason(error),
                expected=f"{image.shape} of {image.dtype}", hint="declare sequences and window",
            ) from error  # fmt: skip
        return found.astype(np.float32, copy=False)


@register_teacher("openvino")
class OpenVINO(Declared):
    """An OpenVINO graph (``.xml`` with its ``.bin``), whose input and output are declared."""

    @property
    def files(self) -> Sequence[Path]:
        """Graph and weights."""
        return [self.path, self.path.with_suffix(".bin")]

    @cached_property
    def _model(self) -> Any:
        core = import_openvino().Core()
        try:
            read = core.read_model(str(self.path), str(self.path.with_suffix(".bin")))
            return core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        except Exception as error:  # its errors have no base class of their own
            raise PackageError(
                "OpenVINO cannot read the graph", file=self.path, got=reason(error)
            ) from error

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """The first output of the graph for its first input."""
        try:
            found: NDArray[np.float32] = self._model(np.ascontiguousarray(image))[0]
        except Exception as error:
            raise PackageError(
                "OpenVINO cannot run the graph", file=self.path, got=reason(error),
                expected=f"{image.shape} of {image.dtype}", hint="declare sequences and window",
            ) from error  # fmt: skip
        return np.array(found, dtype=np.float32)
