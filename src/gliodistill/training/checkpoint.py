"""Checkpoints: one safetensors file, whole or absent, that holds everything a run needs to go on bitwise.

Patches are a function of seed and step, so the state is: weights and buffers, the optimiser's moments, the moving
average, torch's generators, and a few numbers. Nothing is pickled. The digest of the tensors is in the header.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gliodistill.errors import CheckpointError
from gliodistill.files import atomic_file
from gliodistill.networks import Network

FORMAT = "gliodistill-checkpoint-1"


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON-able ``facts`` into one file, atomically."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {"format": FORMAT, "sha256": weights_hash(plain), "facts": json.dumps(facts)}
    with atomic_file(path) as temporary:
        save_file(plain, temporary, metadata=header)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote.

    Raises:
        CheckpointError: no such file, not a checkpoint, or its bytes changed.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            header = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (a handle, not a mapping)
    except (OSError, SafetensorError) as error:
        raise CheckpointError("cannot read the checkpoint", file=path, got=error, hint="train the run again") from error
    if header.get("format") != FORMAT:
        raise CheckpointError("not a checkpoint of this version", file=path, got=header.get("format"), expected=FORMAT)
    if header.get("sha256") != weights_hash(tensors):
        raise CheckpointError("checkpoint bytes changed", file=path, expected=f"sha256 {header.get('sha256')}", hint="train the run again")
    return tensors, json.loads(header["facts"])


def write_checkpoint(
    path: Path, network: Network, average: Mapping[str, Tensor], optimiser: torch.optim.Optimizer, facts: Mapping[str, Any]
) -> None:
    """Write the whole state of a run; ``facts`` holds step, best score, …"""
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"average/{name}": tensor for name, tensor in average.items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{name}": tensor for name, tensor in moments.items() if isinstance(tensor, Tensor)}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    write_tensors(path, tensors, facts)


def read_checkpoint(path: Path, network: Network, average: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Put a run's state back in place; returns its facts.

    Raises:
        CheckpointError: as :func:`read_tensors`, or the checkpoint is of another network.
    """
    tensors, facts = read_tensors(path)
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimiser": {}, "random": {}}
    for name, tensor in tensors.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = tensor
    load_weights(network, groups["network"], path)
    for name, tensor in groups["average"].items():
        average[name].copy_(tensor)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in groups["optimiser"].items():
        index, _, key = name.partition("/")
        moments.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    torch.set_rng_state(groups["random"]["cpu"])
    if "cuda" in groups["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(groups["random"]["cuda"])
    return facts


def load_weights(network: Network, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights that must fit exactly.

    Raises:
        CheckpointError: a weight is missing, unknown or of another shape.
    """
    own = network.state_dict()
    differing = sorted(set(own) ^ set(weights)) or [n for n in own if own[n].shape != weights[n].shape]
    if differing:
        raise CheckpointError("weights of another network", file=path, field=differing[0], got=f"{len(differing)} weights that differ")
    network.load_state_dict(dict(weights))
