"""What needs no alignment: studies that are co-registered and skull-stripped already."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gliodistill.brain import is_stripped
from gliodistill.images.background import HEAD_ML, find_background
from gliodistill.images.volume import Volume
from gliodistill.studies.sequence import MRSequence

LEAST_HEAD_ML = 600.0
"""A smaller foreground is a piece of a brain, or a very small one: never a head. Half a head on a
background of 0 has more, and only a network tells it from a brain."""


def stripped_brain(scan: Volume) -> NDArray[np.bool_] | None:
    """The foreground of a scan without skull; None where the background is not constant, or what it
    surrounds is larger than a brain, or a part of a head.
    """
    voxels = np.asarray(scan.data, dtype=np.float32)
    background = find_background(voxels, scan.voxel_ml)
    if background.doubt is not None or not background.filled:
        return None
    brain = ~background.of(voxels)
    volume = float(brain.sum()) * scan.voxel_ml
    if volume >= HEAD_ML or (volume >= LEAST_HEAD_ML and not is_stripped(scan)):
        return None
    return brain


def on_one_grid(scans: Mapping[MRSequence, Volume]) -> bool:
    """Whether every scan has the grid of the first."""
    first, *others = scans.values()
    return all(other.same_grid(first) for other in others)
