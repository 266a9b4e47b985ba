"""Pickled checkpoints read without running code: numbers only, with no fallback."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gliodistill.errors import CheckpointError

HOLDERS = ("network_weights", "state_dict", "model", "model_state_dict")
"""Keys below which trainers keep the weights."""
SCALARS = ("f2", "f4", "f8", "i4", "i8", "?")
"""NumPy types of the numbers that trainers log beside the weights."""


def _allowed() -> list[Any]:
    """Beside tensors: NumPy's scalars, under the names of NumPy 1 and 2."""
    home = "numpy._core" if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else "numpy.core"
    scalar = import_module(f"{home}.multiarray").scalar
    names = [f"{package}.multiarray.scalar" for package in ("numpy.core", "numpy._core")]
    return [*((scalar, name) for name in names), np.dtype, *(type(np.dtype(k)) for k in SCALARS)]


def read_numbers(file: Path) -> Any:
    """What ``torch.save`` wrote, if it is numbers, tensors, texts and containers of these.

    Raises:
        CheckpointError: missing or damaged, a TorchScript program, or a pickle that asks for more.
    """
    if not file.is_file():
        raise CheckpointError("no checkpoint", file=file)
    if _is_program(file):
        raise CheckpointError(
            "a TorchScript archive is a program and is not opened",
            file=file,
            expected="weights",
            hint="export it to ONNX where you trust it, and take {onnx: FILE}",
        )
    try:
        with torch.serialization.safe_globals(_allowed()):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "checkpoint holds more than numbers and is not opened, because it could run code",
            file=file,
            got=_asked_for(str(error)),
            hint="where you trust the file, save its weights alone, as safetensors",
        ) from None
    except Exception as error:  # a damaged archive has errors of many kinds
        raise CheckpointError("cannot read the checkpoint", file=file, got=_first(error)) from error


def read_weights(file: Path) -> dict[str, Tensor]:
    """A state dict, from safetensors or from ``torch.save``; there it may lie below one of
    ``HOLDERS``.

    Raises:
        CheckpointError: as :func:`read_numbers`, or no weights in it.
    """
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(
                "cannot read the weights", file=file, got=_first(error)
            ) from error
    found = read_numbers(file)
    held = next((found[h] for h in HOLDERS if isinstance(found, dict) and h in found), found)
    if not isinstance(held, Mapping) or not all(isinstance(v, Tensor) for v in held.values()):
        raise CheckpointError(
            "no state dict",
            file=file,
            got=", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__,
            expected=f"tensors by name, or below {', '.join(HOLDERS)}",
        )
    return {plain_name(name): value for name, value in held.items()}


def load_state(network: nn.Module, weights: Mapping[str, Tensor], file: Path) -> nn.Module:
    """Load weights that fit exactly; the network is frozen, in evaluation mode.

    Raises:
        CheckpointError: they are of another network.
    """
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise CheckpointError(
            "weights are not of the described network",
            file=file,
            got=" ".join(str(error).split())[:200],
            hint="if the network is another one, use its predictions: {files: FOLDER}",
        ) from error
    return network.eval().requires_grad_(False)


def plain_name(name: str) -> str:
    """Without what compilation and parallel training put before it."""
    return str(name).removeprefix("module.").removeprefix("_orig_mod.")


def _asked_for(words: str) -> str:
    """What the pickle wanted to import."""
    found = re.search(r"GLOBAL (\S+)", words)
    return found[1] if found else "a pickle that torch.save did not write"


def _is_program(file: Path) -> bool:
    """Whether it is an archive of TorchScript, which has constants beside the weights."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:  # the older format of torch.save, or damaged
        return False


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
