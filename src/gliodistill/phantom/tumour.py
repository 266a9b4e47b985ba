"""Tumour compartments from growth: mass effect, borders and enhancement."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.bounds import Box, extent
from gliodistill.phantom.anatomy import Anatomy, affine_to_atlas, make_anatomy
from gliodistill.phantom.fields import Grid, resample, smooth_noise
from gliodistill.phantom.growth import GROWTH_MM, Growth, grow
from gliodistill.phantom.parameters import (
    AnatomyParameters,
    Four,
    ShapeParameters,
    TumourParameters,
)

Array = NDArray[np.float32]
MM_PER_STEP = 0.65
"""Approximate distance of a front per step in white matter, which converts roughness from mm to
time.
"""


@dataclass(frozen=True, eq=False)
class Tumour:
    """The regions on a grid, axes X Y Z.

    Attributes:
        whole, core, enhancing: bool, nested.
        distance: float32 in [0, 1]: 0 at the core, 1 at the border of the oedema.
        box: the part of the grid with the tumour.
        others: further regions of a task, bool on the box, by name: RC, CC, GTV.
        overlays: what is painted over it, in order.
    """

    whole: NDArray[np.bool_]
    core: NDArray[np.bool_]
    enhancing: NDArray[np.bool_]
    distance: Array
    box: Box
    others: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    overlays: tuple["Overlay", ...] = ()

    def region(self, name: str) -> NDArray[np.bool_]:
        """A region by name, bool on the box."""
        nested = {"WT": self.whole, "TC": self.core, "ET": self.enhancing}
        return nested[name] if name in nested else self.others[name]


@dataclass(frozen=True, eq=False)
class Overlay:
    """A tissue of a mean of its own over the tumour.

    Attributes:
        share: of each voxel, float32 on the box.
        means: its intensity in each sequence, relative to white matter.
    """

    share: Array
    means: Four


def grow_in(tumour: TumourParameters, brain: AnatomyParameters) -> Growth:
    """Simulate growth in the brain before mass effect."""
    whole = Grid.field(GROWTH_MM)
    matrix, offset = affine_to_atlas(brain)
    foci = np.array([np.linalg.solve(matrix, np.array(focus) - offset) for focus in tumour.foci_mm])
    reach = 30 + 12 * tumour.wt_ml ** (1 / 3)
    grid = whole.crop(whole.box_around(foci.min(axis=0) - reach, foci.max(axis=0) + reach))
    # Cells cross the thin fluid of a sulcus; only wide fluid is a barrier.
    anatomy = make_anatomy(brain, grid, effacement=0.7)
    room = np.argwhere(anatomy.brain & (anatomy.fluid < 0.3))
    where = np.stack([axis[room[:, number]] for number, axis in enumerate(grid.axes)], axis=1)
    voxels = []
    for focus in foci:
        # The elastic map has moved the tissue: the nearest solid voxel is used for the point drawn
        # in the atlas.
        i, j, k = room[np.argmin(((where - focus) ** 2).sum(axis=1))]
        voxels.append((int(i), int(j), int(k)))
    return grow(tumour, anatomy, voxels)


@dataclass(frozen=True, eq=False)
class Push:
    """The mass effect of the core on a grid X Y Z.

    Attributes:
        displacement: mm along X, Y, Z.
        effacement: 0 to 1, share of fluid removed from the sulci.
    """

    displacement: tuple[Array, Array, Array]
    effacement: Array


def grown_core(parameters: TumourParameters, growth: Growth) -> NDArray[np.bool_]:
    """The core with its target volume, bool on the growth grid."""
    voxels = int(parameters.tc_ml / growth.grid.spacing**3 * 1000)
    result: NDArray[np.bool_] = growth.core <= _level(growth.core, voxels)
    return result


def push(
    parameters: TumourParameters | ShapeParameters,
    seen: NDArray[np.bool_],
    coarse: Grid,
    grid: Grid,
) -> Push:
    """Mass effect: displacement along the gradient of the blurred core.

    It points outwards, is largest near the core's border and decreases with distance; the skull has
    no other effect. Sulci near the core are compressed.

    Args:
        parameters: of the tumour.
        seen: its core, bool on the grid ``coarse``.
        coarse: with voxels of ``GROWTH_MM``: the push is smooth.
        grid: of the result.
    """
    from scipy import ndimage

    pad, spacing = 16, coarse.spacing
    core = np.pad(seen.astype(np.float32), pad)
    radius = max(parameters.tc_ml, 0.5) ** (1 / 3) * 6.2
    potential = ndimage.gaussian_filter(core, (radius * 0.5 + 7) / spacing, mode="constant")
    gradient = [-np.gradient(potential, axis=axis) for axis in range(3)]
    largest = max(float(np.sqrt(sum(g**2 for g in gradient)).max()), 1e-9)
    x, y, z = (
        axis[0] + np.arange(-pad, len(axis) + pad, dtype=np.float64) * spacing
        for axis in coarse.axes
    )
    wide = Grid((x, y, z), spacing)
    right, front, up = (
        resample((g * (parameters.mass_effect_mm / largest)).astype(np.float32), wide, grid)
        for g in gradient
    )
    pressure = np.clip(2 * ndimage.gaussian_filter(core, 6.0 / spacing, mode="constant"), 0, 1)
    return Push((right, front, up), resample(pressure, wide, grid))


def delineate(
    parameters: TumourParameters,
    growth: Growth,
    anatomy: Anatomy,
    displacement: tuple[Array, Array, Array],
) -> Tumour:
    """The regions on the grid of ``anatomy``, with their target volumes if the brain has room.

    Args:
        parameters: of the tumour.
        growth: arrival times.
        anatomy: the displaced brain.
        displacement: its mass effect, which also moves the tumour.
    """
    from scipy import ndimage

    grid, voxel_ml = anatomy.grid, anatomy.grid.spacing**3 / 1000
    reached = growth.oedema < growth.late
    sides = [axis[extent(reached, index)] for index, axis in enumerate(growth.grid.axes)]
    margin = parameters.mass_effect_mm + 4
    low, high = (np.array([side[end] for side in sides]) for end in (0, -1))
    box = grid.box_around(low - margin, high + margin)
    part = grid.crop(box)
    origin = [axis[0] for axis in growth.grid.axes]
    position = np.stack(
        [
            (np.broadcast_to(axis, part.shape) - moved[box] - start) / growth.grid.spacing
            for axis, moved, start in zip(np.ix_(*part.axes), displacement, origin, strict=True)
        ]
    ).astype(np.float32)
    core_time, oedema_time = (
        ndimage.map_coordinates(times, position, order=1, output=np.float32, mode="nearest")
        for times in (growth.core, growth.oedema)
    )
    noise = [
        smooth_noise(parameters.seed + 10 + number, length, part)
        for number, length in enumerate((5.0, 6.0, 4.0, 9.0, 3.0))
    ]
    core_time += (noise[0] + 0.5 * noise[4]) * np.float32(parameters.roughness_mm[0] / MM_PER_STEP)
    oedema_time += (noise[1] + 0.7 * noise[4]) * np.float32(
        parameters.roughness_mm[1] / MM_PER_STEP
    )

    room = anatomy.brain[box] & (anatomy.fluid[box] < 0.5)
    core_time[~room], oedema_time[~room] = growth.late, growth.late
    # At least one voxel each, so that no phantom lacks its tumour.
    core_voxels = max(1, round(parameters.tc_ml / voxel_ml))
    level = _level(core_time, core_voxels)
    core = (core_time <= level) & (core_time < growth.late)
    oedema_time[core] = -growth.late
    end = _level(oedema_time, max(1, round(parameters.wt_ml / voxel_ml)))
    whole = ((oedema_time <= end) & (oedema_time < growth.late)) | core
    # Remove islands and holes of a few voxels, which are noise.
    whole = ~_without_specks(~_without_specks(whole)) & room
    core &= whole
    distance = np.clip(oedema_time / max(float(end), 1e-3), 0, 1)
    enhancing = _enhancing(parameters, core, noise[2], noise[3], part, voxel_ml)
    return Tumour(whole, core, enhancing, distance.astype(np.float32), box)


def _enhancing(
    parameters: TumourParameters,
    core: NDArray[np.bool_],
    fine: Array,
    coarse: Array,
    grid: Grid,
    voxel_ml: float,
) -> NDArray[np.bool_]:
    """The share of the core that takes up contrast: outer rim (ring), patches, or one nodule;
    with exactly the target volume.
    """
    from scipy import ndimage

    wanted = min(round(parameters.et_ml / voxel_ml), int(core.sum()))
    if parameters.kind == "nonenhancing" or not core.any():
        return np.zeros_like(core)
    wanted = max(wanted, 1)
    depth = ndimage.distance_transform_edt(np.pad(core, 1))[1:-1, 1:-1, 1:-1] * grid.spacing
    relative = depth / max(float(depth.max()), 1e-3)
    if parameters.kind == "nodule":
        inside = np.argwhere(core)
        pick = inside[np.random.default_rng(parameters.seed).integers(len(inside))]
        square = [((axis - axis[index]) ** 2) for axis, index in zip(grid.axes, pick, strict=True)]
        away = np.sqrt(sum(np.ix_(*square)))
        score = away / 8 + parameters.patchiness * fine
    else:
        blend = parameters.patchiness
        score = (1 - blend) * 3.0 * relative + blend * (0.8 * fine + 0.6 * coarse)
    result: NDArray[np.bool_] = core & (score <= _level(np.where(core, score, np.inf), wanted))
    return result


def _level(values: NDArray[np.floating], count: int) -> np.floating:
    """The value that exactly ``count`` voxels do not exceed."""
    flat = values.ravel()
    level: np.floating = np.partition(flat, min(count, flat.size) - 1)[min(count, flat.size) - 1]
    return level


def _without_specks(mask: NDArray[np.bool_], smallest: int = 8) -> NDArray[np.bool_]:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    keep = np.bincount(labels.ravel()) >= smallest
    keep[0] = False
    if not keep.any():
        return mask
    kept: NDArray[np.bool_] = keep[labels]
    return kept
