"""Transplant of another patient's tumour into a patch (CarveMix, Zhang et al. 2021)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from gliodistill.training.data.augmentation import SpatialDraw


@dataclass(frozen=True)
class Donor:
    """A tumour that is transplanted.

    Attributes:
        study: the donor.
        centre: of the patch read in the donor.
        spatial: its spatial augmentation.
        rim: voxels around the whole tumour that are transplanted with it.
    """

    study: int
    centre: tuple[int, int, int]
    spatial: SpatialDraw
    rim: int

    def place_in(self, shape: tuple[int, ...], host: tuple[int, ...]) -> tuple[int, int, int]:
        """The donor's centre in the host: all studies are cropped to the brain, so shares of the
        sides correspond.

        Args:
            shape: of the donor, X Y Z.
            host: of the host, X Y Z.
        """
        x, y, z = (int(c * to / of) for c, of, to in zip(self.centre, shape, host, strict=True))
        return x, y, z


def transplant(
    levels: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    theirs: NDArray[np.uint8],
    tumour: NDArray[np.uint8],
    rim: int,
) -> None:
    """Put a donor's tumour, and a rim around it, into a patch; in place.

    Args:
        levels: of the patch, C X Y Z.
        mask: its labels, X Y Z.
        theirs: the donor's patch, C X Y Z.
        tumour: the donor's labels, X Y Z.
        rim: voxels around the whole tumour that are transplanted with it.
    """
    whole = torch.from_numpy(tumour & 1).float()[None, None]
    near = F.max_pool3d(whole, 2 * rim + 1, 1, rim)[0, 0].bool().numpy()
    # Only where both have brain.
    taken = near & (levels > 0).any(axis=0) & (theirs > 0).any(axis=0)
    for own, other in zip(levels, theirs, strict=True):
        if own.any():
            own[taken] = other[taken]
    mask[taken] = tumour[taken]
