"""Test-time augmentation (TTA) by mirroring: the mean prediction over mirrored inputs."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.logits import NEVER, probabilities

AXES = "xyz"
"""Names of the prepared grid's axes: left–right, back–front, down–up."""

Mirroring = tuple[int, ...]
"""Mirrored axes, 0 to 2."""

NO_TTA: tuple[Mirroring, ...] = ((),)
"""One pass, of the image as it is."""


def parse_tta(text: str) -> tuple[Mirroring, ...]:
    """Every combination of the axes named: ``none`` → 1, ``x`` → 2, ``xy`` → 4, ``all`` (= ``xyz``)
    → 8.

    Raises:
        PackageError: anything else.
    """
    axes = {"none": "", "all": AXES}.get(text, text)
    if not set(axes) <= set(AXES) or len(set(axes)) < len(axes) or not text:
        raise PackageError(
            "no such test-time augmentation",
            field="tta",
            got=text,
            expected="none, all, or some of x, y, z, e.g. xy",
        )
    numbers = sorted(AXES.index(axis) for axis in axes)
    return tuple(axes for count in range(len(numbers) + 1) for axes in combinations(numbers, count))


def names(mirrorings: tuple[Mirroring, ...]) -> list[str]:
    """Mirrorings by the names of their axes; ``""`` is the image as it is."""
    return ["".join(AXES[axis] for axis in mirroring) for mirroring in mirrorings]


def averaged(
    network: Callable[[NDArray[np.uint8]], NDArray[np.float32]], mirrorings: tuple[Mirroring, ...]
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A network with test-time augmentation: logits of the mean probability over mirrorings.

    Each input of the network is mirrored, whether a whole brain or a window, as in nnU-Net (Isensee
    et al. 2021). It needs the memory of one pass and one more map.

    Args:
        network: levels (B C X Y Z) → logits of independent regions (B K X Y Z).
        mirrorings: equally weighted.
    """

    def predict(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        total: NDArray[np.float32] | None = None
        for mirroring in mirrorings:
            axes = tuple(axis + 2 for axis in mirroring)
            seen = np.flip(probabilities(network(np.ascontiguousarray(np.flip(image, axes)))), axes)
            total = np.ascontiguousarray(seen) if total is None else np.add(total, seen, out=total)
        assert total is not None  # there is at least one mirroring
        total /= len(mirrorings)
        np.clip(total, NEVER, 1 - NEVER, out=total)
        logits: NDArray[np.float32] = np.log(total / (1 - total))
        return logits

    return predict
