"""Transplant: another patient's tumour in a patch (CarveMix, Zhang et al., MICCAI 2021)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from gliodistill.preparation.prepared import TUMOUR
from gliodistill.training.transforms.spatial import SpatialDraw


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


@dataclass(frozen=True)
class Transplant:
    """Put a labelled patient's tumour, and a rim of what is around it, into another's patch.

    The sampler draws the donor and the position.

    Args:
        p: probability that a labelled patch gets a tumour besides its own.
        rim: most voxels around the tumour that are transplanted with it; drawn evenly from 0 on.
    """

    p: float = 0.0
    rim: int = 2

    def draw(self, random: np.random.Generator) -> int:
        """The rim of one tumour, in voxels."""
        return int(random.integers(self.rim + 1))

    @staticmethod
    def apply(
        levels: NDArray[np.uint8],
        mask: NDArray[np.uint8],
        theirs: NDArray[np.uint8],
        tumour: NDArray[np.uint8],
        rim: int,
    ) -> None:
        """Change a patch in place.

        Args:
            levels: of the patch that gets the tumour, uint8 C X Y Z.
            mask: its reference, bits as in a prepared study, uint8 X Y Z.
            theirs: levels of the patch that gives it.
            tumour: its reference.
            rim: as drawn.
        """
        whole = torch.from_numpy((tumour & TUMOUR) != 0).float()[None, None]
        near = F.max_pool3d(whole, 2 * rim + 1, 1, rim)[0, 0].bool().numpy()
        # Only where both have brain.
        taken = near & (levels > 0).any(axis=0) & (theirs > 0).any(axis=0)
        for own, other in zip(levels, theirs, strict=True):
            if own.any():
                own[taken] = other[taken]
        mask[taken] = tumour[taken]
