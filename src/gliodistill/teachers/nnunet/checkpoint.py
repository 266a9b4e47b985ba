"""nnU-Net's checkpoints: weights and facts of one fold."""

from pathlib import Path
from typing import Any

import torch

from gliodistill.errors import CheckpointError
from gliodistill.teachers.state import plain_name, read_numbers


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Weights and facts of one fold.

    Returns:
        ``network_weights`` (name → tensor), ``trainer_name``, ``configuration``, and
        ``mirror_axes``.

    Raises:
        CheckpointError: missing or damaged, or a pickle that asks for more than numbers.
    """
    found = read_numbers(file)
    weights = found.get("network_weights") if isinstance(found, dict) else None
    arguments = found.get("init_args") if isinstance(found, dict) else None
    if (
        not isinstance(weights, dict)
        or not all(isinstance(value, torch.Tensor) for value in weights.values())
        or not isinstance(arguments, dict)
        or not isinstance(arguments.get("configuration"), str)
    ):
        raise CheckpointError(
            "not a checkpoint of nnU-Net v2",
            file=file,
            got=", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__,
            expected="network_weights, init_args",
        )
    axes = found.get("inference_allowed_mirroring_axes") or ()
    return {
        "network_weights": {plain_name(name): value for name, value in weights.items()},
        "trainer_name": str(found.get("trainer_name")),
        "configuration": arguments["configuration"],
        "mirror_axes": tuple(int(axis) for axis in axes),
    }
