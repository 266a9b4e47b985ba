"""The weights of a package for torch."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from gliodistill.errors import GliodistillError, PackageError
from gliodistill.models.spec import NetworkSpec
from gliodistill.networks import Network, build

_UNFIT = (
    GliodistillError,
    SafetensorError,
    AttributeError,
    KeyError,
    MemoryError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Exceptions of torch, safetensors and networks for invalid descriptions and files."""


def weights_as_bytes(network: nn.Module) -> bytes:
    """The weights in safetensors' form; equal weights give equal bytes."""
    return save(
        {name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}
    )


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def load_network(path: Path, described: NetworkSpec) -> Network:
    """The network of that description with the weights of a safetensors file, stripped as export
    does, in evaluation mode.

    Raises:
        PackageError: the network is not known here, or the weights do not fit it.
    """
    try:
        with torch.device("meta"):  # no memory is allocated for an unchecked description
            claimed = build(described.name, **described.options)
            claimed.strip()
        weights = load_file(path)
        shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        wanted = {name: tuple(tensor.shape) for name, tensor in claimed.state_dict().items()}
        if differing := sorted(
            name for name in shapes | wanted if shapes.get(name) != wanted.get(name)
        ):
            name = differing[0]
            raise PackageError(
                "weights do not fit the network",
                file=path.parent,
                field=name,
                got=shapes.get(name, "nothing"),
                expected=wanted.get(name, "nothing"),
            )
        network = build(described.name, **described.options)
        network.strip()
        network.load_state_dict(weights)
    except PackageError:
        raise
    except _UNFIT as error:
        raise PackageError(
            "weights do not fit the network", file=path.parent, field="network", got=error
        ) from error
    return network.eval()
