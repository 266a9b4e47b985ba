"""The number format in which a device is fast."""

from pathlib import Path

import torch


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
