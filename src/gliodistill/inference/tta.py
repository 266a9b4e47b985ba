"""Test-time augmentation: mirrorings, and a network whose answer is their mean."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.logits import NEVER, probabilities

AXES = "xyz"
"""Names of the prepared grid's axes: left–right, back–front, down–up."""

Flip = tuple[int, ...]
"""Axes mirrored, 0 to 2."""

UNFLIPPED: tuple[Flip, ...] = ((),)
"""One look, as it is."""


def parse_flips(text: str) -> tuple[Flip, ...]:
    """Every combination of the axes named: ``none`` → 1, ``x`` → 2, ``xy`` → 4, ``all`` (= ``xyz``)
    → 8.

    Raises:
        PackageError: anything else.
    """
    axes = {"none": "", "all": AXES}.get(text, text)
    if not set(axes) <= set(AXES) or len(set(axes)) < len(axes) or not text:
        raise PackageError(
            "no such flips",
            field="flips",
            got=text,
            expected="none, all, or some of x, y, z, e.g. xy",
        )
    numbers = sorted(AXES.index(axis) for axis in axes)
    return tuple(flip for count in range(len(numbers) + 1) for flip in combinations(numbers, count))


def mirrored(
    network: Callable[[NDArray[np.uint8]], NDArray[np.float32]], flips: tuple[Flip, ...]
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A network that looks at each image (levels, B C X Y Z) in every mirroring: logits of the mean
    probability.

    Every pass of the network is mirrored by itself, be it the whole brain or a window, as nnU-Net
    does it (Isensee et al. 2021): the memory is that of one look and one more map.

    Args:
        network: levels → logits of independent regions (B K X Y Z).
        flips: the looks, all of one weight.
    """

    def look(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        total: NDArray[np.float32] | None = None
        for flip in flips:
            axes = tuple(axis + 2 for axis in flip)
            seen = np.flip(probabilities(network(np.ascontiguousarray(np.flip(image, axes)))), axes)
            total = np.ascontiguousarray(seen) if total is None else np.add(total, seen, out=total)
        assert total is not None  # there is always a look
        total /= len(flips)
        np.clip(total, NEVER, 1 - NEVER, out=total)
        logits: NDArray[np.float32] = np.log(total / (1 - total))
        return logits

    return look
