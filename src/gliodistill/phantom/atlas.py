"""The tissue atlas of the package: probabilities of grey matter, white matter and fluid in an
average brain.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ATLAS_FILE = Path(__file__).parent / "data" / "icbm152_tissue_1mm.npz"
LEVELS = 16
"""Quantisation of each probability, so that two fit in a byte."""

HULL_BLUR_MM = 3.0


@dataclass(frozen=True, eq=False)
class Atlas:
    """Tissue probabilities on a brain-cropped grid, axes X Y Z in RAS+.

    Attributes:
        grey, white, fluid: float32 on X Y Z in [0, 1]; they sum to the brain mask.
        hull: float32 on X Y Z, the brain mask blurred by 3 mm: its level sets are brain outlines,
            0.5 that of the atlas.
        depth: float32 on X Y Z, mm from the brain's surface (0 outside).
        corner_mm: MNI coordinate of the centre of voxel (0, 0, 0).
        step_mm: voxel size.
    """

    grey: NDArray[np.float32]
    white: NDArray[np.float32]
    fluid: NDArray[np.float32]
    hull: NDArray[np.float32]
    depth: NDArray[np.float32]
    corner_mm: NDArray[np.float64]
    step_mm: float

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """MNI coordinate of the middle of the grid."""
        return self.corner_mm + (np.array(self.grey.shape) - 1) / 2 * self.step_mm


@lru_cache(maxsize=2)
def load_atlas(step_mm: int = 1) -> Atlas:
    """Read the atlas.

    Args:
        step_mm: 1, or an integer to average blocks of that many voxels (for coarse grids: faster,
            and free of aliasing).
    """
    from scipy import ndimage

    with np.load(ATLAS_FILE) as stored:
        half, width, corner = stored["tissue"], int(stored["width"]), stored["corner_mm"]
        mask = np.unpackbits(stored["mask"], count=half.size).reshape(half.shape)

    def whole(side: NDArray[np.generic]) -> NDArray[np.float32]:
        full = np.concatenate([side, side[: width - len(side)][::-1]]).astype(np.float32)
        return _block_mean(full, step_mm) if step_mm > 1 else full

    scale = np.float32(1 / (LEVELS - 1))
    brain = whole(mask)
    grey = np.minimum(whole(half & 15) * scale, brain)
    white = np.minimum(whole(half >> 4) * scale, brain - grey)
    coarse = _block_mean(brain, max(1, 4 // step_mm))
    # Padding, because the grid is cropped to the brain.
    distance = ndimage.distance_transform_edt(np.pad(coarse > 0.5, 1))[1:-1, 1:-1, 1:-1] * 4.0
    depth = ndimage.zoom(
        distance, [n / m for n, m in zip(brain.shape, distance.shape, strict=True)], order=1
    )
    hull = ndimage.gaussian_filter(brain, HULL_BLUR_MM / step_mm, mode="constant")
    centred = corner + (step_mm - 1) / 2
    return Atlas(
        grey, white, brain - grey - white, hull, depth.astype(np.float32), centred, float(step_mm)
    )


def _block_mean(values: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Means of ``block``³ voxels; a last incomplete block is filled with zeros."""
    pad = [(0, -size % block) for size in values.shape]
    x, y, z = (size + after for size, (_, after) in zip(values.shape, pad, strict=True))
    blocks = np.pad(values, pad).reshape(x // block, block, y // block, block, z // block, block)
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
    return means
