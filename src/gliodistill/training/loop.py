"""The training loop.

One step: cut patches (ahead, in a thread) → losses of the method → backward → clip → optimiser →
EMA. The checkpoint holds the complete state, so a killed run continues as if it had not been
interrupted: bit-identical on a CPU with the same number of threads and the same versions. With
other thread counts (``OMP_NUM_THREADS``, another machine) or on a GPU the order of sums differs,
and results are equivalent but not bit-identical.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gliodistill import ranks
from gliodistill.documents import Fields, Refusal
from gliodistill.errors import CheckpointError, GliodistillError
from gliodistill.files import make_folder, remove_leftovers
from gliodistill.methods import Batch, Method
from gliodistill.methods.segmentation import Outputs
from gliodistill.networks import Network, default_precision, mixed_precision
from gliodistill.networks.layers.synced_norm import synchronise
from gliodistill.preparation.cache import CachedStudy
from gliodistill.recipes.schema import TrainingPart
from gliodistill.training.batch_norm import freeze, recalibrated
from gliodistill.training.checkpoint import (
    read_checkpoint,
    read_tensors,
    weights_hash,
    write_checkpoint,
    write_tensors,
)
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.ema import EMA, wearing
from gliodistill.training.log import Log
from gliodistill.training.validation import mean_dice, validate

Net = TypeVar("Net", bound=nn.Module)
LAST, BEST = "last.safetensors", "best.safetensors"
NO_STATE = Refusal(CheckpointError, "not the state of a run", "train the run again")


@dataclass
class Progress:
    """Progress of a run; stored in checkpoints and given to callbacks.

    Attributes:
        step: steps done.
        best: best mean validation Dice so far; −1 before the first.
        seconds: of training, validation and saving, including earlier sessions.
        loss: of the last step; NaN before the first.
    """

    step: int = 0
    best: float = -1.0
    seconds: float = 0.0
    loss: float = math.nan


@dataclass(frozen=True)
class Setup:
    """Everything a run is trained with.

    Attributes:
        method: owns the student, jointly trained networks, and the losses.
        sampler: batches by number.
        validation: labelled studies for the whole-volume Dice; may be empty (then the last weights
            are taken).
        schedule: steps, optimiser, arithmetic.
        outputs: kind of the logits.
        channels: of the studies' sequences, those that the student takes.
        folder: gets ``last.safetensors``, ``best.safetensors`` (the EMA where the student validated
            best; the student's is exported) and ``log.jsonl``.
        averaged: for weight averaging, shares (sum below 1) and networks like the student.
        recalibration: patches for ``schedule.batch_norm_recalibration``; None = none.
        watch: called after each step.
    """

    method: Method
    sampler: PatchSampler
    validation: Sequence[CachedStudy]
    schedule: TrainingPart
    outputs: Outputs
    channels: Sequence[int]
    folder: Path
    averaged: Sequence[tuple[float, Network]] = ()
    recalibration: PatchSampler | None = None
    watch: Callable[[Progress], None] = lambda progress: None

    @property
    def device(self) -> torch.device:
        """The device of the training."""
        named = self.schedule.device
        if named == "auto":
            named = "cuda" if torch.cuda.is_available() else "cpu"
        return (
            ranks.local_device() if named == "cuda" and ranks.count() > 1 else torch.device(named)
        )

    @property
    def precision(self) -> torch.dtype:
        """Precision of convolutions: that of the recipe, by default bfloat16 on devices with
        hardware support.
        """
        named = self.schedule.precision
        return default_precision(self.device) if named == "auto" else getattr(torch, named)


@ranks.together()
def train_run(setup: Setup) -> dict[str, Any]:
    """Train the method's networks, from the last checkpoint if there is one.

    Returns:
        the summary: steps, seconds, best validation Dice and its step, hash of the exported weights
        after the last step. Of ranks other than the first, nothing.

    Raises:
        GliodistillError: the loss or its gradient is not finite; the last checkpoint is kept.
        CheckpointError: the last checkpoint is damaged or of another network.
        OutputError: the folder cannot be written.
    """
    schedule, folder, student = setup.schedule, setup.folder, setup.method.student
    device, dtype = setup.device, setup.precision
    networks = _ready(nn.ModuleDict(setup.method.trainable), device).train()
    for teacher in setup.method.frozen:
        _ready(teacher, device)
    optimiser = build_optimiser(schedule, networks)
    ema = EMA(networks, schedule.ema)

    if ranks.leads():
        make_folder(folder)
        remove_leftovers(folder)
    synchronise(networks)
    progress = _resume(folder / LAST, networks, ema, optimiser, schedule.steps)
    ranks.same_everywhere(networks)
    if schedule.compile:
        for network in setup.method.trainable.values():
            network.compile()

    exported: dict[str, Tensor] | None = None
    micro = schedule.accumulate
    batches = setup.sampler.batches(
        progress.step * micro,
        schedule.steps * micro,
        schedule.prefetch,
        (ranks.rank(), ranks.count()),
    )
    leads = ranks.leads()
    with Log(folder, progress.step, schedule.tensorboard) if leads else nullcontext() as log:
        clock = time.perf_counter()
        while progress.step < schedule.steps:
            rate = learning_rate(schedule, progress.step)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
            if schedule.frozen_norms:
                freeze(networks)
            terms = [
                backward(setup.method, next(batches).to(device), dtype, 1 / micro)
                for _ in range(micro)
            ]
            for network in setup.method.trainable.values():
                ranks.average_gradients(network.parameters())
            # Each network separately: a jointly trained teacher must not shorten the student's
            # step.
            norms = [
                torch.nn.utils.clip_grad_norm_(network.parameters(), schedule.clip)
                for network in setup.method.trainable.values()
            ]
            losses, norm = _to_host(terms, norms, folder, progress.step + 1)
            optimiser.step()
            progress.step += 1
            progress.loss = sum(losses.values())
            ema.update(progress.step)
            if log is None:  # the first rank validates and writes; the next step waits for it
                continue

            line: dict[str, Any] = {
                "step": progress.step,
                "rate": rate,
                "loss": losses,
                "gradient_norm": norm,
            }
            last = progress.step == schedule.steps
            exported = None
            if setup.validation and (last or progress.step % schedule.validate_every == 0):
                exported = _exported(setup, ema)
                with ranks.alone(), wearing(student, exported):
                    scores = validate(
                        student, setup.validation, setup.outputs, dtype, setup.channels
                    )
                line["dice"] = mean_dice(scores, setup.validation[0].regions)
            before, clock = clock, time.perf_counter()
            progress.seconds += clock - before
            line["seconds"] = round(progress.seconds, 3)
            log.write(line)
            better = "dice" in line and line["dice"]["mean"] > progress.best
            if better or (last and not setup.validation):
                progress.best = line["dice"]["mean"] if better else progress.best
                exported = exported or _exported(setup, ema)
                facts = {"step": progress.step, "dice": line.get("dice")}
                write_tensors(folder / BEST, exported, facts)
            if last or progress.step % schedule.save_every == 0:
                facts = {"step": progress.step, "best": progress.best, "seconds": progress.seconds}
                write_checkpoint(folder / LAST, networks, ema.weights, optimiser, facts)
            setup.watch(progress)
    ranks.wait()
    if not leads:
        return {}
    _, best = read_tensors(folder / BEST)
    return {
        "steps": progress.step,
        "dice": best["dice"],
        "best_step": best["step"],
        "seconds": round(progress.seconds, 1),
        "weights_sha256": weights_hash(exported or _exported(setup, ema)),
        "device": device.type,
        "precision": str(dtype).removeprefix("torch."),
    }


def backward(
    method: Method, batch: Batch, dtype: torch.dtype, share: float = 1.0
) -> dict[str, Tensor]:
    """One forward and backward pass: gradients of ``share`` times the sum of the terms are added.

    Returns:
        the terms by name, detached, on their device.
    """
    with mixed_precision(batch.image.device, dtype):
        terms = method.losses(batch)
    terms |= {
        f"{role}_penalty": network.penalty
        for role, network in method.trainable.items()
        if network.penalty is not None
    }
    loss = torch.stack([term.float() for term in terms.values()]).sum()
    (loss if share == 1 else loss * share).backward()  # type: ignore[no-untyped-call]
    return {name: term.detach() for name, term in terms.items()}


def learning_rate(part: TrainingPart, step: int) -> float:
    """The learning rate of step ``step`` (0 is the first): linear warm-up times polynomial decay to
    0.
    """
    warm = min(1.0, (step + 1) / max(1, part.warmup))
    return float(part.optimiser.rate * warm * (1 - step / part.steps) ** part.power)


def build_optimiser(part: TrainingPart, network: nn.Module) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov momentum."""
    o = part.optimiser
    if o.name == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            o.rate,
            momentum=o.momentum,
            nesterov=o.momentum > 0,
            weight_decay=o.weight_decay,
        )
    return torch.optim.AdamW(network.parameters(), o.rate, weight_decay=o.weight_decay)


