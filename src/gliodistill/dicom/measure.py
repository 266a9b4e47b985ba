"""Sizes of a region: volume, and the two diameters that response criteria (RANO) ask for.

The longest axial diameter is the longest straight line inside one lesion on one axial plane. The
perpendicular diameter is the longest line at right angles to it, across the same lesion on the same
plane. A lesion on a plane is a set of voxels that touch, also at corners. A line may cross a hole
or a notch of it (necrosis inside a rim of enhancement is measured with the rim): lines are taken in
the convex hull. The axial planes are those of the grid that lie closest to the patient's.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform

from gliodistill.images.volume import Volume

_TOUCHING = np.ones((3, 3), dtype=bool)
_SIDES = np.array([(-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)])
"""A pixel's reach: the middles of its sides, so that a row of n pixels is n pixels long."""


@dataclass(frozen=True)
class Diameters:
    """Of one lesion on one axial plane, in mm.

    Attributes:
        longest: the longest axial diameter.
        perpendicular: the longest at right angles to it.
        ends: of the longest, two points in mm, RAS+.
    """

    longest: float
    perpendicular: float
    ends: tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Size:
    """Of a region: its volume, and the diameters of its longest lesion (None where it is empty)."""

    volume_mm3: float
    diameters: Diameters | None


def size(mask: Volume) -> Size:
    """Volume and diameters of what is not 0 in ``mask`` (X Y Z)."""
    voxels = int(np.count_nonzero(mask.data))
    return Size(voxels * mask.voxel_ml * 1000.0, diameters(mask))


def diameters(mask: Volume) -> Diameters | None:
    """The longest axial diameter of what is not 0 in ``mask``, and its perpendicular; None of an
    empty mask.
    """
    volume = mask.canonical()
    best: tuple[float, float, NDArray[np.float64]] | None = None
    present = np.flatnonzero(volume.data.any(axis=(0, 1)))
    plane_axes = volume.affine[:3, :2]
    for k in present.tolist():
        lesions, count = ndimage.label(volume.data[:, :, k] != 0, structure=_TOUCHING)
        for lesion, box in enumerate(ndimage.find_objects(lesions, max_label=count), start=1):
            sides = [
                plane_axes[:, axis] * (part.stop - part.start) for axis, part in enumerate(box)
            ]
            if best is not None and sum(np.linalg.norm(side) for side in sides) <= best[0]:
                continue
            pixels = np.argwhere(lesions[box] == lesion) + [part.start for part in box]
            found = _across(pixels, plane_axes)
            if best is None or found[0] > best[0]:
                longest, perpendicular, ends = found
                at = np.column_stack([ends, np.full(2, k), np.ones(2)]) @ volume.affine.T
                best = longest, perpendicular, at[:, :3]
    if best is None:
        return None
    longest, perpendicular, at = best
    one, two = (tuple(float(value) for value in point) for point in at)
    return Diameters(longest, perpendicular, (one, two))  # type: ignore[arg-type]


def _across(
    pixels: NDArray[np.int64], axes: NDArray[np.float64]
) -> tuple[float, float, NDArray[np.float64]]:
    """The longest line through a set of pixels, and the longest perpendicular to it.

    Args:
        pixels: indices, N 2.
        axes: a pixel's sides in mm, 3 2.

    Returns:
        both lengths in mm, and the ends of the first as indices (2 2).
    """
    reach = np.unique((pixels[:, None, :] + _SIDES).reshape(-1, 2), axis=0)
    corners = reach[ConvexHull(reach).vertices]
    # Millimetres on two perpendicular axes of the plane.
    frame, _ = np.linalg.qr(axes)
    outline = corners @ (frame.T @ axes).T
    distances = squareform(pdist(outline))
    one, two = np.unravel_index(distances.argmax(), distances.shape)
    along = (outline[two] - outline[one]) / distances[one, two]
    x, y = outline @ along, outline @ np.array([-along[1], along[0]])
    return float(distances[one, two]), _widest(x, y), corners[[one, two]]


def _widest(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The longest line parallel to y inside a convex polygon: it passes through a corner."""
    turned = np.roll(np.arange(len(x)), -int(x.argmin()))
    x, y = x[turned], y[turned]
    far = int(x.argmax())
    one, two = slice(0, far + 1), [*range(len(x) - 1, far - 1, -1)]
    below = np.interp(x, x[one], y[one])
    above = np.interp(x, np.append(x[0], x[two]), np.append(y[0], y[two]))
    return float(np.abs(above - below).max())
