"""Detection of the background of an image, a constant around the brain.

It is 0 in a skull-stripped image. Later processing may change it: z-scores over the whole image
shift it, padding adds another constant, spline interpolation causes ringing at the brain's edge,
and noise is not constant. All of this is visible in the corners of the image, which no brain or
head reaches.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.bounds import Box, filled_box

MOST = 4
"""Most nested constants that are searched."""

CORNERS = 4
"""Number of the eight corners that must be background; shoulders may fill the others."""

CORNER = 12
"""Side of a corner block, as a share of the image's; an ellipsoid does not reach it."""

CLEAN = 0.98
"""Share of a corner's voxels that must be background. In rounded noise, at most 0.6 have the same
value.
"""

ROUNDING = 1e-5
"""Tolerance of interpolated constants, as a share of the image's range."""

FADED, FADES = 0.005, 0.12
"""Voxels nearer to the background than this share of the brain's intensity are neither brain nor
background. Their share of the foreground is below 0.01 in skull-stripped images, up to 0.05 in
heads with skull, and 0.14 and more after spline ringing or blurring.
"""

FAINT, RINGS, BOTH = 0.03, 0.5, 0.2
"""After spline ringing and rounding, most outermost foreground voxels are fainter than this share
of the brain's intensity, and at least this share of them is on each side of the background.
Z-scores are on both sides without being faint; the rim of a soft mask is faint on one side.
"""

HEAD_ML = 2200.0
"""Upper limit of a brain with its fluid; heads have 2500 ml and more."""

LEAST_HEAD_ML = 600.0
"""A smaller foreground is a piece of a brain, or a very small one: never a head. Half a head on a
background of 0 has more, and only a network tells it from a brain."""

SECOND = 0.5
"""Share of a head's voxels above which one value is a background; heads with 64 levels of grey have
up to 0.37.
"""

SAMPLE = 48
"""Number of voxels along each axis for the detection of fading."""


@dataclass(frozen=True)
class Background:
    """The background of an image.

    Attributes:
        values: constants, outermost first; only 0.0 in an ordinary image.
        tolerance: of background voxels from them; 0 if exact.
        doubt: why the background cannot be separated from the brain; None if it can.
        filled: whether the image has other voxels.
    """

    values: tuple[float, ...]
    tolerance: float
    doubt: str | None = None
    filled: bool = True

    @property
    def ordinary(self) -> bool:
        """Whether it is only 0."""
        return self.values == (0.0,) and self.tolerance == 0

    def of(self, voxels: NDArray[Any]) -> NDArray[np.bool_]:
        """Mask of the background voxels."""
        return _any_of(voxels, self.values, self.tolerance)


def find_background(voxels: NDArray[np.float32], voxel_ml: float) -> Background:
    """Detect the background of an image (float32 X Y Z, any memory order; voxel volume in ml)."""
    box: Box = (slice(None), slice(None), slice(None))
    values: list[float] = []
    tolerance = 0.0
    for _ in range(MOST):
        tips = voxels[box][np.ix_(*[(0, -1)] * 3)].ravel()
        left = tips[~_any_of(tips, values, tolerance)]
        if len(tips) - len(left) >= CORNERS:
            break
        value, alike = _commonest(left, tolerance)
        corners = np.concatenate([voxels[box][block].ravel() for block in _blocks(voxels[box])])
        if not tolerance and (alike < CORNERS or (corners != value).any()):
            reach = ROUNDING * float(np.ptp(_thin(voxels)))
            value, alike = _commonest(left, reach)
            near = np.abs(corners - np.float32(value)) <= reach
            tolerance = reach if (near & (corners != value)).any() else 0.0
        if alike < CORNERS:
            return Background(tuple(values), tolerance, "what surrounds the brain is not constant")
        values.append(value)
        ordinary = values == [0.0] and not tolerance  # without a mask, faster
        inner = filled_box(voxels if ordinary else ~_any_of(voxels, values, tolerance))
        if inner is None:
            return Background(tuple(values), tolerance, filled=False)
        box = inner
    brain = voxels[box]
    doubt = (
        _unclean(voxels, values, tolerance)
        or _fading(brain, values, tolerance)
        or _ringing(brain, values, tolerance)
        or _padded(brain, values, tolerance, voxel_ml)
    )
    return Background(tuple(values), tolerance, doubt)


