"""The processes of a data-parallel training, as ``torchrun`` starts them: ranks.

Each rank takes its part of every batch. Sums that a loss or a norm takes over the batch are taken
over all ranks (:func:`over_ranks`), with their gradients; gradients of the weights are then
averaged. Without ``torchrun`` there is one rank, and nothing here does anything.
"""

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gliodistill.errors import GliodistillWarning

PATIENCE = timedelta(days=7)
"""How long ranks wait for one that prepares, validates or saves."""
_together = False


def world() -> int:
    """Number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def count() -> int:
    """Number of ranks that share batches now; 1 outside :func:`together`."""
    return world() if _together else 1


def rank() -> int:
    """This process, counted from 0."""
    if dist.is_initialized():
        return dist.get_rank()
    return int(os.environ["RANK"]) if started() else 0


def leads() -> bool:
    """Whether this process writes and reports for all."""
    return rank() == 0


def started() -> bool:
    """Whether ``torchrun`` has started this process, and others."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined() -> Iterator[None]:
    """Within the block, this process can reach the others that ``torchrun`` has started."""
    if not started() or dist.is_initialized():
        yield
        return
    if rank() > 0:  # the first tells them
        warnings.simplefilter("ignore", GliodistillWarning)
    if torch.cuda.is_available():
        torch.cuda.set_device(local_device())
    # Of both devices: gradients may lie on GPUs, flags on processors.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                            timeout=PATIENCE)  # fmt: skip
    try:
        yield
    finally:
        dist.destroy_process_group()


def local_device() -> torch.device:
    """The GPU of this rank."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def together(value: bool = True) -> Iterator[None]:
    """Within the block, ranks share batches; all run the same code."""
    global _together
    before, _together = _together, value
    try:
        yield
    finally:
        _together = before


def alone() -> AbstractContextManager[None]:
    """Within the block, this rank works by itself, e.g. to validate."""
    return together(False)


def wait() -> None:
    """Wait until all ranks are here."""
    if world() > 1:
        dist.all_reduce(torch.zeros(1))


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def over_ranks(values: Tensor) -> Tensor:
    """The sum over ranks, with gradient.

    What is computed from it is the same on every rank, and once gradients of the weights are
    averaged over ranks, its gradient is that of one process with the whole batch.
    """
    if count() == 1:
        return values
    # Collectives stay outside compiled graphs.
    summed: Tensor = torch.compiler.disable(_Sum.apply)(values)  # type: ignore[no-untyped-call]
    return summed


def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean over ranks, without gradient."""
    return values if count() == 1 else over_ranks(values.detach()) / count()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients over ranks; one that no rank has stays absent."""
    if count() == 1:
        return
    every = list(parameters)
    there = torch.tensor([float(p.grad is not None) for p in every], device=every[0].device)
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1).float() for p in every]
    flat = mean_over_ranks(torch.cat([there, *parts]))
    there, values = flat[: len(every)], flat[len(every) :]
    sizes = [parameter.numel() for parameter in every]
    for p, has, mean in zip(every, there.tolist(), torch.split(values, sizes), strict=True):
        if has:
            p.grad = torch.empty_like(p) if p.grad is None else p.grad
            p.grad.copy_(mean.view(p.shape))


def same_everywhere(network: nn.Module) -> None:
    """Give every rank the weights and buffers of the first."""
    if count() > 1:
        for tensor in network.state_dict().values():
            held = tensor.contiguous()
            dist.broadcast(held, 0)
            tensor.copy_(held)
