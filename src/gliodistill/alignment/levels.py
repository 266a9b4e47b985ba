"""Images for registration: cropped to the brain, smoothed, on coarse isotropic voxels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.bounds import filled_box, grown, whole
from gliodistill.images.resampling import axis_matrix, resample
from gliodistill.images.volume import Volume

MARGIN_MM = 25.0
"""Kept around the brain, so that a neighbour that is turned is still in the field."""

RIM_MM = 6.0
"""How far beyond the brain voxels are compared, along each axis: fluid and the skull help."""

PERCENTILES = (1.0, 99.0)
"""Of the brain, between which intensities are kept: vessels and fat say nothing about its place."""

BLUR = 0.35
"""σ along thick slices, as a share of their distance. Without it, interpolation between slices
blurs most halfway between them, and thick slices snap onto each other.
"""


@dataclass(frozen=True, eq=False)
class Level:
    """One scan on a coarse grid.

    Attributes:
        image: float32.
        brain: float32 in [0, 1], the share of brain in each voxel.
        near: bool, the brain and :data:`RIM_MM` around it.
    """

    image: Volume
    brain: NDArray[np.float32]
    near: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Cropped:
    """A scan around its brain.

    Attributes:
        image: float32.
        brain: bool, on its grid.
    """

    image: Volume
    brain: NDArray[np.bool_]

    @classmethod
    def around(cls, scan: Volume, brain: NDArray[np.bool_]) -> "Cropped":
        """Crop, and clip intensities to those of the brain."""
        box = filled_box(brain) or whole(brain.shape)
        box = grown(box, [round(MARGIN_MM / side) for side in scan.spacing], scan.shape)
        affine = scan.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
        voxels = np.asarray(scan.data[box], dtype=np.float32)
        inside = brain[box]
        low, high = np.percentile(voxels[inside] if inside.any() else voxels, PERCENTILES)
        return cls(Volume(np.clip(voxels, low, high), affine), inside)

    def level(self, step: float) -> Level:
        """On isotropic voxels of ``step`` mm."""
        from scipy import ndimage

        spacing = np.array(self.image.spacing)
        factors = step / spacing
        blurred = ndimage.gaussian_filter(
            self.image.data, np.where(factors < 0.8, BLUR, 0.0), truncate=3
        )
        matrices = tuple(
            axis_matrix(n, max(1, round(n / factor)), factor)
            for n, factor in zip(self.image.shape, factors, strict=True)
        )
        image = resample(blurred, matrices)
        brain = resample(self.brain.astype(np.float32), matrices)
        affine = self.image.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ ((factors - 1) / 2)
        affine[:3, :3] *= factors
        inside = (brain >= 0.5).astype(np.uint8)
        near = ndimage.maximum_filter(inside, 2 * int(RIM_MM / step) + 1)
        return Level(Volume(image, affine), brain, near > 0)
