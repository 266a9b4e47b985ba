"""nnU-Net's preparation of a study, and the way back: crop, normalise, resample.

The numbers are those of nnU-Net v2's ``DefaultPreprocessor`` and of its export (2.8).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gliodistill.errors import CheckpointError, StudyError
from gliodistill.teachers.nnunet.plans import PLANS, Plans

FUNCTION = "resample_data_or_seg_to_shape"
ANISOTROPY = 3
"""Ratio of voxel sides beyond which the coarse axis is resampled by itself."""
Box = tuple[slice, slice, slice]
Spacing = Sequence[float]


@dataclass(frozen=True, eq=False)
class Seen:
    """A study as an nnU-Net sees it.

    Attributes:
        image: float32 C and the prepared grid, in nnU-Net's axes.
        shape: of the study's grid in nnU-Net's axes.
        box: its non-empty part in it.
        spacing: of the study, mm, in nnU-Net's axes.
    """

    image: NDArray[np.float32]
    shape: tuple[int, ...]
    box: Box
    spacing: tuple[float, ...]

    def to_file(self, transpose: Sequence[int]) -> NDArray[np.float64]:
        """Affine of 4×4: voxel of the image → voxel of the file along X, Y, Z.

        Args:
            transpose: order of Z, Y, X in nnU-Net's axes.
        """
        affine = np.zeros((4, 4))
        affine[3, 3] = 1
        for axis, (part, count) in enumerate(zip(self.box, self.image.shape[1:], strict=True)):
            along, step = 2 - transpose[axis], (part.stop - part.start) / count
            affine[along, axis] = step
            affine[along, 3] = part.start + (step - 1) / 2
        return affine


def prepare(image: NDArray[np.float32], spacing: Spacing, plans: Plans, id: str) -> Seen:
    """What the network is given.

    Args:
        image: float32 C X Y Z in the file's axes (RAS where the plans reorient).
        spacing: mm along X, Y, Z.
        plans: of the network.
        id: of the study, for errors.

    Raises:
        StudyError: the images are empty.
        CheckpointError: a normalisation or resampling that is not supported.
    """
    data = image.transpose(0, 3, 2, 1).transpose(0, *(axis + 1 for axis in plans.transpose))
    own = tuple(tuple(spacing)[::-1][axis] for axis in plans.transpose)
    filled = ndimage.binary_fill_holes((data != 0).any(axis=0))
    if not filled.any():
        raise StudyError("images are empty", file=id)
    box = ndimage.find_objects(filled.astype(np.uint8))[0]
    cropped, mask = np.array(data[(slice(None), *box)]), filled[box]
    for index, (channel, (scheme, masked)) in enumerate(zip(cropped, plans.schemes, strict=True)):
        _normalise(channel, scheme, mask if masked else None, plans, str(index))
    shape = [
        round(side * here / there)
        for side, here, there in zip(mask.shape, own, plans.spacing, strict=True)
    ]
    prepared = resampled(cropped, shape, own, plans.spacing, plans, "data")
    return Seen(prepared, data.shape[1:], box, own)


def restore(logits: NDArray[Any], seen: Seen, plans: Plans) -> NDArray[np.float32]:
    """Logits on the prepared grid (K and nnU-Net's axes) → probabilities of all channels on the
    study's grid (float32 K X Y Z); 0 outside the non-empty part.
    """
    inner = tuple(side.stop - side.start for side in seen.box)
    there = resampled(logits, inner, plans.spacing, seen.spacing, plans, "probabilities")
    whole = np.zeros((len(there), *seen.shape), dtype=np.float32)
    whole[(slice(None), *seen.box)] = plans.outputs.shares(np.asarray(there, dtype=np.float32))
    back = np.argsort(plans.transpose)
    return np.ascontiguousarray(
        whole.transpose(0, *(int(axis) + 1 for axis in back)).transpose(0, 3, 2, 1)
    )


def _normalise(
    channel: NDArray[np.float32],
    scheme: str,
    mask: NDArray[np.bool_] | None,
    plans: Plans,
    index: str,
) -> None:
    """One channel, in place, by one of nnU-Net's schemes."""
    if scheme == "ZScoreNormalization":
        inside = slice(None) if mask is None else mask
        values = channel[inside]
        channel[inside] = (values - values.mean()) / max(values.std(), np.float32(1e-8))
    elif scheme == "CTNormalization":
        told = plans.intensities[index]
        np.clip(channel, told["percentile_00_5"], told["percentile_99_5"], out=channel)
        channel -= told["mean"]
        channel /= max(told["std"], 1e-8)
    elif scheme == "RescaleTo01Normalization":
        channel -= channel.min()
        channel /= np.clip(channel.max(), 1e-8, None)
    elif scheme != "NoNormalization":
        raise CheckpointError(
            "normalisation is not supported as a live teacher",
            file=plans.folder / PLANS,
            field="normalization_schemes",
            got=scheme,
            expected="ZScoreNormalization, CTNormalization, RescaleTo01Normalization or"
            " NoNormalization",
            hint="use its predictions: {files: FOLDER}",
        )


def resampled(
    data: NDArray[Any],
    shape: Sequence[int],
    spacing: Spacing,
    target: Spacing,
    plans: Plans,
    kind: str,
) -> NDArray[Any]:
    """Data (K and axes) on another grid, in its own precision; unchanged where the shape is.

    Args:
        data: images or logits.
        shape: wanted.
        spacing: of the data, mm.
        target: voxel size wanted.
        plans: say how.
        kind: ``data`` or ``probabilities``.

    Raises:
        CheckpointError: a function that is not supported.
    """
    if tuple(data.shape[1:]) == tuple(shape):
        return data
    name, options = plans.resampling[kind]
    if name != FUNCTION:
        raise CheckpointError(
            "resampling is not supported as a live teacher",
            file=plans.folder / PLANS,
            field=f"resampling_fn_{kind}",
            got=name,
            expected=FUNCTION,
            hint="use its predictions: {files: FOLDER}",
        )
    order, axis = int(options.get("order", 3)), _coarse_axis(spacing, target, options)
    result = np.zeros((len(data), *shape), dtype=data.dtype)
    for out, channel in zip(result, data.astype(np.float64), strict=True):
        out[...] = (
            resized(channel, shape, order)
            if axis is None
            else _by_planes(channel, shape, order, axis, int(options.get("order_z", 0)))
        )
    return result


def _coarse_axis(spacing: Spacing, target: Spacing, options: Mapping[str, Any]) -> int | None:
    """The axis that is resampled by itself, if any."""
    forced = options.get("force_separate_z")
    if forced is False:
        return None
    chosen = spacing
    if not forced and max(spacing) / min(spacing) <= ANISOTROPY:
        if max(target) / min(target) <= ANISOTROPY:
            return None
        chosen = target
    axes = [axis for axis, side in enumerate(chosen) if max(chosen) / side == 1]
    return axes[0] if len(axes) == 1 else None


def _by_planes(
    channel: NDArray[np.float64], shape: Sequence[int], order: int, axis: int, order_z: int
) -> NDArray[np.float64]:
    """Each plane by itself, then along the coarse axis."""
    inner = [side for other, side in enumerate(shape) if other != axis]
    planes = np.stack([resized(plane, inner, order) for plane in np.moveaxis(channel, axis, 0)])
    planes = np.moveaxis(planes, 0, axis)
    if planes.shape[axis] == shape[axis]:
        return planes
    scale = [old / new for old, new in zip(planes.shape, shape, strict=True)]
    places = np.meshgrid(
        *(f * (np.arange(n) + 0.5) - 0.5 for f, n in zip(scale, shape, strict=True)),
        indexing="ij",
    )
    found: NDArray[np.float64] = ndimage.map_coordinates(
        planes, np.stack(places), order=order_z, mode="nearest"
    )
    return found


def resized(image: NDArray[np.float64], shape: Sequence[int], order: int) -> NDArray[np.float64]:
    """As ``skimage.transform.resize(image, shape, order, mode="edge", anti_aliasing=False)``."""
    factors = [new / old for new, old in zip(shape, image.shape, strict=True)]
    zoomed = ndimage.zoom(image, factors, order=order, mode="nearest", grid_mode=True)
    clipped: NDArray[np.float64] = np.clip(zoomed, image.min(), image.max())
    return clipped
