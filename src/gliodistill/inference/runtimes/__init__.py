"""What runs the graph: one file per runtime, chosen by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.models.package import ModelPackage
from gliodistill.registry import Registry, first_line

DEVICES = ("auto", "cpu", "cuda")


class Runtime(Protocol):
    """A network ready to run.

    A runtime on another device than the CPU has an attribute ``device``.
    """

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Levels (uint8, B C X Y Z; sides multiples of the network's divisor) → logits (float32, B
        K X Y Z).
        """


@dataclass(frozen=True)
class RuntimeSettings:
    """Settings of a runtime.

    Attributes:
        threads: processor threads; None = all cores.
        precision: one of the runtime's own; None = the package's own way.
        device: one of the runtime's own, or ``auto``: the fastest of them that is there.
    """

    threads: int | None = None
    precision: str | None = None
    device: str = "cpu"


Open = Callable[[ModelPackage, RuntimeSettings], Runtime]
AnyOpen = TypeVar("AnyOpen", bound=Open)


@dataclass(frozen=True)
class RuntimeKind:
    """The description of a runtime before it is opened.

    Attributes:
        open: package, settings → the network ready to run; ImportError where what it needs is not
            installed.
        precisions: the precisions it supports.
        devices: where it can compute.
    """

    open: Open
    precisions: tuple[str, ...] = ("f32",)
    devices: tuple[str, ...] = ("cpu",)


def _check_runtime(name: str, kind: Any) -> None:
    if not isinstance(kind, RuntimeKind):
        raise ValueError(f"runtime {name!r} is no RuntimeKind")


RUNTIMES: Registry[RuntimeKind] = Registry(
    "runtime",
    "gliodistill.runtimes",
    PackageError,
    _check_runtime,
    lambda kind: first_line(kind.open),
)
"""Name → runtime."""
names = RUNTIMES.names
"""The names of all runtimes, sorted."""


def register(
    name: str, *, precisions: tuple[str, ...] = ("f32",), devices: tuple[str, ...] = ("cpu",)
) -> Callable[[AnyOpen], AnyOpen]:
    """Decorator that adds a runtime under ``name``: a function that opens a package.

    Args:
        name: what ``--runtime`` calls it.
        precisions: the precisions it supports.
        devices: where it can compute.

    Raises:
        ValueError: the name is taken (a programmer's error).
    """

    def keep(function: AnyOpen) -> AnyOpen:
        RUNTIMES.register(name, origin=function)(RuntimeKind(function, precisions, devices))
        return function

    return keep


@register("openvino", precisions=("f32", "bf16", "int8"))
def _openvino(package: ModelPackage, settings: RuntimeSettings) -> Runtime:
    """OpenVINO, on processors: the default."""
    from gliodistill.models.openvino_runtime import OpenVINORuntime

    precision = settings.precision
    weights = {None: None, "int8": ("int8",)}.get(precision, ("float16",))
    export = package.find("openvino", weights)
    return OpenVINORuntime(
        package.folder / export.files[0],
        threads=settings.threads,
        precision=None if precision == "int8" else precision,
    )


@register("onnx")
def _onnx(package: ModelPackage, settings: RuntimeSettings) -> Runtime:
    """ONNX Runtime, on processors: for machines and languages where it is what there is."""
    from gliodistill.inference.runtimes.onnx import OnnxRuntime

    return OnnxRuntime(package.folder / package.find("onnx").files[0], threads=settings.threads)


@register("torch", devices=("cpu", "cuda"))
def _torch(package: ModelPackage, settings: RuntimeSettings) -> Runtime:
    """PyTorch: the reference, and the one for GPUs (CUDA)."""
    from gliodistill.inference.runtimes.torch import TorchRuntime

    return TorchRuntime(package, threads=settings.threads, device=settings.device)


def open_runtime(
    name: str,
    package: ModelPackage,
    threads: int | None = None,
    precision: str | None = None,
    device: str = "cpu",
) -> Runtime:
    """The runtime of that name with the package's network loaded.

    Args:
        name: ``"openvino"`` (default everywhere), ``"onnx"``, ``"torch"``, or one of another
            package.
        package: an opened package.
        threads: processor threads; None = all cores.
        precision: one that the runtime has; ``"int8"`` takes the package's int8 graph, the others
            its float one. None = the package's default graph, in bf16 where the processor has it.
        device: one that the runtime has (``"cpu"``; with torch also ``"cuda"``), or ``"auto"``: a
            GPU where the runtime has one and there is one, else the processor.

    Raises:
        PackageError: no such runtime, precision or device, what it needs is not installed, or the
            package holds no such export.
    """
    kind = RUNTIMES.find(name, "runtime")
    if threads is not None and threads < 1:
        raise PackageError(
            "number of threads out of range", field="threads", got=threads, expected="1 or more"
        )
    if precision is not None and precision not in kind.precisions:
        raise PackageError(
            f"{name} has no such precision",
            field="precision",
            got=precision,
            expected=" or ".join(kind.precisions),
        )
    if device not in ("auto", *kind.devices):
        others = [each for each in RUNTIMES if device in RUNTIMES[each].devices]
        raise PackageError(
            f"runtime {name} does not compute there",
            field="device",
            got=device,
            expected=" or ".join(("auto", *kind.devices)),
            hint=f"use --runtime {' or '.join(others)}" if others else None,
        )
    try:
        return kind.open(package, RuntimeSettings(threads, precision, device))
    except ImportError as error:
        raise PackageError(
            "runtime not installed",
            field="runtime",
            got=name,
            hint=f"install what it needs: {error}",
        ) from error
