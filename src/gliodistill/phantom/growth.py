"""Tumour growth by reaction and diffusion, after Swanson: ∂u/∂t = ∇·(D ∇u) + ρ u (1 − u), D larger
in white matter.

Source: K. R. Swanson, E. C. Alvord, J. D. Murray, "A quantitative model for differential motility
of gliomas in grey and white matter", Cell Proliferation 33 (2000) 317-329. Fisher's equation: in
one dimension its front runs at 2 √(D ρ).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.bounds import Box, filled_box, grown, whole
from gliodistill.phantom.anatomy import Anatomy
from gliodistill.phantom.fields import Grid, smooth_noise
from gliodistill.phantom.parameters import TumourParameters

Array = NDArray[np.float32]

GROWTH_MM = 2.5
"""Voxel size of the growth grid; fronts are smooth, so that finer ones have no benefit."""
DIFFUSION = 0.15
"""D·dt/h² in white matter; an explicit scheme in three dimensions is stable below 1/6."""
PROLIFERATION = 0.12
"""ρ·dt."""
GREY_PACE = 0.25
"""Speed-up of oedema in grey matter relative to white: it spares the cortex."""
MARGIN = 1.3
"""Growth beyond the target volume, so that the border is a level set and not the end of the
simulation.
"""
MAX_STEPS = 400
CHECK_EVERY = 10
"""Steps between two updates of the front's position."""


class Front:
    """An explicit Fisher–KPP simulation that records when the front passed each voxel.

    Args:
        density: float32 on X Y Z in [0, 1], the start.
        diffusivity: float32 on X Y Z, D·dt/h² ≤ 1/6; 0 is a wall.
        proliferation: ρ·dt, a number or float32 on X Y Z.
    """

    def __init__(self, density: Array, diffusivity: Array, proliferation: Array | float) -> None:
        self.density = density.astype(np.float32, copy=True)
        self.proliferation = np.asarray(proliferation, np.float32)
        self.arrival = np.where(self.density > 0.5, np.float32(0), np.float32(np.inf))
        self.steps = 0
        # Harmonic mean at the faces: a wall on either side stops the flow.
        self._faces = []
        for axis in range(3):
            low, high = _pair(diffusivity, axis)
            self._faces.append(2 * low * high / np.maximum(low + high, np.float32(1e-12)))
        self._window: Box = (slice(None), slice(None), slice(None))

    def step(self) -> None:
        """Advance by one time step; voxels whose density passes 1/2 get the (interpolated) time of
        passing.
        """
        if self.steps % CHECK_EVERY == 0:
            self._window = self._around()
        u, arrival = self.density[self._window], self.arrival[self._window]
        pace = self.proliferation[self._window] if self.proliferation.ndim else self.proliferation
        new = np.subtract(1, u)
        new *= u
        new *= pace
        new += u
        for axis, face in enumerate(self._faces):
            low, high = _pair(u, axis)
            flow = high - low
            flow *= face[self._window][tuple(slice(0, size) for size in flow.shape)]
            into_low, into_high = _pair(new, axis)
            into_low += flow
            into_high -= flow
        passed = np.flatnonzero((new > 0.5) & (arrival == np.inf))
        where = np.unravel_index(passed, u.shape)
        arrival[where] = self.steps + (0.5 - u[where]) / (new[where] - u[where])
        self.steps += 1
        u[...] = new

    def _around(self) -> Box:
        """The voxels the front can reach before the next update; the density further ahead is
        negligible.
        """
        shape = self.density.shape
        touched = filled_box(self.density > 1e-3) or whole(shape)
        return grown(touched, 3 * (CHECK_EVERY,), shape)

    def run(self, voxels: float, max_steps: int = MAX_STEPS) -> None:
        """Step until the front has passed ``voxels`` voxels, has no room left, or ``max_steps`` are
        over.
        """
        reached = checked = 0
        while self.steps < max_steps:
            self.step()
            if self.steps % CHECK_EVERY == 0:
                reached = int(np.isfinite(self.arrival).sum())
                if reached >= voxels or (
                    self.steps >= 100 and reached - checked <= 0.002 * checked
                ):
                    return
                checked = reached


