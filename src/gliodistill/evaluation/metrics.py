"""Overlap, surface distance and volume of one region: two boolean masks on one grid."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]


def dice(prediction: Mask, truth: Mask) -> float | None:
    """Dice overlap ``2|P ∩ T| / (|P| + |T|)``.

    Args:
        prediction: bool on X Y Z.
        truth: bool on X Y Z, the same grid.

    Returns:
        0 … 1, or None where both masks are empty (a rule set decides what that is worth).
    """
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return 2.0 * np.count_nonzero(prediction & truth) / total if total else None


def sensitivity(prediction: Mask, truth: Mask) -> float | None:
    """Share of the truth's voxels that the prediction holds, 0 … 1; None where the truth is empty."""
    positives = np.count_nonzero(truth)
    return np.count_nonzero(prediction & truth) / positives if positives else None


def specificity(prediction: Mask, truth: Mask, beyond: int = 0) -> float | None:
    """Share of the voxels outside the truth, in the whole image, that the prediction leaves out, 0 … 1.

    None where the truth fills the image. A tumour is a small part of a head, so this lies near 1 for any
    sane prediction: it is reported because tables ask for it, not because it tells models apart.

    Args:
        prediction: bool on X Y Z.
        truth: bool on X Y Z, the same grid.
        beyond: how many voxels of the image were cropped away; all lie outside both masks.
    """
    negatives = truth.size + beyond - np.count_nonzero(truth)
    false_positives = np.count_nonzero(prediction) - np.count_nonzero(prediction & truth)
    return 1.0 - false_positives / negatives if negatives else None


def volume_ml(mask: Mask, voxel_ml: float) -> float:
    """Volume of a mask in ml; ``voxel_ml`` as in :attr:`gliodistill.images.volume.Volume.voxel_ml`."""
    return float(np.count_nonzero(mask)) * voxel_ml


def hd95_mm(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> float | None:
    """Robust Hausdorff distance between the surfaces of two masks, in mm.

    The surface of a mask is its voxels with a face neighbour outside (6-neighbour erosion; beyond the image
    counts as outside). From each surface voxel centre of one mask the distance to the nearest surface voxel
    centre of the other is taken, in both directions; the result is the larger of the two 95th percentiles
    (linear interpolation). This is MONAI's ``compute_hausdorff_distance(percentile=95)``; implementations that
    pool both directions before the percentile (MedPy ``hd95``) give other, mostly smaller, numbers.

    Args:
        prediction: bool on X Y Z.
        truth: bool on X Y Z, the same grid.
        spacing: voxel size along X, Y, Z in mm.

    Returns:
        Millimetres, ≥ 0, exact; None where either mask is empty (a rule set decides what that is worth).
    """
    here, there = bounding_box(prediction), bounding_box(truth)
    if here is None or there is None:
        return None
    predicted, true = surface_points(prediction[here], here, spacing), surface_points(truth[there], there, spacing)
    return max(_directed_percentile(predicted, true), _directed_percentile(true, predicted))


def bounding_box(mask: Mask) -> Box | None:
    """The smallest box of slices that holds every true voxel of a mask on X Y Z, or None where there is none."""
    slices = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        if filled.size == 0:
            return None
        slices.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return slices[0], slices[1], slices[2]


def surface_points(mask: Mask, box: Box, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Centres of a cropped mask's surface voxels, N×3 in mm along the voxel axes of the uncropped grid.

    Args:
        mask: bool on X Y Z, cropped to ``box`` (so everything beyond it is outside).
        box: where the crop lies.
        spacing: voxel size along X, Y, Z in mm.
    """
    padded = np.pad(mask, 1)
    inside = mask.copy()
    for axis in range(3):
        for step in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(step, step + mask.shape[axis])
            inside &= padded[tuple(window)]
    corner = np.array([part.start for part in box])
    points: NDArray[np.float64] = (np.argwhere(mask & ~inside) + corner) * np.asarray(spacing, dtype=np.float64)
    return points


def _directed_percentile(origins: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    # A k-d tree over surface voxels is as exact as a distance transform of the box, and needs no float map.
    from scipy.spatial import KDTree

    distances, _ = KDTree(targets, leafsize=32).query(origins)
    return float(np.percentile(distances, 95))
