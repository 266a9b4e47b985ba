"""What of an image is background: the field's images have one constant value around the brain.

A skull-stripped image is 0 there. Tools that come after may make something else of it: z-scores
over the whole image move it, padding adds another constant around it, interpolation with splines
lets the brain's edge ring on into it, and noise is no constant at all. All of that shows in the
corners of the image: no brain or head reaches the corners of the box that it lies in.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.bounds import Box, filled_box

MOST = 4
"""Constants around one another that are looked for."""

CORNERS = 4
"""Of the eight corners, those that must be background: shoulders may fill the others."""

CORNER = 12
"""A corner is a block of a twelfth of each side: an ellipsoid stays a fifth away."""

CLEAN = 0.98
"""Share of a corner's voxels that are background where there is one. Of rounded noise, at most 0.6
have one value."""

ROUNDING = 1e-5
"""Of an image's range: constants that were interpolated differ by less."""

FADED, FADES = 0.005, 0.12
"""What lies nearer to the background than this share of the brain's intensity is neither brain nor
background. Of skull-stripped images it is less than 0.01 of what is not background, of heads with
skull up to 0.05; where splines rang or a filter blurred, 0.14 and more."""

FAINT, RINGS, BOTH = 0.03, 0.5, 0.2
"""Where splines rang and the result was rounded, most of the outermost voxels of what is not
background are fainter than this share of the brain's intensity, and lie on both sides of the
background: at least so many on each. Z-scores lie on both sides without being faint; the rim of a
soft mask is faint on one side."""

HEAD_ML = 2200.0
"""More than any brain with its fluid; heads have 2500 ml and more."""

SECOND = 0.5
"""Share of a head's voxels from which one value is a background; of heads with 64 levels of grey we
have seen 0.37."""

SAMPLE = 48
"""About so many voxels along each axis are looked at to tell whether an image fades."""


@dataclass(frozen=True)
class Background:
    """What lies around the brain.

    Attributes:
        values: constants, outermost first; 0.0 alone in an ordinary image.
        tolerance: how far voxels of the background lie from them; 0 where they are exact.
        doubt: why this is no background that can be told from a brain; None where it is.
        filled: whether anything else is in the image.
    """

    values: tuple[float, ...]
    tolerance: float
    doubt: str | None = None
    filled: bool = True

    @property
    def ordinary(self) -> bool:
        """Whether it is 0 and nothing else."""
        return self.values == (0.0,) and self.tolerance == 0

    def of(self, voxels: NDArray[Any]) -> NDArray[np.bool_]:
        """Which voxels are background."""
        return _any_of(voxels, self.values, self.tolerance)


def find_background(voxels: NDArray[np.float32], voxel_ml: float) -> Background:
    """Tell the background of an image (float32 X Y Z, any memory order; volume of a voxel in ml)."""
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
        ordinary = values == [0.0] and not tolerance  # found without a mask, faster
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
    """The value that most are alike to, and how many are."""
    alike = np.count_nonzero(np.abs(values[:, None] - values) <= tolerance, axis=0)
    best = int(alike.argmax())
    return float(values[best]), int(alike[best])


def _padded(
    brain: NDArray[np.float32], values: list[float], tolerance: float, voxel_ml: float
) -> str | None:
    """Why there is more background around the brain, of a kind that cannot be taken away, if so:
    only more than a brain can hold it.
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
    """Why the corners of a box are no background, if so."""
    shares = [float(_any_of(brain[block], values, tolerance).mean()) for block in _blocks(brain)]
    if sum(share >= CLEAN for share in shares) >= CORNERS:
        return None
    said = ", ".join(f"{share:.0%}" for share in sorted(shares, reverse=True))
    return f"what surrounds the brain is not constant: of its corners {said} are background"


def _fading(voxels: NDArray[np.float32], values: list[float], tolerance: float) -> str | None:
    """Why the brain has no edge, if so."""
    sample = _thin(voxels)
    rest = sample[~_any_of(sample, values, tolerance)]
    if not rest.size:
        return None
    away = np.min([np.abs(rest - np.float32(value)) for value in values], axis=0)
    share = float((away < FADED * np.percentile(away, 90)).mean())
    if share < FADES:
        return None
    return (
        f"the brain fades into the background: {share:.0%} of what is neither is all but background"
    )


def _ringing(brain: NDArray[np.float32], values: list[float], tolerance: float) -> str | None:
    """Why the rim of the brain is an echo of its edge, if so."""
    value = np.float32(values[-1])
    sample = _thin(brain)
    away = sample[~_any_of(sample, values, tolerance)] - value
    if not away.size or not ((away < 0).any() and (away > 0).any()):
        return None
    # The first and the last voxel of every third line along the axis that lies together in memory.
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
        f"the brain's edge rings on into the background, as after interpolation with splines:"
        f" {len(faint) / len(rim):.0%} of its outermost voxels are faint and lie on both sides of"
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
    """Which voxels have one of the values."""
    found: NDArray[np.bool_] = np.zeros_like(voxels, dtype=bool)
    for value in values:
        number = np.float32(value)
        found |= (np.abs(voxels - number) <= tolerance) if tolerance else (voxels == number)
    return found
