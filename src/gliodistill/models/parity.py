"""The parity check of every export: its output must equal that of the trained network."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.models.exports import Agreement
from gliodistill.models.levels_input import LevelsInput
from gliodistill.models.spec import ModelSpec
from gliodistill.preparation.quantise import quantise

MAX_RELATIVE_DIFFERENCE = 0.02
"""Largest logit difference allowed to a float export, relative to the largest logit (at least 1).
Half-precision weights cost ~0.001.
"""

MIN_DICE = 0.99
"""Least Dice of each region between an int8 export's segmentations of studies it was not calibrated
on and the network's own.
"""

MAX_SIDE = 128
"""Longest side of the images compared, voxels: larger studies are cropped to the centre."""

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Levels (uint8, B C X Y Z) → logits (float32, B K X Y Z)."""


class Proof:
    """Images and the trained network's output.

    Args:
        network: the wrapped network.
        spec: what the model is.
        divisor: of the network.
        studies: prepared images (uint8 C X Y Z); the random images are added here.

    Raises:
        PackageError: the network's logits are not what ``spec`` says.
    """

    def __init__(
        self,
        network: LevelsInput,
        spec: ModelSpec,
        divisor: int,
        studies: Sequence[NDArray[np.uint8]],
    ) -> None:
        self._spec = spec
        random = [_random_image(len(spec.sequences), divisor, seed) for seed in range(3)]
        random[2][::2] = 0  # a study that lacks sequences, if the network takes more than one
        random = random[: 2 if len(spec.sequences) == 1 else 3]
        self._random = [(image, _expected(network, image, spec)) for image in random]
        self._studies = [
            (image, _expected(network, image, spec))
            for image in (_fitted(study, divisor) for study in studies)
        ]

    def examine(self, run: Run) -> tuple[Agreement, Agreement | None]:
        """Compare a runtime with the network: on the random images, and on the studies if there are
        any.
        """
        return self._compare(run, self._random), (
            self._compare(run, self._studies) if self._studies else None
        )

    def _compare(
        self, run: Run, pairs: list[tuple[NDArray[np.uint8], NDArray[np.float32]]]
    ) -> Agreement:
        difference = largest = 0.0
        regions = self._spec.task.names
        common, total = np.zeros(len(regions)), np.zeros(len(regions))
        for image, expected in pairs:
            got = run(image[None])[0]
            difference = float(np.maximum(difference, np.abs(got - expected).max()))  # keeps NaN
            largest = max(largest, float(np.abs(expected).max()))
            ours, theirs = (
                self._spec.outputs.region_logits(logits) > self._spec.inference.logit_threshold
                for logits in (got, expected)
            )
            common += (ours & theirs).sum(axis=(1, 2, 3))
            total += ours.sum(axis=(1, 2, 3)) + theirs.sum(axis=(1, 2, 3))
        dice = {
            region: float(2 * c / t) if t else 1.0
            for region, c, t in zip(regions, common, total, strict=True)
        }
        return Agreement(len(pairs), difference, largest, dice)


def require_equal_logits(
    runtime: str, *agreements: Agreement | None, limit: float = MAX_RELATIVE_DIFFERENCE
) -> None:
    """Raise PackageError if logits differ by more than ``limit`` of the largest (at least 1)."""
    measured = [agreement for agreement in agreements if agreement]
    allowed = limit * max(1.0, *(agreement.max_abs_logit for agreement in measured))
    worst = float(np.max([agreement.max_abs_difference for agreement in measured]))
    if not worst <= allowed:
        raise PackageError(
            "exported graph disagrees with the network",
            field=runtime,
            got=f"logits differ by {worst:.3g}",
            expected=f"at most {allowed:.3g}",
            hint="do not use this export; report it with the recipe",
        )


def _expected(
    network: LevelsInput, image: NDArray[np.uint8], spec: ModelSpec
) -> NDArray[np.float32]:
    with torch.inference_mode():
        logits: NDArray[np.float32] = network(torch.from_numpy(image)[None])[0].numpy()
    if len(logits) != len(spec.outputs.names) or logits.shape[1:] != image.shape[1:]:
        expected = (
            f"{len(spec.outputs.names)} channels ({', '.join(spec.outputs.names)}) on"
            f" {image.shape[1:]}"
        )
        raise PackageError(
            "network does not fit its description",
            field="outputs",
            got=logits.shape,
            expected=expected,
        )
    return logits


def _random_image(channels: int, divisor: int, seed: int) -> NDArray[np.uint8]:
    """Levels with structure at the network's scales: noise in an ellipsoid on an empty background.
    Sides differ by seed.
    """
    rng = np.random.default_rng(seed)
    sides = np.roll([3, 2, 2], seed) * divisor
    axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in sides), indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.9
    coarse = rng.normal(size=(channels, *(side // divisor + 1 for side in sides)))
    smooth = (
        coarse.repeat(divisor, 1)
        .repeat(divisor, 2)
        .repeat(divisor, 3)[:, : sides[0], : sides[1], : sides[2]]
    )
    return quantise(
        smooth + 0.5 * rng.normal(size=smooth.shape), np.broadcast_to(inside, smooth.shape)
    )


def _fitted(image: NDArray[np.uint8], divisor: int) -> NDArray[np.uint8]:
    """The centre of an image, with zeros at its far sides up to multiples of ``divisor``."""
    starts = [max(0, (side - MAX_SIDE) // 2) for side in image.shape[1:]]
    middle = image[(slice(None), *(slice(start, start + MAX_SIDE) for start in starts))]
    return np.pad(middle, [(0, 0), *((0, -side % divisor) for side in middle.shape[1:])])