def _ready(network: Net, device: torch.device) -> Net:
    """The network on the device, in channels-last format, which makes 3-D convolutions fast."""
    return network.to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]


def _resume(
    checkpoint: Path,
    networks: nn.Module,
    ema: EMA,
    optimiser: torch.optim.Optimizer,
    steps: int,
) -> Progress:
    """Restore the last checkpoint, if any, and return its progress."""
    if not checkpoint.exists():
        return Progress()
    facts = read_checkpoint(checkpoint, networks, ema.weights, optimiser)
    told = Fields(facts, NO_STATE.of(checkpoint))
    progress = Progress(told.whole("step"), told.number("best"), told.number("seconds"))
    if progress.step > steps:
        raise CheckpointError(
            "checkpoint is beyond the recipe",
            file=checkpoint,
            got=progress.step,
            expected=f"at most {steps} steps",
        )
    return progress


def _exported(setup: Setup, ema: EMA) -> dict[str, Tensor]:
    """The weights to validate and export: EMA, weight averaging, recalibrated batch norms."""
    weights = ema.interpolated(setup.averaged)
    if setup.recalibration is None:
        return weights
    count = setup.schedule.batch_norm_recalibration
    batches = setup.recalibration.batches(0, count, 0)
    with ranks.alone():
        return recalibrated(setup.method.student, weights, batches, setup.precision)


def _to_host(
    passes: list[dict[str, Tensor]], norms: list[Tensor], folder: Path, step: int
) -> tuple[dict[str, float], float]:
    """Mean terms by name and the student's gradient norm; the only synchronisation of a step.

    Raises:
        GliodistillError: one of them is not finite.
    """
    names = list(passes[0])
    rows = [torch.stack([terms[name].float() for name in names]) for terms in passes]
    mean = ranks.mean_over_ranks(rows[0] if len(rows) == 1 else torch.stack(rows).mean(0))
    values = torch.cat([mean, torch.stack(norms).float()]).tolist()
    losses, gradients = dict(zip(names, values, strict=False)), values[len(names) :]
    for what, found in (("loss", losses.values()), ("gradient", gradients)):
        if not all(math.isfinite(value) for value in found):
            raise GliodistillError(
                f"{what} is not finite",
                file=folder,
                field=f"step {step}",
                got=losses,
                hint="lower the rate, or clip more",
            )
    return losses, gradients[0]
