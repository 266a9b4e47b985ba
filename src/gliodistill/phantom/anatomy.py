"""A healthy brain: the atlas under a random affine and elastic map, with sharpened tissues."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.phantom.atlas import Atlas, load_atlas
from gliodistill.phantom.fields import FIELD_MM, Grid, smooth_noise
from gliodistill.phantom.parameters import AnatomyParameters

Array = NDArray[np.float32]
EFFACEMENT = 2.5
"""Reduction of fluid's log-odds under full pressure."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Tissue shares on a grid, axes X Y Z.

    Attributes:
        grid: of the voxels.
        brain: bool, the skull-stripped brain.
        grey, white, fluid: float32 in [0, 1]; they sum to 1 in the brain.
        depth: float32, mm below the brain's surface.
        midline: float32, mm from the atlas's mid-sagittal plane, signed.
    """

    grid: Grid
    brain: NDArray[np.bool_]
    grey: Array
    white: Array
    fluid: Array
    depth: Array
    midline: Array


def rotation(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    """3×3 rotation about X, then Y, then Z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn, (a, b) = np.eye(3), [other for other in range(3) if other != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def affine_to_atlas(
    parameters: AnatomyParameters,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix and offset that take mm in the field of view to MNI mm, without the elastic part."""
    matrix = np.diag(1 / np.array(parameters.scale)) @ rotation(parameters.rotation_deg)
    middle = (np.array(FIELD_MM) - 1) / 2 + parameters.shift_mm
    return matrix, load_atlas(2).centre_mm - matrix @ middle


def brain_box(
    parameters: AnatomyParameters, grid: Grid, margin_mm: float = 12.0
) -> tuple[slice, slice, slice]:
    """The part of ``grid`` that may contain brain: the atlas's corners, mapped, and a margin for
    the elastic map.
    """
    matrix, offset = affine_to_atlas(parameters)
    atlas = load_atlas(2)
    low, high = atlas.corner_mm, 2 * atlas.centre_mm - atlas.corner_mm
    # Ends of an ellipsoid instead of corners of a box: a brain is round.
    reach = np.sqrt(((np.linalg.inv(matrix) * ((high - low) / 2)) ** 2).sum(axis=1)) + margin_mm
    middle = np.linalg.solve(matrix, atlas.centre_mm - offset)
    return grid.box_around(middle - reach, middle + reach)


def make_anatomy(
    parameters: AnatomyParameters,
    grid: Grid,
    displacement: tuple[Array, Array, Array] | None = None,
    effacement: Array | float = 0.0,
) -> Anatomy:
    """Render the brain on a grid.

    Args:
        parameters: the brain.
        grid: of the result; :func:`brain_box` gives the useful part of the field of view.
        displacement: displacement in mm by a tumour's mass effect at each voxel, on X Y Z.
        effacement: 0 to 1, compression of the sulci by pressure, a number or on X Y Z; it does not
            act on full ventricles.
    """
    from scipy import ndimage

    atlas = load_atlas(2 if grid.spacing >= 1.9 else 1)
    position = _atlas_voxels(parameters, grid, displacement, atlas)

    hull = ndimage.map_coordinates(
        atlas.hull, position, order=1, output=np.float32, mode="constant"
    )
    ragged = smooth_noise(parameters.seed + 1, 7.0, grid)
    brain = hull + np.float32(0.04) * ragged > parameters.outline
    inside = position[:, brain]

    def sample(values: Array) -> Array:
        """Only in the brain, which fills a third of its box."""
        result = np.zeros(grid.shape, np.float32)
        result[brain] = ndimage.map_coordinates(
            values, inside, order=1, output=np.float32, mode="constant"
        )
        return result

    grey, white, depth = sample(atlas.grey), sample(atlas.white), sample(atlas.depth)
    fluid = np.maximum(1 - grey - white, 0)
    # The atlas is an average of 152 brains; noise on the log-odds and a power turn its blur into
    # individual folds.
    fold = [
        np.float32(parameters.folding) * smooth_noise(parameters.seed + 2 + n, length, grid)
        for n, length in enumerate((5.5, 4.0))
    ]
    power = np.float32(parameters.sharpness)
    # Sulci open towards the surface; there averaging has removed their fluid most.
    surface = np.clip(1 - depth / 14, 0, 1)
    fluid = (
        np.exp(np.float32(parameters.atrophy) + 2.5 * surface - np.float32(EFFACEMENT) * effacement)
        * (fluid + 0.01) ** power
    )
    grey = (grey + 0.01) ** power * np.exp(0.5 * fold[0])
    white = (white + 0.01) ** power * np.exp(-0.5 * fold[0])
    fluid *= np.exp(np.float32(1.6) * fold[1])
    total = grey + white + fluid
    scale = np.where(brain, 1 / total, np.float32(0))
    midline = (position[0] * atlas.step_mm + atlas.corner_mm[0]).astype(np.float32)
    return Anatomy(grid, brain, grey * scale, white * scale, fluid * scale, depth, midline)


def _atlas_voxels(
    parameters: AnatomyParameters,
    grid: Grid,
    displacement: tuple[Array, Array, Array] | None,
    atlas: Atlas,
) -> Array:
    """Atlas voxel coordinates of every voxel of ``grid``: float32 on 3 X Y Z."""
    matrix, offset = affine_to_atlas(parameters)
    matrix, offset = matrix / atlas.step_mm, (offset - atlas.corner_mm) / atlas.step_mm
    x, y, z = (axis.astype(np.float32) for axis in np.ix_(*grid.axes))
    result = np.empty((3, *grid.shape), np.float32)
    for row in range(3):
        a, b, c = (np.float32(m) for m in matrix[row])
        result[row] = (a * x + np.float32(offset[row])) + b * y + c * z
        if displacement is not None:
            for weight, moved in zip((a, b, c), displacement, strict=True):
                result[row] -= weight * moved
        for number, (length, size) in enumerate(
            zip((45.0, 15.0), parameters.elastic_mm, strict=True)
        ):
            result[row] += smooth_noise(
                parameters.seed + 10 + 3 * number + row, length, grid
            ) * np.float32(size / atlas.step_mm)
    return result
