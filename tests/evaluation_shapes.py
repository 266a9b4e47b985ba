"""Masks for tests: random blobs, boxes, and slow, plain computations to compare with."""

import itertools

import numpy as np
from hypothesis import strategies as st
from scipy import ndimage

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 1.3, 5.0), (2.0, 0.5, 1.1)]


def blobs(
    seed: int, shape: tuple[int, int, int] = (22, 18, 20), width: float = 1.3, share: float = 0.12
) -> np.ndarray:
    """Several lumps of different sizes, some at the border."""
    noise = ndimage.gaussian_filter(
        np.random.default_rng(seed).standard_normal(shape), width, mode="reflect"
    )
    return noise > np.quantile(noise, 1 - share)


def box(shape: tuple[int, int, int], *corners: tuple[slice, slice, slice]) -> np.ndarray:
    """True inside the given boxes."""
    mask = np.zeros(shape, dtype=bool)
    for corner in corners:
        mask[corner] = True
    return mask


@st.composite
def speckled(draw, shape: tuple[int, int, int] = (9, 8, 10)) -> np.ndarray:
    """Few small boxes: lesions of one voxel and more, touching, apart, at the border, or none."""
    mask = np.zeros(shape, dtype=bool)
    for _ in range(draw(st.integers(0, 4))):
        start = [draw(st.integers(0, size - 1)) for size in shape]
        mask[tuple(slice(s, s + draw(st.integers(1, 3))) for s in start)] = True
    return mask


def surface_of(mask: np.ndarray) -> np.ndarray:
    """Indices of the voxels that a 6-neighbour erosion takes."""
    return np.argwhere(mask & ~ndimage.binary_erosion(mask))


def to_nearest(origins: np.ndarray, targets: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Distance of each origin to the nearest target, all pairs looked at."""
    steps = (origins[:, None] - targets[None]) * np.array(spacing)
    return np.sqrt((steps**2).sum(axis=2)).min(axis=1)


def best_matching(overlap: np.ndarray) -> float:
    """The largest sum over one-to-one pairs, every way of pairing tried."""
    overlap = overlap if overlap.shape[0] <= overlap.shape[1] else overlap.T
    ways = itertools.permutations(range(overlap.shape[1]), overlap.shape[0])
    return max(
        (sum(overlap[row, column] for row, column in enumerate(way)) for way in ways), default=0.0
    )
