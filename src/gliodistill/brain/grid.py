"""A scan on the network's grid, and the network's answer on the scan's.

The network sees 2 mm voxels along the scan's own axes, in the order right, anterior, superior that
the affine gives; never the order of the array. What is oblique stays oblique.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.resampling import axis_matrix, resample
from gliodistill.images.volume import Volume
from gliodistill.preparation.quantise import quantise

GRID_MM = 2.0
"""Voxel size of the network's grid."""

DIVISOR = 16
"""Sides of the network's input are multiples of this."""

BRIGHT = 4.0
"""What the 99th percentile of the head becomes; air becomes about 0."""

AnyType = TypeVar("AnyType", bound=np.generic)


@dataclass(frozen=True, eq=False)
class CoarseScan:
    """A scan on the network's grid.

    Attributes:
        levels: uint8 on X Y Z (RAS+), sides multiples of ``DIVISOR``; padding is level 0, which the
            network reads as air.
        shape: voxels along X, Y, Z without margin and padding, which is at the upper ends.
        scan: the scan.
        margin: voxels of background added on every side.
    """

    levels: NDArray[np.uint8]
    shape: tuple[int, int, int]
    scan: Volume
    margin: int = 0

    def inner(self, values: NDArray[AnyType]) -> NDArray[AnyType]:
        """The part of a map on the network's grid (X Y Z as ``levels``) that the scan covers."""
        x, y, z = (slice(self.margin, self.margin + side) for side in self.shape)
        return values[x, y, z]

    def back(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (X Y Z as ``levels``) on the scan's own grid, linearly interpolated (a view)."""
        ras = self.scan.canonical()
        matrices = [
            axis_matrix(side, full, 1 / _factor(spacing))
            for side, full, spacing in zip(self.shape, ras.shape, ras.spacing, strict=True)
        ]
        there = resample(self.inner(logits), (matrices[0], matrices[1], matrices[2]))
        result: NDArray[np.float32] = self.scan.from_canonical(there)
        return result


def coarse(scan: Volume, margin: int = 0, background: float = 0.0) -> CoarseScan:
    """Resample a scan to the network's grid, anti-aliased, and normalise it.

    Args:
        scan: the scan.
        margin: voxels of ``background`` to add on every side, for a scan without air around it.
        background: of the scan.
    """
    ras = scan.canonical()
    data = np.asarray(ras.data, dtype=np.float32)
    if not np.isfinite(data).all():
        data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    matrices = [
        axis_matrix(side, max(1, round(side / _factor(spacing))), _factor(spacing))
        for side, spacing in zip(ras.shape, ras.spacing, strict=True)
    ]
    inner = resample(data, (matrices[0], matrices[1], matrices[2]))
    small = np.pad(inner, margin, constant_values=background) if margin else inner
    levels = quantise(normalised(small), np.ones(small.shape, bool))
    padding = [(0, -side % DIVISOR) for side in small.shape]
    x, y, z = inner.shape
    return CoarseScan(np.pad(levels, padding), (x, y, z), scan, margin)


def _factor(spacing: float) -> float:
    """The network's voxels in voxels of the scan."""
    return GRID_MM / spacing


def normalised(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intensities from about 0 in air to about ``BRIGHT`` in the brightest tissue, clipped to
    [0, 5] by what follows.

    Args:
        image: float32 on X Y Z, any scale.
    """
    low = np.percentile(image, 1)
    tissue = image[image > image.mean()]
    high = np.percentile(tissue, 99) if tissue.size else low
    scaled: NDArray[np.float32] = (image - np.float32(low)) * np.float32(
        BRIGHT / max(float(high - low), 1e-12)
    )
    return np.maximum(scaled, 0)
