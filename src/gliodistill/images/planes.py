"""Axial, coronal and sagittal cuts through a volume, shown the radiological way."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Plane:
    """A cut through a canonical (RAS+) volume, shown the radiological way.

    Attributes:
        name: in the caption.
        axis: the voxel axis it cuts across.
        left, right: patient directions at the picture's sides; anterior or superior is at the top.
    """

    name: str
    axis: int
    left: str
    right: str

    def cut(self, array: NDArray[Any], index: int) -> NDArray[Any]:
        """The slice as rows (from the top) × columns (from the left)."""
        # Axes left after the cut grow to the right/anterior and anterior/superior; the patient's
        # right and anterior belong on the left of the picture, anterior and superior at its top:
        # both flipped.
        cut: NDArray[Any] = array.take(index, axis=self.axis).T[::-1, ::-1]
        return cut


PLANES = (
    Plane("Axial", 2, "R", "L"),
    Plane("Coronal", 1, "R", "L"),
    Plane("Sagittal", 0, "A", "P"),
)


def largest_section(mask: NDArray[np.bool_], axis: int) -> int:
    """Index along ``axis`` of a mask on X Y Z where its cross-section is largest; of ties, the
    middle one.

    The middle of the volume where the mask is empty.
    """
    areas = mask.sum(axis=tuple(other for other in range(3) if other != axis))
    best = np.flatnonzero(areas == areas.max())
    return int(best[len(best) // 2])
