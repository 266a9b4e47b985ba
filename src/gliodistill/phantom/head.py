"""A head around the brain: fluid, dura, skull with marrow, scalp, eyes, face and neck.

Each is a shell at a distance from the brain, or an ellipsoid below it; simple, but what brain
extraction and registration meet in scans that nobody has stripped. Ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.bounds import Box
from gliodistill.phantom.anatomy import brain_box
from gliodistill.phantom.cohort import with_tumour
from gliodistill.phantom.contrast import CHANNELS, paint
from gliodistill.phantom.fields import Grid, resample, smooth_noise
from gliodistill.phantom.parameters import Four, PhantomParameters
from gliodistill.phantom.tumour import Tumour
from gliodistill.studies.sequence import MRSequence

Array = NDArray[np.float32]

ABOVE_MM, BELOW_MM = 30.0, 35.0
"""By how much the field of a head is taller than that of a brain."""

COARSE_MM = 3.0
"""Distances from the brain are worked out on voxels of this size: they are smooth."""

SHELLS_MM = {"fluid": 2.5, "dura": 3.6, "bone": 5.6, "marrow": 7.6, "table": 9.5, "fat": 13.5}
"""Tissue → distance from the brain at which it ends; then comes skin, up to :data:`SKIN_MM`."""
SKIN_MM = 16.0

SIGNAL: dict[str, Four] = {
    "dura": (0.5, 1.3, 0.4, 0.6),
    "bone": (0.06, 0.06, 0.05, 0.05),
    "marrow": (0.75, 0.8, 0.6, 0.5),
    "table": (0.06, 0.06, 0.05, 0.05),
    "fat": (1.55, 1.55, 1.4, 1.2),
    "skin": (0.75, 0.95, 0.55, 0.6),
    "muscle": (0.6, 0.75, 0.4, 0.45),
}
"""Relative to white matter, in canonical order of sequences; fluid is that of the brain."""


@dataclass(frozen=True, eq=False)
class Head:
    """Noise-free images of a head, axes X Y Z.

    Attributes:
        grid: where the voxels lie.
        images: float32, relative to white matter, 0 in air.
        brain: bool.
        regions: WT, TC, ET, bool on 3 X Y Z.
    """

    grid: Grid
    images: dict[MRSequence, Array]
    brain: NDArray[np.bool_]
    regions: NDArray[np.bool_]


def make_head(parameters: PhantomParameters, spacing: float) -> Head:
    """Render a head with its tumour.

    Args:
        parameters: of the study; artefacts are not used.
        spacing: voxel size in mm.
    """
    field = Grid.field(spacing)
    inner = field.crop(brain_box(parameters.anatomy, field))
    anatomy, tumour = with_tumour(parameters, inner, None)
    grid = _field(spacing)
    box = grid.box_around(
        *(
            np.array([axis[end] for axis in inner.axes]) + shift
            for end, shift in ((0, -spacing / 4), (-1, spacing / 4))
        )
    )
    brain = np.zeros(grid.shape, bool)
    brain[box] = anatomy.brain
    tissues = _tissues(parameters.contrast.seed, brain, grid)
    images = {}
    for sequence, painted in paint(parameters.contrast, anatomy, tumour).items():
        channel = CHANNELS[sequence]
        image = np.zeros(grid.shape, np.float32)
        for tissue, where in tissues.items():
            signal = SIGNAL.get(tissue) or parameters.contrast.means["CSF"]
            image[where] = signal[channel]
        image *= 1 + np.float32(0.08) * smooth_noise(parameters.contrast.seed + 30, 4.0, grid)
        image[box][anatomy.brain] = painted[anatomy.brain]
        images[sequence] = image
    return Head(grid, images, brain, _regions(tumour, box, grid))


def _field(spacing: float) -> Grid:
    x, y, z = Grid.field(spacing).axes
    below, above = (round(extra / spacing) for extra in (BELOW_MM, ABOVE_MM))
    tall = z[0] + spacing * np.arange(-below, len(z) + above)
    return Grid((x, y, tall), spacing)


def _regions(tumour: Tumour, box: Box, grid: Grid) -> NDArray[np.bool_]:
    """WT, TC, ET on 3 X Y Z."""
    regions = np.zeros((3, *grid.shape), bool)
    for whole, part in zip(regions, (tumour.whole, tumour.core, tumour.enhancing), strict=True):
        whole[box][tumour.box] = part
    return regions


def _tissues(seed: int, brain: NDArray[np.bool_], grid: Grid) -> dict[str, NDArray[np.bool_]]:
    """Where each tissue outside the brain is; later ones overwrite earlier ones."""
    away = _distance(brain, grid) + np.float32(0.9) * smooth_noise(seed + 31, 25.0, grid)
    low, high = (
        np.array(
            [
                axis[np.flatnonzero(brain.any(axis=other))[end]]
                for axis, other in zip(grid.axes, ((1, 2), (0, 2), (0, 1)), strict=True)
            ]
        )
        for end in (0, -1)
    )
    middle, size = (low + high) / 2, (high - low) / 2

    def ellipsoid(centre: tuple[float, ...], radius: tuple[float, ...]) -> NDArray[np.bool_]:
        """In units of the brain's half extent, from its middle."""
        parts = [
            ((axis - m - c * s) / (r * s)) ** 2
            for axis, m, s, c, r in zip(grid.axes, middle, size, centre, radius, strict=True)
        ]
        inside: NDArray[np.bool_] = sum(np.ix_(*parts)) < 1  # type: ignore[assignment]
        return inside

    outside = ~brain & (away > SHELLS_MM["table"])
    below = ellipsoid((0, -0.1, -1.6), (0.75, 0.55, 1.4)) | ellipsoid(
        (0, 0.75, -0.8), (0.7, 0.6, 0.8)
    )
    patchy = smooth_noise(seed + 32, 9.0, grid) > 0.6
    found = {
        "muscle": outside & below & ~patchy,
        "fat": outside & (below & patchy),
    }
    edge = np.float32(0)
    for tissue, end in (*SHELLS_MM.items(), ("skin", SKIN_MM)):
        shell = ~brain & (away > edge) & (away <= end)
        if tissue == "fluid":
            shell |= ~brain & (away <= 0)
        free = shell if tissue not in ("fat", "skin") else shell & ~below
        found[tissue] = found[tissue] | free if tissue in found else free
        edge = np.float32(end)
    eyes = ellipsoid((-0.48, 0.98, -0.45), (0.18, 0.15, 0.19)) | ellipsoid(
        (0.48, 0.98, -0.45), (0.18, 0.15, 0.19)
    )
    found["eyes"] = eyes & outside
    found["air"] = ellipsoid((0, 0.8, -0.95), (0.12, 0.35, 0.35)) & outside
    return {name: where for name, where in found.items() if name != "air"} | {
        "bone": found["bone"] | found["air"]
    }


def _distance(brain: NDArray[np.bool_], grid: Grid) -> Array:
    """Millimetres from the brain, float32; 0 in it."""
    from scipy import ndimage

    step = max(1, round(COARSE_MM / grid.spacing))
    coarse = brain[::step, ::step, ::step]
    x, y, z = (axis[::step] for axis in grid.axes)
    spacing = step * grid.spacing
    far = (ndimage.distance_transform_edt(~coarse) * spacing).astype(np.float32)
    smooth = ndimage.gaussian_filter(far, 1.0)
    return resample(smooth, Grid((x, y, z), spacing), grid)
