"""What runs the graph: one file per runtime, chosen by name."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.models.package import ModelPackage


class Runtime(Protocol):
    """A network ready to run."""

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Levels (uint8, B C X Y Z; sides multiples of the network's divisor) → logits (float32, B
        K X Y Z).
        """


def _openvino(package: ModelPackage, threads: int | None, precision: str | None) -> Runtime:
    from gliodistill.inference.runtimes.openvino import OpenVINORuntime

    weights = {None: None, "int8": ("int8",)}.get(precision, ("float16",))
    export = package.find("openvino", weights)
    return OpenVINORuntime(
        package.folder / export.files[0],
        threads=threads,
        precision=None if precision == "int8" else precision,
    )


def _onnx(package: ModelPackage, threads: int | None, precision: str | None) -> Runtime:
    from gliodistill.inference.runtimes.onnx import OnnxRuntime

    return OnnxRuntime(package.folder / package.find("onnx").files[0], threads=threads)


def _torch(package: ModelPackage, threads: int | None, precision: str | None) -> Runtime:
    from gliodistill.inference.runtimes.torch import TorchRuntime

    return TorchRuntime(package, threads=threads)


RUNTIMES: dict[str, Callable[[ModelPackage, int | None, str | None], Runtime]] = {
    "openvino": _openvino,
    "onnx": _onnx,
    "torch": _torch,
}
PRECISIONS: dict[str, tuple[str, ...]] = {
    "openvino": ("f32", "bf16", "int8"),
    "onnx": ("f32",),
    "torch": ("f32",),
}
"""Runtime → the precisions it can be told to compute in."""


def open_runtime(
    name: str, package: ModelPackage, threads: int | None = None, precision: str | None = None
) -> Runtime:
    """The runtime of that name with the package's network loaded.

    Args:
        name: ``"openvino"`` (default everywhere), ``"onnx"`` or ``"torch"``.
        package: an opened package.
        threads: processor threads; None = all cores.
        precision: one of ``PRECISIONS[name]``; ``"int8"`` takes the package's int8 graph, the
            others its float one. None = the package's default graph, in bf16 where the processor
            has it.

    Raises:
        PackageError: no such runtime or precision, what it needs is not installed, or the package
        holds no such export.
    """
    if name not in RUNTIMES:
        raise PackageError(
            "unknown runtime", field="runtime", got=name, expected=" or ".join(RUNTIMES)
        )
    if threads is not None and threads < 1:
        raise PackageError(
            "number of threads out of range", field="threads", got=threads, expected="1 or more"
        )
    if precision is not None and precision not in PRECISIONS[name]:
        raise PackageError(
            f"{name} has no such precision",
            field="precision",
            got=precision,
            expected=" or ".join(PRECISIONS[name]),
        )
    try:
        return RUNTIMES[name](package, threads, precision)
    except ImportError as error:
        raise PackageError(
            "runtime not installed",
            field="runtime",
            got=name,
            hint=f"install what it needs: {error}",
        ) from error
