"""Where the time of a training step goes: ``python -m benchmarks.training_profile -o FOLDER``.

A step as ``training/loop.py`` makes it (losses of a supervised method, backward, clip, AdamW, EMA)
of the fast student on random patches, in the precision that the processor is fast in.
``torch.profiler`` gives the time of every operation; it is added up by what it is for, backward
included, as a share. Beside it, in turn and in new processes, the same step with other
settings, and the loss of the last step: the same to the bit where the arithmetic is the same.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.provenance import instructions, load, processor, versions, write_results

GROUPS = (
    ("convolution", r"conv"),
    ("norm", r"batch_norm|instance_norm|ChannelsLastNorm"),
    ("activation", r"relu"),
    ("copies: casts, concat, folding", r"copy_|::cat|clone|pixel|reorder|to_dense|to_mkldnn"),
    ("interpolate, pool", r"upsample|pool"),
    ("optimiser, clip, EMA", r"foreach|Optimizer|_fused"),
    ("zeros and sums of gradients", r"aten::add_?$|zero_|fill_"),
)
"""What an operation is for, by its name; the rest is the loss and bookkeeping."""
REST = "loss and the rest"
VARIANTS: dict[str, tuple[list[str], dict[str, str]]] = {
    "as it is": ([], {}),
    "one arena, freed arrays reused": (["--reuse-memory"], {}),
    "fused AdamW": (["--fused"], {}),
    "float32": (["--precision", "float32"], {}),
}


def make_step(patch: int, precision: str, fused: bool) -> tuple[Callable[[], float], float]:
    """A closure that takes one step and gives its loss; and GFLOP of its convolutions."""
    import torch
    from torch import nn

    from gliodistill.methods import Batch
    from gliodistill.methods.supervised import Supervised
    from gliodistill.networks import build, default_precision, flops
    from gliodistill.training.ema import EMA
    from gliodistill.training.loop import backward

    torch.manual_seed(0)
    student = build("fast").to(memory_format=torch.channels_last_3d).train()
    image = torch.randn(2, 4, patch, patch, patch)
    regions = (torch.rand(2, 3, patch, patch, patch) < 0.1).float()
    present, pseudo = torch.ones(2, 4, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)
    batch = Batch(image, image, regions, present, pseudo).to(torch.device("cpu"))
    method = Supervised(student, "regions")
    dtype = default_precision() if precision == "auto" else getattr(torch, precision)
    optimiser = torch.optim.AdamW(student.parameters(), 1e-3, fused=fused or None)
    ema, done = EMA(nn.ModuleDict({"student": student}), 0.99), 0

    def step() -> float:
        nonlocal done
        optimiser.zero_grad(set_to_none=True)
        terms = backward(method, batch, dtype)
        torch.nn.utils.clip_grad_norm_(student.parameters(), 12.0)
        optimiser.step()
        done += 1
        ema.update(done)
        return float(sum(terms.values()))

    return step, 3 * flops(build("fast"), (2, 4, patch, patch, patch)) / 1e9


def worker(options: argparse.Namespace) -> dict[str, Any]:
    """Processor and wall seconds of a step with these settings, and where they go."""
    if options.reuse_memory:
        from gliodistill.allocator import reuse_memory

        reuse_memory()
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.set_num_threads(options.threads)
    step, gflop = make_step(options.patch, options.precision, options.fused)
    step()
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    loss = [step() for _ in range(options.steps)][-1]
    after = resource.getrusage(resource.RUSAGE_SELF)
    found: dict[str, Any] = {
        "wall_s": (time.perf_counter() - began) / options.steps,
        "user_s": (after.ru_utime - before.ru_utime) / options.steps,
        "system_s": (after.ru_stime - before.ru_stime) / options.steps,
        "peak_gb": after.ru_maxrss / 1e6,
        "gflop": gflop,
        "loss": loss,
    }
    if options.profile:
        with profile(activities=[ProfilerActivity.CPU]) as told:
            step()
        parts: dict[str, float] = defaultdict(float)
        for event in told.key_averages():
            group = next((g for g, pattern in GROUPS if re.search(pattern, event.key)), REST)
            parts[group] += event.self_cpu_time_total / 1e6
        found["parts_s"] = dict(sorted(parts.items(), key=lambda part: -part[1]))
    return found


def run(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """A variant in a process of its own."""
    words, environment = VARIANTS[name]
    command = [sys.executable, "-m", "benchmarks.training_profile", "--worker", *words]
    command += ["--patch", str(options.patch), "--steps", str(options.steps)]
    command += ["--threads", str(options.threads), *(["--profile"] if not words else [])]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | environment
    ).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def table(result: dict[str, Any]) -> str:
    """As Markdown."""
    base = result["variants"]["as it is"]
    parts, spent = base["parts_s"], sum(base["parts_s"].values())
    lines = ["| part of a step | share |", "|---|---|"]
    lines += [f"| {name} | {seconds / spent:.0%} |" for name, seconds in parts.items()]
    lines += [
        "",
        "| step | CPU, s | of it system | peak, GB | last loss |",
        "|---|---|---|---|---|",
    ]
    for name, row in result["variants"].items():
        cpu = row["user_s"] + row["system_s"]
        lines.append(
            f"| {name} | {cpu:.2f} | {row['system_s']:.2f} | {row['peak_gb']:.2f} |"
            f" {row['loss']:.7f} |"
        )
    share = parts["convolution"] / spent
    rate = base["gflop"] / share / (base["user_s"] + base["system_s"])
    machine = result["machine"]
    lines.append(
        f"\nFast student, 2 × {result['patch']}³, {result['threads']} thread(s);"
        f" {base['gflop']:.0f} GFLOP a step, {rate:.0f} GFLOP in a CPU second of the convolutions."
        f" {machine['processor']} ({', '.join(machine['instructions'])}), load"
        f" {machine['load']} at the start."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, help="folder of training_profile.json and .md")
    parser.add_argument("--patch", type=int, default=96)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--profile", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--reuse-memory", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--fused", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="auto", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(worker(options)))
        return
    at_start = load()
    result = {
        "what": "a training step of the fast student, by what its operations are for",
        "patch": options.patch,
        "threads": options.threads,
        "variants": {name: run(options, name) for name in VARIANTS},
        "machine": {
            "processor": processor(),
            "instructions": instructions(("avx2", "avx512f", "avx512_bf16", "amx_bf16")),
            "cores": os.cpu_count(),
            "load": at_start,
        },
        "versions": versions("gliodistill", "torch"),
    }
    text = table(result)
    print(text)
    if options.out:
        write_results(options.out / "training_profile.json", result, text)


if __name__ == "__main__":
    main()
