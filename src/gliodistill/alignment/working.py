"""Scans as alignment works on them: averaged to voxels no finer than the common grid can hold.

A scan of 512×512×512 voxels takes 0.5 GB. Nothing of the result is finer than about 1 mm, so
that blocks of finer voxels are averaged first: an eighth of the memory and time.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.volume import Volume

WORKING_MM = 1.0
"""Voxels are averaged in blocks of at most this side."""


def averaged(scan: Volume, finest: float) -> Volume:
    """Means of blocks of voxels, where the voxels are smaller than half of the sides asked for.

    Args:
        scan: any real dtype.
        finest: voxel size of the common grid, mm; more than :data:`WORKING_MM` counts as that.

    Returns:
        float32, voxel sides up to ``finest``; the scan itself where no block has two voxels. Voxels
        at the far end that fill no block are left out.
    """
    limit = min(finest, WORKING_MM)
    blocks = [
        max(1, min(n, int(limit / side + 1e-3)))
        for n, side in zip(scan.shape, scan.spacing, strict=True)
    ]
    if max(blocks) == 1:
        return scan
    shape = tuple(n // block for n, block in zip(scan.shape, blocks, strict=True))
    total: NDArray[np.float32] = np.zeros(shape, np.float32)
    for first in product(*map(range, blocks)):
        total += scan.data[
            tuple(
                slice(start, n * block, block)
                for start, n, block in zip(first, shape, blocks, strict=True)
            )
        ]
    total /= np.float32(np.prod(blocks))
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ ((np.array(blocks) - 1) / 2)
    affine[:3, :3] *= blocks
    return Volume(total, affine)


def without_voxels(scan: Volume) -> Volume:
    """The grid of a scan, of zeros that take no memory."""
    return scan.with_data(np.broadcast_to(np.uint8(0), scan.shape))