def _commonest(values: NDArray[np.float32], tolerance: float) -> tuple[float, int]:
    """The most frequent value and its count."""
    alike = np.count_nonzero(np.abs(values[:, None] - values) <= tolerance, axis=0)
    best = int(alike.argmax())
    return float(values[best]), int(alike[best])


def _padded(
    brain: NDArray[np.float32], values: list[float], tolerance: float, voxel_ml: float
) -> str | None:
    """Why there is another background around the brain that cannot be removed, if so; only in
    images larger than a brain.
    """
    sample = _thin(brain)
    rest = sample[~_any_of(sample, values, tolerance)]
    if len(rest) / len(sample) * brain.size * voxel_ml < HEAD_ML:
        return None
    if doubt := _unclean(brain, values, tolerance):
        return doubt
    found, counts = np.unique(rest, return_counts=True)
    if counts.max() < SECOND * len(rest):
        return None
    return (
        f"there are two backgrounds, {values[-1]:g} and {found[counts.argmax()]:g}, with voxels in"
        " between"
    )


def _unclean(brain: NDArray[np.float32], values: list[float], tolerance: float) -> str | None:
    """Why the corners of a box are not background, if so."""
    shares = [float(_any_of(brain[block], values, tolerance).mean()) for block in _blocks(brain)]
    if sum(share >= CLEAN for share in shares) >= CORNERS:
        return None
    said = ", ".join(f"{share:.0%}" for share in sorted(shares, reverse=True))
    return f"what surrounds the brain is not constant: of its corners {said} are background"


def _fading(voxels: NDArray[np.float32], values: list[float], tolerance: float) -> str | None:
    """Why the brain has no clear edge, if so."""
    sample = _thin(voxels)
    rest = sample[~_any_of(sample, values, tolerance)]
    if not rest.size:
        return None
    away = np.min([np.abs(rest - np.float32(value)) for value in values], axis=0)
    share = float((away < FADED * np.percentile(away, 90)).mean())
    if share < FADES:
        return None
    return (
        f"the brain fades into the background: {share:.0%} of the foreground is almost background"
    )


def _ringing(brain: NDArray[np.float32], values: list[float], tolerance: float) -> str | None:
    """Why the rim of the brain shows ringing, if so."""
    value = np.float32(values[-1])
    sample = _thin(brain)
    away = sample[~_any_of(sample, values, tolerance)] - value
    if not away.size or not ((away < 0).any() and (away > 0).any()):
        return None
    # The first and last voxel of every third line along the contiguous axis.
    axis = int(np.argmin(np.abs(brain.strides)))
    lines = np.moveaxis(brain, axis, 0)[:, ::3, ::3]
    lines = lines.reshape(len(lines), -1)
    filled = ~_any_of(lines, values, tolerance)
    some = np.flatnonzero(filled.any(axis=0))
    first = filled.argmax(axis=0)[some]
    last = len(lines) - 1 - filled[::-1].argmax(axis=0)[some]
    rim = np.concatenate([lines[first, some], lines[last, some]]) - value
    faint = rim[np.abs(rim) < FAINT * np.percentile(np.abs(away), 90)]
    if len(faint) < RINGS * len(rim) or not BOTH < np.mean(faint < 0) < 1 - BOTH:
        return None
    return (
        f"the brain's edge rings into the background, as after spline interpolation:"
        f" {len(faint) / len(rim):.0%} of its outermost voxels are faint and on both sides of"
        f" {value:g}"
    )


def _blocks(voxels: NDArray[np.float32]) -> Iterator[Box]:
    """The eight corners."""
    for place in product((0, -1), repeat=3):
        x, y, z = (
            slice(0, max(1, side // CORNER)) if first == 0 else slice(-max(1, side // CORNER), None)
            for first, side in zip(place, voxels.shape, strict=True)
        )
        yield x, y, z


def _thin(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Evenly spaced voxels, flat."""
    found: NDArray[np.float32] = voxels[
        tuple(slice(None, None, max(1, round(side / SAMPLE))) for side in voxels.shape)
    ].ravel()
    return found


def _any_of(voxels: NDArray[Any], values: Iterable[float], tolerance: float) -> NDArray[np.bool_]:
    """Mask of the voxels with one of the values."""
    found: NDArray[np.bool_] = np.zeros_like(voxels, dtype=bool)
    for value in values:
        number = np.float32(value)
        found |= (np.abs(voxels - number) <= tolerance) if tolerance else (voxels == number)
    return found
