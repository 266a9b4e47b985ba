"""Lesions: connected components of reference and prediction, their merging and overlaps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Components = NDArray[np.unsignedinteger[Any]]


def components(mask: Mask) -> tuple[Components, int]:
    """Connected components, neighbours by face, edge or corner (26): labels 1 … N on X Y Z, 0
    outside, and N.

    Args:
        mask: bool on X Y Z.
    """
    import cc3d

    labels, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    return labels, int(count)


def dilate(mask: Mask, times: int) -> Mask:
    """Grow a mask by its neighbours across faces and edges (18), several times over.

    Args:
        mask: bool on X Y Z; nothing grows beyond the array.
        times: how often.
    """
    # In flattened voxels a neighbour is a fixed step away; the border prevents wrapping around.
    padded = np.pad(np.ascontiguousarray(mask), times)
    grown, (x, y, z) = padded.ravel(), padded.strides
    for _ in range(times):
        # The 18 neighbours and the voxel itself are the 3×3 squares in the three planes.
        along_x = _along(grown, x)
        grown = _along(along_x, y) | _along(along_x, z) | _along(_along(grown, y), z)
    inner = slice(times, -times or None)
    return grown.reshape(padded.shape)[inner, inner, inner]


def _along(row: Mask, step: int) -> Mask:
    grown = row.copy()
    grown[step:] |= row[:-step]
    grown[:-step] |= row[step:]
    return grown


@dataclass(frozen=True)
class Lesions:
    """The labelled lesions of one region, and their overlaps.

    Attributes:
        truth: labels of the reference on X Y Z, 0 outside.
        prediction: the same.
        truth_voxels: int64 on T + 1, voxels of each reference lesion (index 0 is nothing).
        prediction_voxels: int64 on P + 1.
        touching: bool on T + 1, P + 1: which count as overlapping.
        shared_voxels: int64 on T + 1, P + 1: the voxels in both.
    """

    truth: Components
    prediction: Components
    truth_voxels: NDArray[np.int64]
    prediction_voxels: NDArray[np.int64]
    touching: NDArray[np.bool_]
    shared_voxels: NDArray[np.int64]

    @classmethod
    def of(cls, prediction: Mask, truth: Mask, merge: int = 0) -> "Lesions":
        """Label both masks.

        Args:
            prediction: bool on X Y Z.
            truth: bool on X Y Z.
            merge: number of dilations of the reference. Components whose dilations touch are one
                lesion, and predictions that touch the dilation overlap it; 0: plain components,
                which overlap if they share a voxel.
        """
        predicted, predicted_count = components(prediction)
        # A crop to both masks changes nothing: dilations touch between the lesions.
        around, count = components(dilate(truth, merge))
        lesions = around * truth if merge else around
        near = _pairs(around, predicted, count, predicted_count)
        shared = _pairs(lesions, predicted, count, predicted_count) if merge else near
        touching = near > 0
        touching[0], touching[:, 0] = False, False
        return cls(
            lesions,
            predicted,
            np.bincount(lesions[truth], minlength=count + 1),
            np.bincount(predicted[prediction], minlength=predicted_count + 1),
            touching,
            shared,
        )


def _pairs(
    first: Components, second: Components, first_count: int, second_count: int
) -> NDArray[np.int64]:
    """Number of voxels with each pair of non-zero labels."""
    here = np.flatnonzero((first > 0) & (second > 0))
    flat = first.ravel()[here].astype(np.int64) * (second_count + 1) + second.ravel()[here]
    return np.bincount(flat, minlength=(first_count + 1) * (second_count + 1)).reshape(
        first_count + 1, second_count + 1
    )


def f1(found: int, false: int, missed: int) -> float | None:
    """``2 TP / (2 TP + FP + FN)``; None without lesions."""
    total = 2 * found + false + missed
    return 2 * found / total if total else None
