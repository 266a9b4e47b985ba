"""Where the voxels of a series lie, and where each of its planes is stored."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a series lie.

    Attributes:
        shape: columns, rows and slices: axes X, Y, Z of the volume.
        affine: 4×4 float64, voxel index (column, row, slice) → mm in RAS+.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Between columns, rows and slices, in mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def plane(self) -> str:
        """How the slices lie: axial, sagittal or coronal, whichever is nearest."""
        normal = np.cross(self.affine[:3, 0], self.affine[:3, 1])
        return ("sagittal", "coronal", "axial")[int(np.abs(normal).argmax())]


@dataclass(frozen=True)
class Slice:
    """One plane of pixels.

    Attributes:
        file: holds it.
        frame: from 0, of a file with several (Enhanced MR); 0 in any other.
    """

    file: Path
    frame: int = 0
