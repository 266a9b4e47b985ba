"""The weights of a package as torch has them."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from gliodistill.errors import GliodistillError, PackageError
from gliodistill.models.spec import NetworkSpec
from gliodistill.networks import Network, build


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
        network = build(described.name, **described.options)
        network.strip()
        network.load_state_dict(load_file(path))
    except (GliodistillError, SafetensorError, RuntimeError) as error:
        raise PackageError(
            "weights do not fit the network", file=path.parent, field="network", got=error
        ) from error
    return network.eval()
