"""Checkpoints: one safetensors file, written atomically, with the complete state of a run.

A resumed run is bit-identical. Patches are a function of seed and step, so the state is: weights
and buffers, the optimiser's moments, the EMA, torch's generators, and a few numbers. Nothing is
pickled. Digests of the tensors and of the numbers are in the header.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gliodistill import __version__
from gliodistill.documents import Refusal, parse_json
from gliodistill.errors import CheckpointError, OutputError
from gliodistill.files import atomic_file

FORMAT = "gliodistill-checkpoint-2"
_NO_FACTS = Refusal(CheckpointError, "checkpoint is damaged", "train the run again", field="facts")


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON-able ``facts`` into one file, atomically.

    Raises:
        OutputError: the folder is not writable, or the disk is full; the earlier file is kept.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(facts)
    header = {
        "format": FORMAT,
        "version": __version__,
        "sha256": weights_hash(plain),
        "facts": text,
        "facts_sha256": _digest(text),
    }
    with atomic_file(path) as temporary:
        try:
            save_file(plain, temporary, metadata=header)
        except SafetensorError as error:  # how safetensors reports system errors
            raise OutputError(
                "cannot write",
                file=path,
                got=error,
                hint="check the folder, its permissions and free space",
            ) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote: tensors and facts.

    Raises:
        CheckpointError: no such file, not a checkpoint, or its bytes changed.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            header = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (a handle, not a mapping)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            "cannot read the checkpoint", file=path, got=error, hint="train the run again"
        ) from error
    if header.get("format") != FORMAT:
        raise CheckpointError(
            "not a checkpoint of this version",
            file=path,
            got=f"{header.get('format')} of gliodistill {header.get('version', 'unknown')}",
            expected=FORMAT,
            hint="continue with the version that wrote it, or train the run again",
        )
    if header.get("sha256") != weights_hash(tensors):
        raise CheckpointError(
            "checkpoint bytes changed",
            file=path,
            expected=f"sha256 {header.get('sha256')}",
            hint="train the run again",
        )
    text = header.get("facts", "")
    if header.get("facts_sha256") != _digest(text):
        raise CheckpointError(
            "checkpoint bytes changed",
            file=path,
            field="facts",
            got=text[:80],
            hint="train the run again",
        )
    facts: dict[str, Any] = parse_json(text, _NO_FACTS.of(path))
    return tensors, facts


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_checkpoint(
    path: Path,
    network: nn.Module,
    average: Mapping[str, Tensor],
    optimiser: torch.optim.Optimizer,
    facts: Mapping[str, Any],
) -> None:
    """Write the whole state of a run.

    Args:
        path: the file.
        network: weights and running statistics.
        average: its EMA, by the same names.
        optimiser: its moments.
        facts: step, best score, seconds and other values for JSON.

    Raises:
        OutputError: as :func:`write_tensors`.
    """
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"average/{name}": tensor for name, tensor in average.items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {
            f"optimiser/{index}/{name}": tensor
            for name, tensor in moments.items()
            if isinstance(tensor, Tensor)
        }
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    write_tensors(path, tensors, facts)


def read_checkpoint(
    path: Path, network: nn.Module, average: dict[str, Tensor], optimiser: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore a run's state, including torch's generators; returns its facts.

    Raises:
        CheckpointError: as :func:`read_tensors`, or the checkpoint is of another network or
            optimiser.
    """
    tensors, facts = read_tensors(path)
    try:
        _restore(path, tensors, network, average, optimiser)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            "checkpoint does not hold the state of this run",
            file=path,
            got=error,
            hint="train the run again",
        ) from error
    return facts


def _restore(
    path: Path,
    tensors: Mapping[str, Tensor],
    network: nn.Module,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Copy tensors to their targets by name."""
    groups: dict[str, dict[str, Tensor]] = {
        "network": {},
        "average": {},
        "optimiser": {},
        "random": {},
    }
    for name, tensor in tensors.items():
        group, _, rest = name.partition("/")
        groups.get(group, {})[rest] = tensor
    load_weights(network, groups["network"], path)
    if differing := set(average) ^ set(groups["average"]):
        raise CheckpointError("EMA of another network", file=path, field=min(differing))
    for name, tensor in groups["average"].items():
        average[name].copy_(tensor)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in groups["optimiser"].items():
        index, _, key = name.partition("/")
        if not 0 <= int(index) < len(parameters):
            raise CheckpointError(
                "optimiser of another network",
                file=path,
                field=name,
                expected=f"{len(parameters)} parameters",
            )
        # In the parameter's memory format: another one is slower and may round differently.
        like = parameters[int(index)]
        same = tensor.shape == like.shape
        moments.setdefault(int(index), {})[key] = (
            torch.empty_like(like, dtype=tensor.dtype).copy_(tensor) if same else tensor
        )
    optimiser.load_state_dict(
        {"state": moments, "param_groups": optimiser.state_dict()["param_groups"]}
    )
    torch.set_rng_state(groups["random"]["cpu"])
    if "cuda" in groups["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(groups["random"]["cuda"])


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights that fit exactly.

    Raises:
        CheckpointError: a weight is missing, unknown or of another shape.
    """
    own = network.state_dict()
    differing = sorted(set(own) ^ set(weights)) or [
        n for n in own if own[n].shape != weights[n].shape
    ]
    if differing:
        raise CheckpointError(
            "weights of another network",
            file=path,
            field=differing[0],
            got=f"{len(differing)} weights that differ",
        )
    network.load_state_dict(dict(weights))
