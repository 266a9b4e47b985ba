"""What needs no alignment: studies that are co-registered and skull-stripped already."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gliodistill.images.background import HEAD_ML, find_background
from gliodistill.images.volume import Volume
from gliodistill.studies.sequence import MRSequence


def stripped_brain(scan: Volume) -> NDArray[np.bool_] | None:
    """The foreground of a scan without skull; None where the background is not constant, or what it
    surrounds is larger than a brain.
    """
    voxels = np.asarray(scan.data, dtype=np.float32)
    background = find_background(voxels, scan.voxel_ml)
    if background.doubt is not None or not background.filled:
        return None
    brain = ~background.of(voxels)
    return brain if brain.sum() * scan.voxel_ml < HEAD_ML else None


def on_one_grid(scans: Mapping[MRSequence, Volume]) -> bool:
    """Whether every scan has the grid of the first."""
    first, *others = scans.values()
    return all(other.same_grid(first) for other in others)
