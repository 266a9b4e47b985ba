"""Lumps put into real heads: masses and cysts near the brain's surface that belong to the brain.

Few real heads have a mask, and fewer a tumour at the surface, which networks take for skull or
fluid. A lump has any signal, with or without a rim, and fills the brain up to its mask.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.brain_extraction.heads import _smooth

RADIUS = (4.0, 13.0)
"""Range of half axes, in voxels of the network's grid (2 mm)."""

DEPTH = 6
"""Centres lie at most so many voxels inside the brain."""


def add_lump(
    image: NDArray[np.float32],
    share: NDArray[np.float32],
    tumour: NDArray[np.float32],
    rng: np.random.Generator,
) -> None:
    """Put a lump into ``image`` and ``tumour``, in place.

    Args:
        image: float32 on X Y Z, any scale.
        share: float32 on X Y Z, the share of brain.
        tumour: float32 on X Y Z, the share of tumour.
        rng: decides everything.
    """
    brain = share > 0.5
    inner = ndimage.binary_erosion(brain, iterations=int(rng.integers(1, DEPTH + 1)))
    shell = np.flatnonzero(brain & ~inner)
    if not shell.size:
        return
    centre = np.array(np.unravel_index(rng.choice(shell), brain.shape))
    radius = rng.uniform(*RADIUS, 3)
    box = tuple(
        slice(max(0, int(c - 1.5 * r)), int(c + 1.5 * r) + 2)
        for c, r in zip(centre, radius, strict=True)
    )
    there, within = image[box], share[box]
    axes = [np.arange(s.start, s.start + n) for s, n in zip(box, there.shape, strict=True)]
    far = sum(
        ((place - c) / r) ** 2 for place, c, r in zip(np.ix_(*axes), centre, radius, strict=True)
    )
    far = np.sqrt(far) + np.float32(0.15) * _smooth(rng, there.shape, 6.0)
    inside = np.clip(4 * (1 - far), 0, 1) * within
    typical = float(np.median(image[brain]))
    values = np.full(there.shape, rng.uniform(0.05, 1.6) * typical, np.float32)
    if rng.random() < 0.5:
        values[far > rng.uniform(0.6, 0.85)] = rng.uniform(0.3, 2.0) * typical
    values *= 1 + np.float32(rng.uniform(0, 0.25)) * _smooth(rng, there.shape, 3.0)
    image[box] = there * (1 - inside) + np.maximum(values, 0) * inside
    tumour[box] = np.maximum(tumour[box], inside)
