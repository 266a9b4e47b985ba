"""Registration with the atlas of the package."""

import numpy as np
from numpy.typing import NDArray

from gliodistill.alignment.registration import Registration, register
from gliodistill.images.volume import Volume

STEP_MM = 2
WHITE, GREY, FLUID = (np.float32(level) for level in (1.0, 0.65, 0.3))
"""Grey levels of a T1; mutual information needs only that they differ."""


def register_with_atlas(scan: Volume, brain: NDArray[np.bool_]) -> Registration:
    """Atlas → scan: the atlas painted with the grey levels of tissues in a T1."""
    from gliodistill.phantom.atlas import load_atlas

    atlas = load_atlas(STEP_MM)
    affine = np.diag([atlas.step_mm] * 3 + [1.0])
    affine[:3, 3] = atlas.corner_mm
    painted = WHITE * atlas.white + GREY * atlas.grey + FLUID * atlas.fluid
    inside = atlas.grey + atlas.white + atlas.fluid > 0.5
    return register(Volume(painted, affine), scan, inside, brain)
