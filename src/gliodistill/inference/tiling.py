"""From a prepared image to logits: the whole brain in one pass if it fits, else by a sliding
window.

Windows are weighted by a Gaussian of σ = 1/8 of the window and summed (Isensee et al. 2021,
nnU-Net); positions and weights are those of MONAI's ``SlidingWindowInferer(mode="gaussian")``,
with which the tests compare it.
"""

from collections.abc import Callable, Iterator
from itertools import groupby, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sides = tuple[int, int, int]
Network = Callable[[NDArray[Any]], NDArray[np.float32]]

SIGMA = 0.125
"""Standard deviation of the window's weight, as a share of its side."""

FLOOR = 1e-3
"""Smallest weight (of 1 in the middle), so that voxels covered by one window are well defined.
"""


def padded_sides(shape: Sides, divisor: int) -> Sides:
    """``shape`` rounded up to multiples of ``divisor``."""
    x, y, z = (-(-side // divisor) * divisor for side in shape)
    return x, y, z


def whole(image: NDArray[np.uint8], network: Network, divisor: int) -> NDArray[np.float32]:
    """Logits (K X Y Z, float32) of an image (uint8 C X Y Z) in one pass.

    Zeros are added at the far sides up to multiples of ``divisor``, as in validation.
    """
    x, y, z = image.shape[1:]
    sides = padded_sides((x, y, z), divisor)
    if sides != (x, y, z):
        image = np.pad(
            image,
            [(0, 0), *((0, padded - side) for padded, side in zip(sides, (x, y, z), strict=True))],
        )
    return np.ascontiguousarray(network(image[None])[0][:, :x, :y, :z])


def by_windows(
    image: NDArray[Any], network: Network, patch: Sides, overlap: float, divisor: int = 1
) -> Iterator[NDArray[np.float32]]:
    """Logits of an image (C X Y Z, any type) from overlapping windows, a slab at a time along X.

    Args:
        image: levels, or what else the network takes; padded with 0 if smaller than a window.
        network: patches of it (B C X Y Z) → logits (B K X Y Z).
        patch: the window, voxels; rounded up to multiples of ``divisor``.
        overlap: share of the window that neighbours share, [0, 1).
        divisor: the network's input sides are multiples of it.

    Yields:
        slabs (K x Y Z, float32) that follow one another along X and make up the image.

    Memory besides the network's: K + 1 float32 maps as wide as a window.
    """
    window = padded_sides(patch, divisor)
    x, y, z = (max(side, w) for side, w in zip(image.shape[1:], window, strict=True))
    padded, (_, inner_x, inner_y, inner_z) = _pad(image, (x, y, z))
    weight = gaussian(window)
    total = np.zeros((window[0], y, z), dtype=np.float32)
    logits: NDArray[np.float32] | None = None
    columns = [
        list(places)
        for _, places in groupby(
            positions((x, y, z), window, overlap), key=lambda place: place[0].start
        )
    ]
    starts = [places[0][0].start for places in columns] + [x]
    for places, start, following in zip(columns, starts, starts[1:], strict=False):
        for place in places:
            part = network(padded[(slice(None), *place)][None])[0]
            if logits is None:
                logits = np.zeros((len(part), *total.shape), dtype=np.float32)
            for channel, values in zip(logits, part, strict=True):
                channel[:, place[1], place[2]] += values * weight
            total[:, place[1], place[2]] += weight
        assert logits is not None  # there is at least one window
        done = following - start  # these planes are complete
        wanted = slice(max(inner_x.start - start, 0), max(min(inner_x.stop - start, done), 0))
        if wanted.start < wanted.stop:
            yield np.divide(
                logits[:, wanted, inner_y, inner_z],
                total[wanted, inner_y, inner_z],
                dtype=np.float32,
            )
        for held in (logits, total[None]):
            held[:, :-done] = held[:, done:] if done < window[0] else 0
            held[:, -done:] = 0


def gaussian(window: Sides) -> NDArray[np.float32]:
    """Weight of each voxel of a window (X Y Z, float32): a separable Gaussian, 1 in the middle, at
    least ``FLOOR``.
    """
    lines = []
    for side in window:
        offset = np.arange(side) - (side - 1) / 2
        lines.append(np.exp(-(offset**2) / (2 * (SIGMA * side) ** 2)))
    x, y, z = lines
    weight = x[:, None, None] * y[None, :, None] * z[None, None, :]
    floored: NDArray[np.float32] = np.maximum(weight, FLOOR).astype(np.float32)
    return floored


def positions(shape: Sides, window: Sides, overlap: float) -> Iterator[tuple[slice, slice, slice]]:
    """Windows that cover ``shape``: steps of ``window · (1 − overlap)``, the last one flush with
    the far side.
    """
    starts = []
    for side, length in zip(shape, window, strict=True):
        step = max(1, int(length * (1 - overlap)))
        steps = -(-(side - length) // step)
        starts.append([min(i * step, side - length) for i in range(steps + 1)])
    for x, y, z in product(*starts):
        yield slice(x, x + window[0]), slice(y, y + window[1]), slice(z, z + window[2])


def _pad(image: NDArray[Any], sides: Sides) -> tuple[NDArray[Any], tuple[slice, ...]]:
    """The image padded with zeros on all sides, and its position."""
    before = [(side - old) // 2 for side, old in zip(sides, image.shape[1:], strict=True)]
    inner = (
        slice(None),
        *(slice(b, b + old) for b, old in zip(before, image.shape[1:], strict=True)),
    )
    if sides == image.shape[1:]:
        return image, inner
    padded = np.zeros((len(image), *sides), dtype=image.dtype)
    padded[inner] = image
    return padded, inner
