"""The places of patches: around tumour voxels or anywhere in the brain."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.preparation.cache import CachedStudy
from gliodistill.preparation.prepared import REGION_BITS
from gliodistill.recipes.schema import SamplingPart

_KEPT = 4096
"""Voxels stored per study and region: enough to centre patches anywhere in a tumour."""


def draw_centre(
    sampling: SamplingPart,
    shape: tuple[int, ...],
    foreground: list[NDArray[np.int16]],
    inside: NDArray[np.int16] | None,
    random: np.random.Generator,
) -> tuple[int, int, int]:
    """The voxel that a patch is centred on.

    Args:
        sampling: of the recipe.
        shape: of the study, X Y Z.
        foreground: voxels of each region (N × 3), from :func:`foreground_voxels`.
        inside: voxels with a known label, if not all are known.
        random: the generator to draw from.
    """
    regions = [voxels for voxels in foreground if len(voxels)]
    if regions and random.random() < sampling.foreground:
        voxels = regions[int(random.integers(len(regions)))]
        centre = voxels[int(random.integers(len(voxels)))].astype(np.int64)
        # A tumour voxel in the patch, shifted from its centre by up to a quarter of the side.
        centre += np.array([random.integers(-(p // 4), p // 4 + 1) for p in sampling.patch])
    elif inside is not None and len(inside):
        centre = inside[int(random.integers(len(inside)))].astype(np.int64)
    else:
        centre = np.array([random.integers(s) for s in shape])
    # Keep the patch over the brain as far as it fits.
    half = np.asarray(sampling.patch) // 2
    low = np.minimum(half, np.asarray(shape) // 2)
    high = np.maximum(np.asarray(shape) - np.asarray(sampling.patch) + half, np.asarray(shape) // 2)
    x, y, z = np.clip(centre, low, high)
    return int(x), int(y), int(z)


def foreground_voxels(study: CachedStudy, truth: NDArray[np.uint8]) -> list[NDArray[np.int16]]:
    """Per region up to ``_KEPT`` voxel indices (N × 3), drawn with a seed of the study's id."""
    random = np.random.Generator(np.random.PCG64(list(study.id.encode())))
    return [_some(truth >> bit & 1, random) for bit in REGION_BITS[: len(study.regions)]]


def sampled_voxels(study: CachedStudy, mask: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Up to ``_KEPT`` voxels of a mask, drawn with a seed made of the study's id."""
    return _some(mask, np.random.Generator(np.random.PCG64(list(study.id.encode()))))


def _some(mask: NDArray[Any], random: np.random.Generator) -> NDArray[np.int16]:
    flat = np.flatnonzero(mask)
    if len(flat) > _KEPT:
        flat = np.sort(random.choice(flat, _KEPT, replace=False))
    return np.stack(np.unravel_index(flat, mask.shape), axis=1).astype(np.int16)
