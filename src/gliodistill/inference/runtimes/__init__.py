"""What runs the graph: one file per runtime, chosen by name."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.models.package import GRAPH, ModelPackage


class Runtime(Protocol):
    """A network ready to run."""

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Levels (uint8, B C X Y Z; sides multiples of the network's divisor) → logits (float32, B K X Y Z)."""


def _openvino(package: ModelPackage, threads: int | None) -> Runtime:
    from gliodistill.inference.runtimes.openvino import OpenVINORuntime

    return OpenVINORuntime(package.folder / GRAPH, threads=threads)


def _torch(package: ModelPackage, threads: int | None) -> Runtime:
    from gliodistill.inference.runtimes.torch import TorchRuntime

    return TorchRuntime(package, threads=threads)


RUNTIMES: dict[str, Callable[[ModelPackage, int | None], Runtime]] = {"openvino": _openvino, "torch": _torch}


def open_runtime(name: str, package: ModelPackage, threads: int | None = None) -> Runtime:
    """The runtime of that name with the package's network loaded.

    Args:
        name: ``"openvino"`` (default everywhere) or ``"torch"``.
        package: an opened package.
        threads: processor threads; None = all cores.

    Raises:
        PackageError: no such runtime, or what it needs is not installed.
    """
    if name not in RUNTIMES:
        raise PackageError("unknown runtime", field="runtime", got=name, expected=" or ".join(RUNTIMES))
    if threads is not None and threads < 1:
        raise PackageError("number of threads out of range", field="threads", got=threads, expected="1 or more")
    try:
        return RUNTIMES[name](package, threads)
    except ImportError as error:
        raise PackageError("runtime not installed", field="runtime", got=name, hint=f"install what it needs: {error}") from error
