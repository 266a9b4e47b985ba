"""The number format in which a device is fast, and training in it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


def default_precision(device: str | torch.device = "cpu") -> torch.dtype:
    """``torch.bfloat16`` if ``device`` supports it in hardware, else ``torch.float32``.

    On a CPU this needs AMX or AVX-512 BF16 instructions; without them bfloat16 convolutions are a
    hundred times slower than float32. Other devices than CUDA and CPU get float32.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        # The hardware, not an emulation: compute capability 8.0 (Ampere) is the first with bfloat16
        # units.
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float32
    if kind == "cpu" and processor_flags() & {"amx_bf16", "avx512_bf16"}:
        return torch.bfloat16
    return torch.float32


@contextmanager
def mixed_precision(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Autocast to ``dtype``; float32 where that is what ``dtype`` is.

    On a CPU, convolutions with more kernel planes than the features have along the first axis are
    computed in float32. In bfloat16 their weight gradient is undefined: PyTorch 2.13 on AVX-512
    reads memory that nobody wrote (a 3×3×3 kernel on features 2 voxels deep, for instance; seen as
    a gradient that is not finite, or silently as another one each time).
    """
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        if device.type == "cpu" and dtype == torch.bfloat16:
            with _ThinFeatures():
                yield
        else:
            yield


class _ThinFeatures(TorchFunctionMode):
    """Compute convolutions of features thinner than the kernel in float32."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv3d and args[0].shape[2] < args[1].shape[2]:
            image, weight, *others = args
            bias = others[0].float() if others and others[0] is not None else None
            with torch.autocast("cpu", enabled=False):
                return func(image.float(), weight.float(), bias, *others[1:], **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def processor_flags() -> frozenset[str]:
    """The processor's instruction sets as Linux names them (``avx2``, ``amx_bf16``, …); empty
    elsewhere.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split()
    )
