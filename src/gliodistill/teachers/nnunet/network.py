"""The network of nnU-Net's plans, built by its own package, and its sliding window."""

from collections.abc import Iterator
from importlib import import_module
from itertools import combinations, product
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from gliodistill.errors import CheckpointError
from gliodistill.extras import load
from gliodistill.teachers.nnunet.plans import PLANS, Plans

PACKAGE = "dynamic_network_architectures"
TRUSTED = (f"{PACKAGE}.", "torch.nn.")
"""Where classes that plans name may come from."""
STEP = 0.5
"""Step of the window, as a share of its side."""


def build(plans: Plans) -> nn.Module:
    """The network without weights, in evaluation mode.

    Raises:
        GliodistillError: its package is not installed.
        CheckpointError: plans that name another class, or arguments that do not fit.
    """
    load(PACKAGE, "a live nnU-Net teacher", extra="nnunet")
    described = plans.architecture
    options = dict(described["arch_kwargs"])
    for key in described["imported"]:
        if options.get(key) is not None:
            options[key] = _named(str(options[key]), plans)
    options["deep_supervision"] = False
    kind = _named(described["network_class_name"], plans)
    try:
        network: nn.Module = kind(
            input_channels=len(plans.sequences), num_classes=plans.outputs.count, **options
        )
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise CheckpointError(
            "cannot build the network of the plans",
            file=plans.folder / PLANS,
            field="architecture",
            got=f"{type(error).__name__}: {error}",
        ) from error
    return network.eval().requires_grad_(False)


def _named(path: str, plans: Plans) -> Any:
    """A class by its dotted path, from packages that are trusted."""
    module, _, name = path.rpartition(".")
    if path.startswith(TRUSTED):
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError):
            pass  # named below, as a class that is not there
    raise CheckpointError(
        "plans name a class that is not opened",
        file=plans.folder / PLANS,
        field="architecture",
        got=path,
        expected=f"one of {' or '.join(TRUSTED)}…",
        hint="use its predictions: {files: FOLDER}",
    )


@torch.inference_mode()
def by_windows(
    network: nn.Module, image: Tensor, plans: Plans, mirror_axes: tuple[int, ...] = ()
) -> Tensor:
    """Logits (K and the image's grid) as nnU-Net's predictor gives them, in half precision as its
    sums are.

    Args:
        network: on the device to use.
        image: C and the prepared grid, float32.
        plans: of the network.
        mirror_axes: for the mean of logits over all mirrorings of these axes.
    """
    device = next(network.parameters()).device
    padding = [max(side - own, 0) for side, own in zip(plans.patch, image.shape[1:], strict=True)]
    low = [amount // 2 for amount in padding]
    ends = [(a, p - a) for a, p in zip(low, padding, strict=True)]
    padded = nn.functional.pad(image, [amount for pair in reversed(ends) for amount in pair])
    weight = _gaussian(plans.patch)
    total = torch.zeros((plans.outputs.count, *padded.shape[1:]), dtype=torch.half)
    weights = torch.zeros(padded.shape[1:], dtype=torch.half)
    flips: list[tuple[int, ...]] = [
        axes for n in range(1, len(mirror_axes) + 1) for axes in combinations(mirror_axes, n)
    ]
    with torch.autocast(device.type, enabled=device.type == "cuda"):
        for place in _windows(padded.shape[1:], plans.patch):
            window = padded[(slice(None), *place)][None].contiguous().to(device)
            logits = network(window)
            for axes in flips:
                dims = [axis + 2 for axis in axes]
                logits += torch.flip(network(torch.flip(window, dims)), dims)
            logits = (logits / (len(flips) + 1))[0].cpu() * weight
            total[(slice(None), *place)] += logits
            weights[place] += weight
    total /= weights
    inner = tuple(slice(a, a + n) for a, n in zip(low, image.shape[1:], strict=True))
    return total[(slice(None), *inner)]


def _gaussian(patch: tuple[int, int, int]) -> Tensor:
    """Weight of each voxel of a window: a Gaussian of an eighth of its sides, 10 at its centre."""
    impulse = np.zeros(patch)
    impulse[tuple(side // 2 for side in patch)] = 1
    weight = gaussian_filter(impulse, [side / 8 for side in patch], 0, mode="constant", cval=0)
    weight /= weight.max() / 10
    half = torch.from_numpy(weight).to(torch.half)
    half[half == 0] = half[half > 0].min()
    return half


def _windows(
    shape: tuple[int, ...], patch: tuple[int, int, int]
) -> Iterator[tuple[slice, slice, slice]]:
    """Yield windows at even distances of at most half of their sides."""
    starts = []
    for side, length in zip(shape, patch, strict=True):
        count = int(np.ceil((side - length) / (length * STEP))) + 1
        step = (side - length) / (count - 1) if count > 1 else 0
        starts.append([round(step * i) for i in range(count)])
    for x, y, z in product(*starts):
        yield (
            slice(x, x + patch[0]),
            slice(y, y + patch[1]),
            slice(z, z + patch[2]),
        )
