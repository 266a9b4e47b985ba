"""The OpenVINO graph of a model, its logits rounded to halves."""

import numpy as np
from numpy.typing import NDArray

import gliodistill as gd
from gliodistill.models import ModelPackage


class PlugRuntime:
    """OpenVINO behind a round."""

    def __init__(self, package: ModelPackage, threads: int | None) -> None:
        self._inner = gd.runtimes.open_runtime("openvino", package, threads, "f32")

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Levels → logits."""
        return np.round(2 * self._inner(image)) / 2


@gd.runtimes.register("plug_runtime")
def plug_runtime(package: ModelPackage, settings: gd.runtimes.RuntimeSettings) -> PlugRuntime:
    """OpenVINO, logits rounded to halves."""
    return PlugRuntime(package, settings.threads)
