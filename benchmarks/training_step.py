"""How much faster a training step is in each number format and memory layout, same network and
patch, one run.

    python -m benchmarks.training_step --threads 2 --json
    benchmarks/results/training_step/my-processor.json

A step is forward, loss, backward and AdamW. The variants take turns, so that a busy machine slows
all alike; the table gives the median step, its ratio to the first row (the float32 contiguous
default of MONAI and nnU-Net) in wall-clock and in processor time (which a busy machine disturbs
less), and GFLOP/s (three times the forward pass). bfloat16 runs only where the processor multiplies
it in hardware: elsewhere its convolutions are a reference path a hundred times slower than float32.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.provenance import cpu_fields, processor
from gliodistill.networks import build, count_parameters, default_precision, flops
from gliodistill.networks.precision import processor_flags

CONTIGUOUS, LAST = torch.contiguous_format, torch.channels_last_3d
TELLING_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")


@dataclass
class Case:
    """One network and patch."""

    name: str
    widths: tuple[int, ...]
    stem_stride: int
    shape: tuple[int, ...]

    def network(self) -> nn.Module:
        """Ours."""
        return build("unet", widths=self.widths, stem_stride=self.stem_stride)

    def peer(self) -> nn.Module | None:
        """The same network as MONAI builds it, where MONAI has it and is installed."""
        if self.stem_stride != 1:
            return None
        try:
            from monai.networks.nets import DynUNet
        except ImportError:
            return None
        strides = [1] + [2] * (len(self.widths) - 1)
        kernels, norm = [3] * len(self.widths), ("INSTANCE", {"affine": True})
        return DynUNet(
            3, self.shape[1], 3, kernels, strides, strides[1:], filters=self.widths, norm_name=norm
        )


CASES = (
    Case("nnU-Net shape 24..192", (24, 48, 96, 192), 1, (1, 4, 64, 64, 64)),
    Case("fast 32..160", (32, 64, 128, 160), 2, (2, 4, 96, 96, 96)),
)


@dataclass
class Variant:
    """A step to time, and the seconds it took."""

    name: str
    step: Callable[[], float]
    first: float = 0.0
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    loss: float = 0.0


def stepper(
    network: nn.Module,
    shape: tuple[int, ...],
    layout: torch.memory_format,
    dtype: torch.dtype,
    compiled: bool,
) -> Callable[[], float]:
    """A closure that takes one training step and gives its loss."""
    network = network.to(memory_format=layout).train()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator).to(memory_format=layout)
    truth = (torch.rand((shape[0], 3, *shape[2:]), generator=generator) < 0.1).float()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    run = torch.compile(network, dynamic=False) if compiled else network

    def step() -> float:
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits: Tensor | tuple[Tensor, ...] = run(x)
        finest = logits if isinstance(logits, Tensor) else logits[0]
        loss = functional.binary_cross_entropy_with_logits(finest.float(), truth)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def variants(case: Case, *, compiled: bool, bfloat16: bool) -> list[Variant]:
    """The steps to compare; the first is what the others are measured against."""

    def ours(
        layout: torch.memory_format, dtype: torch.dtype = torch.float32, compile_it: bool = False
    ) -> Callable[[], float]:
        torch.manual_seed(0)
        return stepper(case.network(), case.shape, layout, dtype, compile_it)

    chosen = [
        Variant("float32 contiguous", ours(CONTIGUOUS)),
        Variant("float32 channels-last", ours(LAST)),
    ]
    if compiled:
        chosen.append(Variant("float32 channels-last compiled", ours(LAST, compile_it=True)))
    if bfloat16:
        chosen.append(Variant("bfloat16 channels-last", ours(LAST, torch.bfloat16)))
        if compiled:
            chosen.append(
                Variant("bfloat16 channels-last compiled", ours(LAST, torch.bfloat16, True))
            )
    peer = case.peer()
    if peer is not None:
        chosen.insert(
            0,
            Variant(
                "MONAI DynUNet float32 contiguous",
                stepper(peer, case.shape, CONTIGUOUS, torch.float32, False),
            ),
        )
    return chosen


def measure(
    case: Case, *, rounds: int, budget: float, compiled: bool, bfloat16: bool
) -> dict[str, object]:
    """Time every variant in turn, ``rounds`` times or until ``budget`` seconds are spent (at least
    three).
    """
    chosen = variants(case, compiled=compiled, bfloat16=bfloat16)
    for variant in chosen:
        start = time.perf_counter()
        variant.loss = variant.step()
        variant.first = time.perf_counter() - start
    end = time.perf_counter() + budget
    for done in range(rounds):
        if done >= 3 and time.perf_counter() > end:
            break
        for variant in chosen:
            start, cpu = time.perf_counter(), time.process_time()
            variant.step()
            variant.seconds.append(time.perf_counter() - start)
            variant.cpu_seconds.append(time.process_time() - cpu)
    work = 3 * flops(case.network(), case.shape)
    base, base_cpu = statistics.median(chosen[0].seconds), statistics.median(chosen[0].cpu_seconds)
    rows = [
        {
            "variant": variant.name,
            "median_s": round(statistics.median(variant.seconds), 4),
            "fastest_s": round(min(variant.seconds), 4),
            "first_s": round(variant.first, 2),
            "speed_up": round(base / statistics.median(variant.seconds), 2),
            "cpu_speed_up": round(base_cpu / statistics.median(variant.cpu_seconds), 2),
            "gflop_per_s": round(work / statistics.median(variant.seconds) / 1e9, 1),
            "steps": len(variant.seconds),
            "first_loss": round(variant.loss, 6),
        }
        for variant in chosen
    ]
    return {
        "case": case.name,
        "shape": case.shape,
        "parameters": count_parameters(case.network()),
        "step_gflop": round(work / 1e9, 1),
        "rows": rows,
    }


def machine() -> dict[str, object]:
    """What decides the numbers."""
    fields = cpu_fields()
    return {
        "cpu": processor(),
        "family": fields.get("cpu family"),
        "model": fields.get("model"),
        "flags": [flag for flag in TELLING_FLAGS if flag in processor_flags()],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "default_precision": str(default_precision()).removeprefix("torch."),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="processor threads (all)"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="timed steps of each variant, at most"
    )
    parser.add_argument(
        "--budget", type=float, default=50.0, help="seconds of timed steps per case, about"
    )
    parser.add_argument(
        "--no-compile",
        action="store_true",
        help="leave torch.compile out (half a minute of compiling a case)",
    )
    parser.add_argument(
        "--bf16",
        choices=["auto", "always", "never"],
        default="auto",
        help="auto: where the hardware multiplies it",
    )
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bfloat16 = options.bf16 == "always" or (
        options.bf16 == "auto" and default_precision() == torch.bfloat16
    )
    found: dict[str, object] = {"machine": machine(), "cases": []}
    print(json.dumps(found["machine"]), flush=True)
    cases = []
    for case in CASES:
        result = measure(
            case,
            rounds=options.rounds,
            budget=options.budget,
            compiled=not options.no_compile,
            bfloat16=bfloat16,
        )
        cases.append(result)
        patch = "×".join(map(str, case.shape))
        print(
            f"\n{case.name}, patch {patch}, {result['parameters']:,} parameters,"
            f" {result['step_gflop']} GFLOP a step"
        )
        for row in result["rows"]:  # type: ignore[attr-defined]
            numbers = (
                f"{row['median_s']:7.3f} s  {row['speed_up']:5.2f} ×  {row['cpu_speed_up']:5.2f} ×"
                " in processor time"
            )
            print(
                f"  {row['variant']:34} {numbers}  {row['gflop_per_s']:5.0f} GFLOP/s  (first"
                f" {row['first_s']} s)",
                flush=True,
            )
    if not bfloat16:
        print("\nbfloat16 left out: this processor has no bfloat16 dot products")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({**found, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
