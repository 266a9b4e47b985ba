"""Train the brain extraction network on synthetic heads and on teachers' pseudo-labels.

Every step sees one new scan: of a synthetic head of the pool, or a real head whose mask is the
consensus of the teachers (:mod:`~benchmarks.brain_extraction.pseudo_labels`). Resumable: the state
is saved every hundred steps, and a step's random numbers depend on the seed and its number only. ::

    python -m benchmarks.brain_extraction.train --work runs/brain --steps 4000
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.brain_extraction.heads import Head
from benchmarks.brain_extraction.pseudo_labels import PseudoLabelled, perturbed
from benchmarks.brain_extraction.rendering import Example, nothing, render
from gliodistill.networks.architectures.unet import UNet
from gliodistill.networks.precision import default_precision, mixed_precision

OPTIONS = {
    "in_channels": 1,
    "out_channels": 1,
    "widths": [16, 32, 64, 96],
    "stem_stride": 2,
    "norm": "instance",
}
"""Of the network, a U-Net whose trunk works on 4 mm voxels."""

RATE, WARM_UP = 3e-3, 50
EMA = 0.995
TUMOUR = 3.0
"""Weight of tumour voxels in the cross-entropy, relative to others."""


def build(seed: int = 0) -> UNet:
    """The untrained network."""
    torch.manual_seed(seed)
    return UNet(**OPTIONS)


def loss_of(logits: Tensor, share: Tensor, tumour: Tensor, emphasis: float = TUMOUR) -> Tensor:
    """Cross-entropy against the share of brain in each voxel, and Dice.

    Args:
        logits: of brain.
        share: of brain in each voxel.
        tumour: share of tumour in each voxel.
        emphasis: weight of tumour voxels in the cross-entropy, relative to others.
    """
    weight = 1 + (emphasis - 1) * tumour
    cross = (F.binary_cross_entropy_with_logits(logits, share, reduction="none") * weight).mean()
    p = logits.sigmoid()
    dice = 1 - (2 * (p * share).sum() + 1) / (p.sum() + share.sum() + 1)
    return 5 * cross + dice


def example(
    step: int, seed: int, work: Path, real: list[PseudoLabelled], share: float, lump: float = 0.0
) -> Example:
    """The scan of a step.

    Args:
        step: its number.
        seed: of the training.
        work: folder of the synthetic heads.
        real: pseudo-labelled scans.
        share: of the steps that see one of them.
        lump: share of those with a lump put in.
    """
    rng = np.random.default_rng([seed, step])
    if real and rng.random() < share:
        heads, rims = ([one for one in real if one.rim == rim] for rim in (False, True))
        some = heads if heads and (rng.random() < 0.5 or not rims) else rims
        return perturbed(some[rng.integers(len(some))], rng, lump)
    if rng.random() < 0.02:
        return nothing(rng)
    pool = sorted((work / "heads" / "train").glob("[0-9]*[0-9].npz"))
    return render(Head.load(pool[rng.integers(len(pool))]), rng)


def tensors(one: Example) -> tuple[Tensor, Tensor, Tensor]:
    """Image, share of brain and share of tumour on 1 1 X Y Z."""
    image, share, tumour = (
        torch.from_numpy(each)[None, None] for each in (one.image, one.share, one.tumour)
    )
    return image, share.clamp(0, 1), tumour.clamp(0, 1)


def validate(network: UNet, work: Path) -> dict[str, float]:
    """Means over the synthetic heads that are held out (share-weighted, on the network's grid)."""
    dice, lost = [], []
    for index, file in enumerate(sorted((work / "heads" / "held_out").glob("[0-9]*[0-9].npz"))):
        image, share, tumour = tensors(render(Head.load(file), np.random.default_rng([7, index])))
        with torch.inference_mode():
            found = network(image)[0] > 0
        brain = share > 0.5
        dice.append(2 * (found & brain).sum().item() / (found.sum() + brain.sum()).item())
        if (ill := tumour > 0.5).any():
            lost.append((ill & ~found).sum().item() / ill.sum().item())
    return {
        "dice": round(float(np.mean(dice)), 4),
        "worst": round(min(dice), 4),
        "tumour_lost": round(float(np.mean(lost)), 4),
    }


def learn(
    network: UNet,
    average: UNet,
    optimizer: torch.optim.Optimizer,
    examples: Callable[[int], Example],
    steps: range,
    rate: float,
    ema: float = EMA,
    emphasis: float = TUMOUR,
) -> Iterator[tuple[int, float]]:
    """Train by one example a step, with a warm-up and a cosine decay of the rate.

    Args:
        network: changed in place.
        average: its exponential moving average, changed in place.
        optimizer: of the network.
        examples: the example of a step.
        steps: to make; the rate has decayed at the last.
        rate: highest learning rate.
        ema: of the average.
        emphasis: weight of tumour voxels.

    Yields:
        each step and its loss.
    """
    precision, cpu = default_precision(), torch.device("cpu")
    for step in steps:
        ramp = min(1, (step + 1) / WARM_UP)
        decay = 0.5 * (1 + math.cos(math.pi * step / steps.stop))
        for group in optimizer.param_groups:
            group["lr"] = rate * ramp * max(decay, 0.01)
        image, share, tumour = tensors(examples(step))
        with mixed_precision(cpu, precision):
            logits = network(image)[0]
        loss = loss_of(logits.float(), share, tumour, emphasis)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        keep = min(ema, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(weight, 1 - keep)
        yield step, loss.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", default="network")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--init", type=Path, help="weights to start from")
    parser.add_argument("--real", type=float, default=0.2, help="share of steps on real heads")
    parser.add_argument("--lumps", type=float, default=0.0, help="share of real heads with a lump")
    parser.add_argument("--tumour", type=float, default=TUMOUR, help="weight of tumour voxels")
    parser.add_argument("--cases", nargs="*", help="pseudo-labelled cases to use (default: all)")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    folder = arguments.work / arguments.name
    folder.mkdir(parents=True, exist_ok=True)
    network, average = build(arguments.seed), build(arguments.seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=arguments.rate, weight_decay=1e-3)
    state, log = folder / "state.pt", folder / "log.jsonl"
    first = 0
    if state.exists():
        found = torch.load(state, weights_only=True)
        network.load_state_dict(found["network"])
        average.load_state_dict(found["average"])
        optimizer.load_state_dict(found["optimizer"])
        first = found["step"]
    elif arguments.init:
        network.load_state_dict(torch.load(arguments.init, weights_only=True))
        average.load_state_dict(network.state_dict())
    average.eval()
    real: list[PseudoLabelled] = []
    total, started = 0.0, time.process_time()

    def examples(step: int) -> Example:
        nonlocal real
        if arguments.real and (step == first or step % 200 == 0):
            # The teachers may still be at work.
            real = PseudoLabelled.read_all(arguments.work, arguments.cases)
        return example(step, arguments.seed, arguments.work, real, arguments.real, arguments.lumps)

    steps = range(first, arguments.steps)
    losses = learn(
        network, average, optimizer, examples, steps, arguments.rate, emphasis=arguments.tumour
    )
    for step, loss in losses:
        total += loss
        if (step + 1) % 100 == 0 or step + 1 == arguments.steps:
            line = {"step": step + 1, "loss": round(total / 100, 4)}
            total = 0.0
            if (step + 1) % 500 == 0 or step + 1 == arguments.steps:
                line |= validate(average, arguments.work)
            line |= {"cpu_s": round(time.process_time() - started), "real": len(real)}
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            partial = state.with_suffix(".partial")
            torch.save(
                {
                    "network": network.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step + 1,
                },
                partial,
            )
            partial.replace(state)
    torch.save(average.state_dict(), folder / "weights.pt")


if __name__ == "__main__":
    main()
