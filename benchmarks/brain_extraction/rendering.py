"""Scans of synthetic heads, on the network's grid: contrast, slices, artefacts, field of view.

One takes about a tenth of a second, so that every training step sees a new scan.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.brain_extraction.heads import BRAIN, CLASSES, NUMBER, Head, _smooth
from gliodistill.brain.grid import DIVISOR, GRID_MM, normalised
from gliodistill.images import Volume
from gliodistill.images.resampling import axis_matrix

CONTRASTS: dict[str, dict[str, float]] = {
    "T1": {
        "white": 0.95, "cortex": 0.65, "fluid": 0.2, "bone": 0.08, "marrow": 0.8, "soft": 1.1,
        "skin": 0.6, "eye": 0.25, "dura": 0.5, "oedema": 0.6, "core": 0.5, "rim": 0.6,
        "cavity": 0.2, "vessel": 0.3,
    },
    "T1CE": {
        "white": 0.9, "cortex": 0.65, "fluid": 0.2, "bone": 0.08, "marrow": 0.8, "soft": 1.1,
        "skin": 0.8, "eye": 0.25, "dura": 1.2, "oedema": 0.6, "core": 0.5, "rim": 1.3,
        "cavity": 0.2, "vessel": 1.3,
    },
    "T2": {
        "white": 0.45, "cortex": 0.65, "fluid": 1.3, "bone": 0.08, "marrow": 0.5, "soft": 0.8,
        "skin": 0.4, "eye": 1.3, "dura": 0.3, "oedema": 0.95, "core": 1.0, "rim": 0.7,
        "cavity": 1.3, "vessel": 0.1,
    },
    "FLAIR": {
        "white": 0.6, "cortex": 0.75, "fluid": 0.15, "bone": 0.06, "marrow": 0.45, "soft": 0.7,
        "skin": 0.5, "eye": 0.2, "dura": 0.45, "oedema": 1.2, "core": 1.0, "rim": 0.95,
        "cavity": 0.2, "vessel": 0.2,
    },
}  # fmt: skip
"""Typical signal; all of it is then varied."""

ALIKE = {
    "cerebellar white": "white", "brainstem": "white", "pallidum": "white", "diencephalon": "white",
    "cerebellar cortex": "cortex", "thalamus": "cortex", "caudate": "cortex", "putamen": "cortex",
    "hippocampus": "cortex", "accumbens": "cortex", "lesion": "cortex", "ventricle": "fluid",
    "throat": "skin", "orbit": "soft", "nose": "skin", "tongue": "skin", "soft too": "skin",
    "skin too": "soft",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Example:
    """What the network learns from.

    Attributes:
        image: float32 on X Y Z, sides multiples of ``DIVISOR``: as the network reads levels.
        share: float32 on X Y Z, the share of brain in each voxel.
        tumour: float32 on X Y Z, the share of tumour.
    """

    image: NDArray[np.float32]
    share: NDArray[np.float32]
    tumour: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Acquired:
    """A scan of a head.

    Attributes:
        image: float32 on X Y Z, the voxels acquired.
        spacing: of them, in mm.
        mask, tumour: bool on X Y Z, of the same field.
        scale: voxel size of the mask in mm, about 1: heads differ in size.
    """

    image: NDArray[np.float32]
    spacing: tuple[float, float, float]
    mask: NDArray[np.bool_]
    tumour: NDArray[np.bool_]
    scale: tuple[float, float, float]


def acquire(head: Head, rng: np.random.Generator) -> Acquired:
    """Scan a head: contrast, field of view, slices, artefacts."""
    box = _field_of_view(head, rng)
    labels, mask, tumour = head.labels[box], head.mask[box], head.tumour[box]
    scan = _signal(rng)[labels]
    axis, thickness, gap = _slices(rng)
    in_plane = rng.uniform(1.0, 2.0)
    if thickness <= 1.5:
        in_plane = max(thickness, 1.0)
    spacing = [in_plane] * 3
    spacing[axis] = thickness + gap
    scale = rng.uniform(0.95, 1.05) * rng.uniform(0.95, 1.05, 3)
    for a in sorted(range(3), key=lambda a: a != axis):
        size = labels.shape[a]
        slab = (thickness if a == axis else in_plane) / scale[a]
        step = spacing[a] / scale[a]
        scan = _along(scan, _acquisition(size, max(2, int(size / step)), slab, step), a)
    x, y, z = spacing
    i, j, k = scale
    return Acquired(_artefacts(scan, axis, rng), (x, y, z), mask, tumour, (i, j, k))


def render(head: Head, rng: np.random.Generator) -> Example:
    """A scan of a head, as :func:`gliodistill.brain.grid.coarse` would give it."""
    acquired = acquire(head, rng)
    scan, shares = acquired.image, [acquired.mask, acquired.tumour]
    shares = [each.astype(np.float32) for each in shares]
    for a, step in enumerate(acquired.spacing):
        wanted = max(1, round(acquired.image.shape[a] * step / GRID_MM))
        direct = axis_matrix(shares[0].shape[a], wanted, GRID_MM / acquired.scale[a])
        shares = [_along(each, direct, a) for each in shares]
        scan = _along(scan, axis_matrix(scan.shape[a], wanted, GRID_MM / step), a)
    if rng.random() < 0.12:
        scan = _stripped(scan, shares[0], rng)
    return finished(scan, *shares)


def scan_of(
    head: Head, rng: np.random.Generator
) -> tuple[Volume, NDArray[np.bool_], NDArray[np.bool_]]:
    """A scan as a file would hold it, its axes in any order, with its brain and tumour."""
    acquired = acquire(head, rng)
    found = [acquired.image]
    for each in (acquired.mask, acquired.tumour):
        share = each.astype(np.float32)
        for a, side in enumerate(acquired.image.shape):
            step = acquired.spacing[a] / acquired.scale[a]
            share = _along(share, _acquisition(share.shape[a], side, step, step), a)
        found.append(share)
    affine = np.diag([*acquired.spacing, 1.0])
    order = rng.permutation(3)
    affine = affine[:, [*order, 3]]
    found = [each.transpose(order) for each in found]
    for a in range(3):
        if rng.random() < 0.5:
            affine[:3, 3] += affine[:3, a] * (found[0].shape[a] - 1)
            affine[:3, a] *= -1
            found = [np.flip(each, a) for each in found]
    return Volume(np.ascontiguousarray(found[0]), affine), found[1] > 0.5, found[2] > 0.5


def nothing(rng: np.random.Generator) -> Example:
    """An image without a brain: noise, a constant, or blobs."""
    shape = tuple(int(n) for n in rng.integers(40, 110, 3))
    image = np.full(shape, rng.uniform(0, 1), np.float32)
    kind = rng.integers(3)
    if kind:
        image += rng.standard_normal(shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.5))
    if kind == 2:
        image *= np.maximum(_smooth(rng, shape, rng.uniform(5, 30)), 0)
    empty = np.zeros(shape, np.float32)
    return finished(image, empty, empty)


def finished(
    scan: NDArray[np.float32], share: NDArray[np.float32], ill: NDArray[np.float32]
) -> Example:
    """Normalise and pad."""
    padding = [(0, -side % DIVISOR) for side in scan.shape]
    image = np.clip(normalised(scan), 0, 5)
    return Example(*(np.pad(each, padding) for each in (image, share, ill)))


def _signal(rng: np.random.Generator) -> NDArray[np.float32]:
    """Signal of each class."""
    kind = rng.choice([*CONTRASTS, "random"], p=[0.2, 0.2, 0.15, 0.2, 0.25])
    signal = np.zeros(len(CLASSES), np.float32)
    for name, number in NUMBER.items():
        if name == "air":
            continue
        if kind == "random":
            signal[number] = rng.uniform(0.02, 1.2)
            continue
        typical = CONTRASTS[kind]
        base = typical.get(name) or typical[ALIKE[name]]
        outside = number not in BRAIN and name not in ("oedema", "core", "rim", "cavity", "fluid")
        signal[number] = base * np.exp(rng.normal(0, 0.35 if outside else 0.12))
    if kind == "random" and rng.random() < 0.6:
        # Tissues of the brain seldom differ as much as random numbers do.
        some = [NUMBER[n] for n in CLASSES if NUMBER[n] in BRAIN and n != "ventricle"]
        middle = signal[some].mean()
        signal[some] = middle + rng.uniform(0.1, 0.5) * (signal[some] - middle)
        signal[NUMBER["ventricle"]] = signal[NUMBER["fluid"]]
    if rng.random() < 0.15:  # fat suppression
        signal[[NUMBER["soft"], NUMBER["marrow"], NUMBER["skin too"]]] *= rng.uniform(0.1, 0.5)
    signal[0] = rng.choice([0.0, rng.uniform(0, 0.05)])
    return signal


def _slices(rng: np.random.Generator) -> tuple[int, float, float]:
    """Axis, thickness and gap in mm of the slices."""
    if rng.random() < 0.3:
        return int(rng.integers(3)), float(rng.uniform(1.0, 1.5)), 0.0
    axis = int(rng.choice(3, p=[0.15, 0.15, 0.7]))
    return axis, float(rng.uniform(1.5, 7.0)), float(rng.choice([0.0, rng.uniform(0, 1.5)]))


def _acquisition(size: int, count: int, slab: float, step: float) -> NDArray[np.float32]:
    """Means of slabs of ``slab`` mm every ``step`` mm, from voxels of 1 mm (count × size)."""
    centres = (np.arange(count) + 0.5) * step
    low, high = centres - slab / 2, centres + slab / 2
    edges = np.arange(size)
    weights = np.minimum(high[:, None], edges + 1) - np.maximum(low[:, None], edges)
    weights = np.maximum(weights, 1e-6 * (np.abs(centres[:, None] - edges - 0.5) < 1))
    normed: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normed


def _along(
    values: NDArray[np.float32], matrix: NDArray[np.float32], axis: int
) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis))


def _field_of_view(head: Head, rng: np.random.Generator) -> tuple[slice, slice, slice]:
    """What the scanner sees: the neck mostly cut, sometimes a part of the brain too."""
    brain = [np.flatnonzero(head.mask.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    sides = []
    if rng.random() < 0.02 and brain[2][0] > 60:  # a neck
        return slice(None), slice(None), slice(0, int(brain[2][0]))
    for axis, (size, inside) in enumerate(zip(head.labels.shape, brain, strict=True)):
        low, high = 0, size
        if axis == 2:
            below = rng.choice([rng.uniform(-5, 25), rng.uniform(0, 60), 120], p=[0.6, 0.3, 0.1])
            low = int(max(0, inside[0] - below))
            high = int(min(size, inside[-1] + 1 + rng.choice([rng.uniform(-4, 15), 60])))
        if rng.random() < 0.06:  # a cut field
            cut = int(rng.uniform(0.1, 0.4) * len(inside))
            low, high = (inside[0] + cut, high) if rng.random() < 0.5 else (low, inside[-1] - cut)
        sides.append(slice(int(low), int(high)))
    return sides[0], sides[1], sides[2]


def _artefacts(
    scan: NDArray[np.float32], axis: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Texture, bias field, gamma, ghosts and noise, on the voxels acquired."""
    shape = scan.shape
    coarse = rng.uniform(2, 6)
    scan = scan * (1 + np.float32(rng.uniform(0, 0.15)) * _smooth(rng, shape, coarse))
    bias = _smooth(rng, shape, max(8.0, rng.uniform(0.3, 1.0) * max(shape)))
    scan *= np.exp(np.float32(rng.uniform(0, 0.35)) * bias)
    if rng.random() < 0.3:
        top = max(float(scan.max()), 1e-6)
        scan = top * (np.maximum(scan, 0) / top) ** np.float32(np.exp(rng.normal(0, 0.25)))
    if rng.random() < 0.15:  # ghosts along the phase-encoding axis
        phase = int(rng.choice([a for a in range(3) if a != axis]))
        shift = shape[phase] // int(rng.integers(2, 5))
        scan = scan + np.float32(rng.uniform(0.03, 0.15)) * np.roll(scan, shift, phase)
    amount = np.float32(rng.uniform(0, 0.08) * rng.choice([0.3, 1.0]))
    noise = rng.standard_normal(shape, dtype=np.float32)
    if rng.random() < 0.5:
        return np.abs(scan + amount * noise)  # nearly Rician, at half the cost
    return np.maximum(scan + amount * noise, 0)


def _stripped(
    scan: NDArray[np.float32], share: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """A head whose skull is gone already: close to the brain, or some millimetres from it."""
    from scipy import ndimage

    keep = share > rng.uniform(0.2, 0.7)
    if rng.random() < 0.5:
        keep = ndimage.binary_dilation(keep, iterations=int(rng.integers(1, 5)))
    return np.where(keep, np.maximum(scan, 1e-3), np.float32(0))
