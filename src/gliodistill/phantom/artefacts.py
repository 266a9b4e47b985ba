"""Artefacts of scanner and preprocessing: misregistration, blur, thick slices, bias,
noise, a cut field of view.
"""

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.bounds import extent
from gliodistill.phantom.anatomy import rotation
from gliodistill.phantom.fields import Grid, smooth_noise
from gliodistill.phantom.parameters import ArtefactParameters

Array = NDArray[np.float32]


def degrade(
    parameters: ArtefactParameters, image: Array, brain: NDArray[np.bool_], grid: Grid, channel: int
) -> Array:
    """One sequence after scanning, skull-stripping and co-registration.

    Args:
        parameters: of the artefacts.
        image: clean, float32 on X Y Z, relative to white matter, 0 outside the brain.
        brain: bool on X Y Z.
        grid: its voxels.
        channel: which sequence, in canonical order.

    Returns:
        float32 on X Y Z; exactly 0 outside the brain and where the field is cut, positive
        elsewhere.
    """
    from scipy import ndimage

    # Filters must not blur the background's 0 into the brain's edge: outside is set to a scalp-like
    # value.
    result = np.where(brain, image, np.float32(0.8) * np.median(image[brain])).astype(np.float32)
    result = _move(
        result, brain, grid, parameters.shift_mm[channel], parameters.rotation_deg[channel]
    )
    result = ndimage.gaussian_filter(
        result, parameters.blur_mm[channel] / grid.spacing, truncate=3.0
    )
    if parameters.slice_mm[channel] > grid.spacing:
        result = thick_slices(
            result, parameters.slice_axis[channel], parameters.slice_mm[channel] / grid.spacing
        )
    result *= np.exp(
        np.float32(parameters.bias[channel]) * smooth_noise(parameters.seed + channel, 70.0, grid)
    )
    rng = np.random.default_rng([parameters.seed, channel])
    amount = np.float32(parameters.noise[channel])
    result = np.hypot(
        result + amount * _grain(rng, grid),
        amount * rng.standard_normal(grid.shape, dtype=np.float32),
    )
    keep = brain & _field_of_view(brain, parameters.cut[channel], parameters.cut_axis[channel])
    return np.where(keep, np.maximum(result, np.float32(0.005)), np.float32(0))


def _move(
    image: Array,
    brain: NDArray[np.bool_],
    grid: Grid,
    shift_mm: tuple[float, float, float],
    rotation_deg: tuple[float, float, float],
) -> Array:
    """Rotate about the grid's centre and shift, by linear interpolation, inside the brain."""
    from scipy import ndimage

    if not any(shift_mm) and not any(rotation_deg):
        return image
    middle = (np.array(image.shape) - 1) / 2
    position = np.argwhere(brain).T - middle[:, None]
    position = (
        rotation(rotation_deg) @ position + (middle + np.array(shift_mm) / grid.spacing)[:, None]
    )
    moved = image.copy()
    moved[brain] = ndimage.map_coordinates(
        image, position, order=1, mode="nearest", output=np.float32
    )
    return moved


def thick_slices(image: Array, axis: int, thickness: float) -> Array:
    """Average slabs of ``thickness`` voxels along ``axis`` and interpolate linearly between their
    centres.
    """
    size = image.shape[axis]
    count = max(2, round(size / thickness))
    edges = np.linspace(0, size, count + 1)
    # The interpolated running sum gives means of slabs with fractional edges.
    total = np.concatenate(
        [np.zeros_like(image.take([0], axis)), np.cumsum(image, axis=axis, dtype=np.float32)],
        axis=axis,
    )
    slabs = np.diff(_at(total, axis, edges), axis=axis) / np.float32(size / count)
    return _at(slabs, axis, (np.arange(size) + 0.5) / (size / count) - 0.5)


def _at(values: Array, axis: int, position: NDArray[np.float64]) -> Array:
    """Linear interpolation along one axis; the ends continue."""
    position = np.clip(position, 0, values.shape[axis] - 1)
    base = np.minimum(np.floor(position).astype(np.intp), values.shape[axis] - 2)
    shape = [1, 1, 1]
    shape[axis] = len(position)
    t = (position - base).astype(np.float32).reshape(shape)
    interpolated: Array = values.take(base, axis) * (1 - t) + values.take(base + 1, axis) * t
    return interpolated


def _grain(rng: np.random.Generator, grid: Grid) -> Array:
    """Noise with unit variance, slightly correlated between neighbours as in resampled scans."""
    noise = rng.standard_normal(grid.shape, dtype=np.float32)
    for axis in range(3):
        noise = np.float32(0.8) * noise + np.float32(0.6) * np.roll(noise, 1, axis)
    return noise


def _field_of_view(brain: NDArray[np.bool_], cut: float, axis: int) -> NDArray[np.bool_]:
    """False where the field of view is cut: a share of the brain's extent at one end of an axis."""
    keep = np.ones(brain.shape, bool)
    if cut:
        filled = extent(brain, axis)
        first, last = filled.start, filled.stop - 1
        edge = int(first + abs(cut) * (last - first))
        side: list[slice] = [slice(None)] * 3
        side[axis] = slice(0, edge) if cut > 0 else slice(first + last - edge + 1, None)
        keep[tuple(side)] = False
    return keep