def _pair(values: Array, axis: int) -> tuple[Array, Array]:
    """Views of all but the last, and all but the first, slice along ``axis``."""
    low: list[slice] = [slice(None)] * 3
    high = list(low)
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    return values[tuple(low)], values[tuple(high)]


@dataclass(frozen=True, eq=False)
class Growth:
    """Arrival times of the tumour on the growth grid (axes X Y Z), in steps; ``late`` if never.

    Attributes:
        grid: the growth grid.
        core: time at which the core's front passed.
        oedema: time after that at which the oedema's front passed (0 in the core).
        late: a time later than all.
    """

    grid: Grid
    core: Array
    oedema: Array
    late: float


def diffusivity(anatomy: Anatomy, ratio: float) -> Array:
    """D·dt/h² of each voxel: full in white matter, ``ratio`` times less in grey, none in fluid and
    outside; float32 on X Y Z.
    """
    solid = anatomy.white + anatomy.grey / np.float32(ratio)
    return np.where(anatomy.brain & (anatomy.fluid < 0.5), DIFFUSION * solid, 0).astype(np.float32)


def grow(
    parameters: TumourParameters, anatomy: Anatomy, foci: list[tuple[int, int, int]]
) -> Growth:
    """Simulate the growth of the core, then of the oedema.

    The core grows with moderate anisotropy to its target volume; then the front continues along
    white matter, as vasogenic oedema and infiltration do.

    Args:
        parameters: of the tumour.
        anatomy: the healthy brain on a grid of ``GROWTH_MM``.
        foci: initial voxels.
    """
    from scipy import ndimage

    voxel_ml = anatomy.grid.spacing**3 / 1000
    uneven = np.exp(parameters.unevenness * smooth_noise(parameters.seed, 14.0, anatomy.grid))
    pace = (PROLIFERATION * np.clip(uneven, 0.25, 2.5)).astype(np.float32)
    seeds = np.zeros(anatomy.grid.shape, np.float32)
    for number, voxel in enumerate(foci):
        # Later foci are smaller: they start as a fainter density.
        seeds[voxel] = 1.0 if number == 0 else 0.1
    seeds = np.minimum(1, 8 * ndimage.gaussian_filter(seeds, 1.0))
    walls = diffusivity(anatomy, parameters.white_matter_ratio[0])
    core = Front(np.where(walls > 0, seeds, 0).astype(np.float32), walls, pace)
    core.run(MARGIN * parameters.tc_ml / voxel_ml)

    reached = np.sort(core.arrival[np.isfinite(core.arrival)])
    end = reached[min(reached.size - 1, int(parameters.tc_ml / voxel_ml))] if reached.size else 0.0
    # Oedema extends far along some tracts and spares others, so the speed varies over centimetres.
    spread = np.clip(
        np.exp(parameters.lopsidedness * smooth_noise(parameters.seed + 1, 22.0, anatomy.grid)),
        0.02,
        1.0,
    ).astype(np.float32)
    leading = diffusivity(anatomy, parameters.white_matter_ratio[1]) * spread
    led = anatomy.white + np.float32(GREY_PACE) * (1 - anatomy.white)
    oedema = Front((core.arrival <= end).astype(np.float32), leading, pace * np.sqrt(spread) * led)
    oedema.run(MARGIN * parameters.wt_ml / voxel_ml)
    late = float(max(core.steps, oedema.steps) * 1.2 + 10)
    return Growth(
        anatomy.grid,
        np.where(np.isfinite(core.arrival), core.arrival, np.float32(late)),
        np.where(np.isfinite(oedema.arrival), oedema.arrival, np.float32(late)),
        late,
    )
