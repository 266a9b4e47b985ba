"""The training loop, top to bottom.

One step: cut patches (ahead, in a thread) → losses of the method → backward → clip → optimiser →
moving average. Everything that decides the next step is in the checkpoint, so a run that is killed
goes on as if it never was: bitwise on a processor with the same number of threads and the same
versions. With other thread counts (``OMP_NUM_THREADS``, another machine) or on a GPU sums are added
up in another order, and the run goes on equally well but not bit for bit.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as Ordered
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gliodistill.documents import Fields, Refusal, read_json_lines
from gliodistill.errors import CheckpointError, GliodistillError
from gliodistill.files import make_folder, remove_leftovers, write_text, writing
from gliodistill.networks import Network, default_precision
from gliodistill.preparation.cache import CachedStudy
from gliodistill.training.checkpoint import (
    read_checkpoint,
    read_tensors,
    weights_hash,
    write_checkpoint,
    write_tensors,
)
from gliodistill.training.losses import Outputs
from gliodistill.training.methods import Method, frozen_in, learners_of
from gliodistill.training.recipe import TrainingPart
from gliodistill.training.sampling import Batch, PatchSampler
from gliodistill.training.statistics import take_statistics
from gliodistill.training.validation import mean_dice, validate

Net = TypeVar("Net", bound=nn.Module)
LAST, BEST, LOG = "last.safetensors", "best.safetensors", "log.jsonl"
NO_LOG = Refusal(CheckpointError, "not the log of a run", "remove it, or train the run again")
NO_STATE = Refusal(CheckpointError, "not the state of a run", "train the run again")


@dataclass
class Progress:
    """Where a run is; goes into the checkpoint and to whoever watches.

    Attributes:
        step: steps done.
        best: best mean validation Dice so far; −1 before the first.
        seconds: of training, validation and saving; those of earlier sittings too.
        loss: of the last step; NaN before the first.
    """

    step: int = 0
    best: float = -1.0
    seconds: float = 0.0
    loss: float = math.nan


def run_device(part: TrainingPart) -> torch.device:
    """The device a run trains on."""
    if part.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(part.device)


def run_precision(part: TrainingPart, device: torch.device) -> torch.dtype:
    """The arithmetic of convolutions: bfloat16 where the device multiplies it in hardware, unless
    the recipe says.
    """
    return default_precision(device) if part.precision == "auto" else getattr(torch, part.precision)


def learning_rate(part: TrainingPart, step: int) -> float:
    """The rate of step ``step`` (0 is the first): linear warm-up times polynomial decay towards 0."""
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


def train_run(
    method: Method,
    sampler: PatchSampler,
    validation: list[CachedStudy],
    part: TrainingPart,
    outputs: Outputs,
    channels: Ordered[int],
    folder: Path,
    watch: Callable[[Progress], None] = lambda progress: None,
    kept: Ordered[tuple[float, Network]] = (),
    plain: PatchSampler | None = None,
) -> dict[str, Any]:
    """Train the method's networks in ``folder``, going on from the last checkpoint if there is one.

    Args:
        method: owns the student (already built), whoever learns beside it, and the losses.
        sampler: batches by step number.
        validation: labelled studies for the whole-volume Dice; may be empty (then the last weights
        are the best).
        part: schedule and arithmetic.
        outputs: what the logits mean.
        channels: of the studies' sequences, those that the student takes.
        folder: gets ``last.safetensors``, ``best.safetensors`` (the moving averages where the
            student validated best; the student's is exported) and ``log.jsonl``.
        watch: called after each step.
        kept: shares, below 1 in all, and networks like the student whose weights have them in what
        is validated and exported.
        plain: patches for ``part.statistics``.

    Returns:
        the summary: steps, seconds, best validation Dice and its step, hash of the last moving
            average with what is kept.

    Raises:
        GliodistillError: the loss or its gradient is not finite; the last checkpoint stays.
        CheckpointError: the last checkpoint is damaged or of another network.
        OutputError: ``folder`` cannot be written.
    """
    device = run_device(part)
    dtype = run_precision(part, device)
    learners = learners_of(method)
    learning = _ready(nn.ModuleDict(learners), device).train()
    for teacher in frozen_in(method):
        _ready(teacher, device)
    optimiser = build_optimiser(part, learning)
    average = {name: tensor.detach().clone() for name, tensor in learning.state_dict().items()}
    progress = Progress()
    make_folder(folder)
    remove_leftovers(folder)
    if (folder / LAST).exists():
        facts = read_checkpoint(folder / LAST, learning, average, optimiser)
        told = Fields(facts, NO_STATE.of(folder / LAST))
        progress = Progress(told.whole("step"), told.number("best"), told.number("seconds"))
        if progress.step > part.steps:
            raise CheckpointError(
                "checkpoint is beyond the recipe",
                file=folder / LAST,
                got=progress.step,
                expected=f"at most {part.steps} steps",
            )
    if part.compile:
        for network in learners.values():
            network.compile()

    @lru_cache(maxsize=1)
    def settled(step: int) -> dict[str, Tensor]:
        """What is validated and exported of the moving average after ``step``; statistics are taken
        once.
        """
        weights = _share(average, kept)
        return (
            weights
            if plain is None
            else _with_statistics(
                method.student, weights, plain.batches(0, part.statistics, 0), dtype
            )
        )

    with _Log(folder, progress.step, part.tensorboard) as log:
        clock = time.perf_counter()
        for batch in sampler.batches(progress.step, part.steps, part.prefetch):
            rate = learning_rate(part, progress.step)
            for group in optimiser.param_groups:
                group["lr"] = rate
            batch = batch.to(device)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                terms = method.losses(batch)
            terms |= {
                f"{role}_penalty": network.penalty
                for role, network in learners.items()
                if network.penalty is not None
            }
            loss = torch.stack([term.float() for term in terms.values()]).sum()
            _check_finite("loss", loss, terms, folder, progress.step + 1)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            # Each network by itself: a teacher that learns beside the student must not shorten its
            # step.
            norms = {
                role: torch.nn.utils.clip_grad_norm_(network.parameters(), part.clip)
                for role, network in learners.items()
            }
            norm = torch.stack(list(norms.values())).norm()
            _check_finite("gradient", norm, terms, folder, progress.step + 1)
            optimiser.step()
            progress.step += 1
            _follow(average, learning, min(part.ema, progress.step / (progress.step + 9)))

            line: dict[str, Any] = {
                "step": progress.step,
                "rate": rate,
                "loss": _floats(terms),
                "gradient_norm": float(norms["student"]),
            }
            last = progress.step == part.steps
            if validation and (last or progress.step % part.validate_every == 0):
                line["dice"] = mean_dice(
                    _validate_average(
                        method.student, settled(progress.step), validation, outputs, dtype, channels
                    )
                )
            progress.loss = float(loss.detach())
            before, clock = clock, time.perf_counter()
            progress.seconds += clock - before
            line["seconds"] = round(progress.seconds, 3)
            log.write(line)
            better = "dice" in line and line["dice"]["mean"] > progress.best
            if better or (last and not validation):
                progress.best = line["dice"]["mean"] if better else progress.best
                write_tensors(
                    folder / BEST,
                    settled(progress.step),
                    {"step": progress.step, "dice": line.get("dice")},
                )
            if last or progress.step % part.save_every == 0:
                facts = {"step": progress.step, "best": progress.best, "seconds": progress.seconds}
                write_checkpoint(folder / LAST, learning, average, optimiser, facts)
            watch(progress)
    _, best = read_tensors(folder / BEST)
    return {
        "steps": progress.step,
        "dice": best["dice"],
        "best_step": best["step"],
        "seconds": round(progress.seconds, 1),
        "weights_sha256": weights_hash(settled(progress.step)),
        "device": device.type,
        "precision": str(dtype).removeprefix("torch."),
    }


def _ready(network: Net, device: torch.device) -> Net:
    """On the device, in the memory format that makes 3-D convolutions fast."""
    return network.to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]


def _check_finite(
    what: str, value: Tensor, terms: dict[str, Tensor], folder: Path, step: int
) -> None:
    if not torch.isfinite(value):
        raise GliodistillError(
            f"{what} is not finite",
            file=folder,
            field=f"step {step}",
            got=_floats(terms),
            hint="lower the rate, or clip more",
        )


@torch.no_grad()
def _follow(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    """Move the average towards the weights, and its running statistics (those of ten batches)
    towards theirs; counters are copied.
    """
    state = network.state_dict()
    names = [name for name in average if state[name].is_floating_point()]
    torch._foreach_lerp_([average[n] for n in names], [state[n] for n in names], 1 - decay)
    for name in average.keys() - set(names):
        average[name].copy_(state[name])


def _share(average: dict[str, Tensor], kept: Ordered[tuple[float, Network]]) -> dict[str, Tensor]:
    """The average, the student's weights and running statistics with shares of those of other
    networks.

    Between a network and what it becomes by going on from its weights lies no hill of the loss, nor
    between two that went on from the same; on the way, what is learnt anew outweighs what is
    forgotten (Wortsman et al. 2022, arXiv:2109.01903 and arXiv:2203.05482).
    """
    result = dict(average)
    own = 1 - sum(share for share, _ in kept)
    states = [(share, network.state_dict(prefix="student.")) for share, network in kept]
    if states:
        for name, tensor in average.items():
            if name.startswith("student.") and tensor.is_floating_point():
                result[name] = sum(
                    (share * state[name].to(tensor) for share, state in states), own * tensor
                )
    return result


def _validate_average(
    student: Network,
    average: dict[str, Tensor],
    studies: list[CachedStudy],
    outputs: Outputs,
    dtype: torch.dtype,
    channels: Ordered[int],
) -> dict[str, dict[str, float]]:
    """Validate the student's moving average."""
    with _wearing(student, average):
        return validate(student, studies, outputs, dtype, channels)


def _with_statistics(
    student: Network, average: dict[str, Tensor], batches: Iterable[Batch], dtype: torch.dtype
) -> dict[str, Tensor]:
    """The average with the statistics that its batch norms take of ``batches``."""
    with _wearing(student, average):
        take_statistics(student, batches, dtype)
        taken = {
            f"student.{name}": tensor.detach().clone()
            for name, tensor in student.state_dict().items()
        }
    return {**average, **taken}


@contextmanager
def _wearing(student: Network, average: dict[str, Tensor]) -> Iterator[None]:
    """The student with the average's weights; then its own again, bit for bit."""
    own = {name: tensor.detach().clone() for name, tensor in student.state_dict().items()}
    student.load_state_dict({name: average[f"student.{name}"] for name in own})
    try:
        yield
    finally:
        student.load_state_dict(own)


class _Log:
    """One line of JSON a step in ``log.jsonl``, and TensorBoard where it is wanted.

    Args:
        folder: of the run.
        step: lines after it are dropped: they will be written again.
        tensorboard: whether to write for TensorBoard too.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool) -> None:
        self.path = folder / LOG
        lines = read_json_lines(self.path, NO_LOG) if self.path.exists() else []
        kept = [line for line in lines if Fields(line, NO_LOG.of(self.path)).whole("step") <= step]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._board = _tensorboard(folder, step) if tensorboard else None
        with writing(self.path):
            self._file = self.path.open("a", buffering=1)

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, line: dict[str, Any]) -> None:
        """Add the line of one step."""
        with writing(self.path):
            self._file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for group in ("loss", "dice"):
                for name, value in line.get(group, {}).items():
                    self._board.add_scalar(f"{group}/{name}", value, line["step"])
            self._board.add_scalar("rate", line["rate"], line["step"])


def _floats(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(term.detach()) for name, term in terms.items()}


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise GliodistillError(
            "TensorBoard is not installed",
            field="training.tensorboard",
            hint="pip install tensorboard, or leave it off",
        ) from error
    return SummaryWriter(folder / "tensorboard", purge_step=step + 1)
