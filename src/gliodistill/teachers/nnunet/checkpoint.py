"""nnU-Net's checkpoints, read without running code: numbers only, with no fallback."""

import pickle
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gliodistill.errors import CheckpointError

SCALARS = ("f2", "f4", "f8", "i4", "i8", "?")
"""NumPy types of the numbers that nnU-Net logs beside the weights."""


def _allowed() -> list[Any]:
    """Beside tensors: NumPy's scalars, under the names of NumPy 1 and 2."""
    home = "numpy._core" if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else "numpy.core"
    scalar = import_module(f"{home}.multiarray").scalar
    names = [f"{package}.multiarray.scalar" for package in ("numpy.core", "numpy._core")]
    return [*((scalar, name) for name in names), np.dtype, *(type(np.dtype(k)) for k in SCALARS)]


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Weights and facts of one fold.

    Returns:
        ``network_weights`` (name → tensor), ``trainer_name``, ``configuration``, and
        ``mirror_axes``.

    Raises:
        CheckpointError: missing or damaged, or a pickle that asks for more than numbers.
    """
    if not file.is_file():
        raise CheckpointError("no checkpoint", file=file, hint="choose checkpoint: best or final")
    try:
        with torch.serialization.safe_globals(_allowed()):
            found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "checkpoint holds more than numbers and is not opened, because it could run code",
            file=file,
            got=_asked_for(str(error)),
            hint="save network_weights, init_args and trainer_name alone where you trust the file",
        ) from None
    except Exception as error:  # a damaged archive has errors of many kinds
        raise CheckpointError("cannot read the checkpoint", file=file, got=_first(error)) from error
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
        "network_weights": {_plain(name): value for name, value in weights.items()},
        "trainer_name": str(found.get("trainer_name")),
        "configuration": arguments["configuration"],
        "mirror_axes": tuple(int(axis) for axis in axes),
    }


def _plain(name: str) -> str:
    """Without what compilation and parallel training put before it."""
    return str(name).removeprefix("module.").removeprefix("_orig_mod.")


def _asked_for(words: str) -> str:
    """What the pickle wanted to import."""
    lines = [line.strip() for line in words.splitlines() if "GLOBAL" in line or "global" in line]
    return (lines or [words.splitlines()[0]])[0]


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
