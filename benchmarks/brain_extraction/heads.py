"""Synthetic heads: label maps with head tissue, deformed, with a grown tumour or cavity.

A *head* is a label map of tissue classes at 1 mm with its brain mask; no intensities yet
(:mod:`~benchmarks.brain_extraction.rendering` gives them). Making one takes seconds, so a pool is
made in the background while the network trains::

    python -m benchmarks.brain_extraction.heads --data PATIENTS --work runs/brain --count 400
"""

import argparse
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gliodistill.images import read_nifti
from gliodistill.phantom.anatomy import rotation
from gliodistill.phantom.growth import DIFFUSION, PROLIFERATION, Front

CLASSES: dict[str, tuple[int, ...]] = {
    "air": (0,),
    "white": (2, 41),
    "cortex": (3, 42),
    "cerebellar white": (7, 46),
    "cerebellar cortex": (8, 47),
    "thalamus": (10, 49),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "brainstem": (16,),
    "hippocampus": (17, 53, 18, 54),
    "accumbens": (26, 58),
    "diencephalon": (28, 60, 85),
    "lesion": (25, 57, 136, 137, 163, 164),
    "ventricle": (4, 5, 14, 15, 43, 44, 72),
    "fluid": (24,),
    "vessel": (30, 62),
    "throat": (502,),
    "eye": (506,),
    "soft": (507,),
    "orbit": (508, 530),
    "nose": (509,),
    "skin": (511,),
    "tongue": (512,),
    "dura": (514,),
    "bone": (515,),
    "marrow": (516,),
    # Not in the label maps:
    "soft too": (),
    "skin too": (),
    "oedema": (),
    "core": (),
    "rim": (),
    "cavity": (),
}
"""Class → codes of the label maps (FreeSurfer, and those of SynthSeg for the head)."""

NUMBER = {name: number for number, name in enumerate(CLASSES)}
BRAIN = range(NUMBER["white"], NUMBER["fluid"])
SOLID = [n for n in BRAIN if n != NUMBER["ventricle"]]
CLOSING_MM = 8.0
"""The mask is the closing of the brain's tissue by a ball of this radius, without bone: sulci and
cisterns belong to it, most fluid over the convexity does not. With 8 mm, masks are as smooth as
those of BraTS."""

NEVER = ("air", "bone", "marrow", "soft", "skin", "eye", "orbit", "nose", "tongue", "throat")
"""Classes that the closing does not add."""

HELD_OUT = (7, 8)
"""Label maps (numbers in their file names) that only judging sees."""


@dataclass(frozen=True, eq=False)
class Head:
    """A label map at 1 mm, axes X Y Z (RAS+).

    Attributes:
        labels: uint8, numbers of ``CLASSES``.
        mask: bool, the brain.
        tumour: bool, part of it.
    """

    labels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    tumour: NDArray[np.bool_]

    def save(self, file: Path) -> None:
        """As one array in a compressed file."""
        packed = self.labels | self.mask.astype(np.uint8) << 6 | self.tumour.astype(np.uint8) << 7
        partial = file.with_suffix(".partial.npz")
        np.savez_compressed(partial, packed=packed)
        partial.rename(file)

    @classmethod
    def load(cls, file: Path) -> "Head":
        """What :meth:`save` wrote."""
        packed = np.load(file)["packed"]
        return cls(packed & 63, (packed & 64) > 0, (packed & 128) > 0)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One of the label maps, axes X Y Z (RAS+), 1 mm, cropped to the head.

    Attributes:
        labels: uint8, numbers of ``CLASSES``.
        mask: bool, the brain.
        gap: uint8, distance of fluid from the brain's tissue in tenths of a millimetre.
    """

    labels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    gap: NDArray[np.uint8]


@cache
def anatomy(file: Path, work: Path, closing: float = CLOSING_MM) -> Anatomy:
    """Read a label map; what is costly is kept below ``work``."""
    kept = work / f"{file.name.split('.')[0]}_{closing:g}.npz"
    if not kept.exists():
        codes = read_nifti(file).canonical().data.astype(np.int32)
        table = np.zeros(600, np.uint8)
        for number, those in enumerate(CLASSES.values()):
            table[list(those)] = number
        head = _largest(codes > 0)
        labels = np.where(head, table[codes], 0).astype(np.uint8)
        box = ndimage.find_objects(head.astype(np.uint8))[0]
        labels = np.ascontiguousarray(labels[box])
        tissue = _largest(np.isin(labels, BRAIN))
        gap = ndimage.distance_transform_edt(~tissue)
        mask = ~_reached(gap > closing, closing)
        mask &= ~np.isin(labels, [NUMBER[name] for name in NEVER])
        mask = ndimage.binary_fill_holes(_largest(mask | tissue))
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial.npz")
        np.savez_compressed(
            partial, labels=labels, mask=mask, gap=np.minimum(10 * gap, 255).astype(np.uint8)
        )
        partial.rename(kept)
    found = np.load(kept)
    return Anatomy(found["labels"], found["mask"], found["gap"])


def _reached(far: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Everything within ``radius`` mm of what is far from the brain."""
    within: NDArray[np.bool_] = ndimage.distance_transform_edt(~far) <= radius
    return within


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest: NDArray[np.bool_] = parts == sizes.argmax()
    return largest


def make_head(source: Anatomy, rng: np.random.Generator, turn_deg: float = 20.0) -> Head:
    """A deformed head with, mostly, a tumour.

    Args:
        source: of one person.
        rng: decides everything.
        turn_deg: standard deviation of the head's tilt about each axis.
    """
    labels, mask, gap = _deformed(source, rng, turn_deg)
    # Young brains and those under pressure leave little fluid: tissue grows into it.
    swell = rng.choice([0.0, rng.uniform(5, 40)])
    grown = (labels == NUMBER["fluid"]) & (gap <= swell) & (gap > 0)
    labels[grown] = NUMBER["cortex"]
    mask |= grown
    for name, other in (("soft", "soft too"), ("skin", "skin too")):
        blobs = _smooth(rng, labels.shape, rng.uniform(8, 25)) > rng.uniform(-0.5, 1.0)
        labels[(labels == NUMBER[name]) & blobs] = NUMBER[other]
    tumour = np.zeros(mask.shape, bool)
    if rng.random() < 0.7:
        _add_tumour(labels, mask, tumour, rng)
    return Head(labels, mask | tumour, tumour)


def _deformed(
    source: Anatomy, rng: np.random.Generator, turn_deg: float
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.uint8]]:
    shape = np.array(source.labels.shape)
    turn = rotation(tuple(rng.normal(0, turn_deg * np.array([1.0, 0.6, 0.8]))))
    matrix = np.diag(1 / (rng.uniform(0.88, 1.12) * rng.uniform(0.95, 1.05, 3))) @ turn
    matrix = matrix + rng.normal(0, 0.02, (3, 3))
    # The brain's middle stays in the middle; what a scanner sees is cut later.
    middle = np.array(ndimage.center_of_mass(source.mask[::4, ::4, ::4])) * 4
    size = np.array([208, 240, 232])
    x, y, z = (np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in size)
    if rng.random() < 0.5:
        x = x[::-1]
    flat = np.zeros(tuple(size), np.int32)
    outside = np.zeros(tuple(size), bool)
    fields = [(45.0, rng.uniform(0, 5)), (18.0, rng.uniform(0, 1.5))]
    for row in range(3):
        a, b, c = (np.float32(m) for m in matrix[row])
        place = (a * x)[:, None, None] + (b * y)[:, None] + (c * z) + np.float32(middle[row])
        for length, amount in fields:
            place += np.float32(amount) * _smooth(rng, tuple(size), length)
        near = np.rint(place).astype(np.int32)
        outside |= (near < 0) | (near >= shape[row])
        np.clip(near, 0, shape[row] - 1, out=near)
        flat *= shape[row]
        flat += near
    labels = np.where(outside, np.uint8(0), source.labels.ravel()[flat])
    mask = source.mask.ravel()[flat] & ~outside
    box = ndimage.find_objects((labels > 0).astype(np.uint8))[0]
    return (
        np.ascontiguousarray(labels[box]),
        np.ascontiguousarray(mask[box]),
        np.ascontiguousarray(source.gap.ravel()[flat[box]]),
    )


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], length: float) -> NDArray[np.float32]:
    """Noise of unit variance, correlated over ``length`` voxels."""
    knots = rng.standard_normal([int(n / length) + 4 for n in shape], dtype=np.float32)
    for axis, n in enumerate(shape):
        place = (np.arange(n) + rng.uniform(0, length)) / length + 1
        base = np.floor(place).astype(int)
        t = (place - base).astype(np.float32)
        weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
        matrix = np.zeros((n, knots.shape[axis]), np.float32)
        for k, weight in enumerate(weights):
            matrix[np.arange(n), np.clip(base - 1 + k, 0, knots.shape[axis] - 1)] += weight / 6
        knots = np.moveaxis(np.tensordot(matrix, knots, (1, axis)), 0, axis)
    return np.ascontiguousarray(knots) * np.float32((151 / 315) ** -1.5)


def _add_tumour(
    labels: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    tumour: NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """Grow a tumour in place; half of them near the surface."""
    step = 3
    part = slice(step // 2, None, step)
    coarse, inside = labels[part, part, part], mask[part, part, part]
    pace = np.zeros(len(CLASSES), np.float32)
    pace[SOLID] = rng.uniform(0.25, 0.7)
    pace[[NUMBER["white"], NUMBER["cerebellar white"], NUMBER["brainstem"]]] = 1
    pace[[NUMBER["fluid"], NUMBER["ventricle"]]] = rng.choice([0.0, 0.05, 0.3])
    walls = np.where(inside, DIFFUSION * pace[coarse], 0).astype(np.float32)
    solid = inside & np.isin(coarse, SOLID)
    depth = ndimage.distance_transform_edt(inside) * step
    where = np.argwhere(solid & (depth < 8) if rng.random() < 0.5 else solid)
    if not len(where):
        return
    seed = np.zeros(coarse.shape, np.float32)
    seed[tuple(where[rng.integers(len(where))])] = 1
    seed = np.where(walls > 0, np.minimum(1, 8 * ndimage.gaussian_filter(seed, 1.0)), 0)
    uneven = np.exp(0.5 * _smooth(rng, coarse.shape, 5.0))
    rate = (PROLIFERATION * np.clip(uneven, 0.25, 2.5)).astype(np.float32)
    whole_ml = np.exp(rng.uniform(np.log(5), np.log(180)))
    core_ml = whole_ml * rng.uniform(0.15, 0.9)
    core = Front(seed, walls, rate)
    core.run(core_ml / step**3 * 1000)
    reached = np.isfinite(core.arrival)
    if not reached.any():
        return
    oedema = Front(reached.astype(np.float32), walls, rate)
    oedema.run(whole_ml / step**3 * 1000)
    late = 1.2 * max(core.steps, oedema.steps) + 10
    fine = [
        _finer(np.where(np.isfinite(each), each, late), labels.shape, step)
        + 2 * _smooth(rng, labels.shape, 5.0)
        for each in (core.arrival, oedema.arrival)
    ]
    ends = [np.sort(each[np.isfinite(each)])[-1] for each in (core.arrival, oedema.arrival)]
    inner, whole = fine[0] <= ends[0], fine[1] <= ends[1]
    allowed = mask.copy()
    if rng.random() < 0.3:  # bulges to the bone, or into it
        allowed |= ndimage.binary_dilation(mask, iterations=int(rng.integers(1, 4))) & np.isin(
            labels, [NUMBER[name] for name in ("fluid", "bone", "dura", "marrow")]
        )
    whole, inner = (whole | inner) & allowed, inner & allowed
    rim = inner & (fine[0] > ends[0] * rng.uniform(0.6, 0.95))
    labels[whole] = NUMBER["oedema"]
    labels[inner] = NUMBER["cavity" if rng.random() < 0.3 else "core"]
    if rng.random() < 0.6:
        labels[rim] = NUMBER["rim"]
    tumour |= whole


def _finer(values: NDArray[np.float32], shape: tuple[int, ...], step: int) -> NDArray[np.float32]:
    """Linear interpolation to voxels ``step`` times smaller."""
    result = values.astype(np.float32)
    for axis, n in enumerate(shape):
        place = np.clip((np.arange(n) - step // 2) / step, 0, result.shape[axis] - 1)
        base = np.minimum(place.astype(int), max(result.shape[axis] - 2, 0))
        t = (place - base).astype(np.float32)
        matrix = np.zeros((n, result.shape[axis]), np.float32)
        matrix[np.arange(n), base] += 1 - t
        matrix[np.arange(n), np.minimum(base + 1, result.shape[axis] - 1)] += t
        result = np.moveaxis(np.tensordot(matrix, result, (1, axis)), 0, axis)
    return result


def label_maps(data: Path, held_out: bool) -> list[Path]:
    """The label maps for training, or those held out."""
    files = sorted((data / "brain_labels").glob("*.nii.gz"))
    return [f for f in files if (int(f.name.split("_")[-1].split(".")[0]) in HELD_OUT) == held_out]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--held-out", type=int, default=20, help="heads of the maps held out")
    arguments = parser.parse_args()
    wanted = [("train", i) for i in range(arguments.count)]
    # A few for training first, then those for validation, then the rest.
    wanted[24:24] = [("held_out", i) for i in range(arguments.held_out)]
    for kind, index in wanted:
        folder = arguments.work / "heads" / kind
        folder.mkdir(parents=True, exist_ok=True)
        out = folder / f"{index:04d}.npz"
        if out.exists():
            continue
        start = time.perf_counter()
        maps = label_maps(arguments.data, kind == "held_out")
        source = anatomy(maps[index % len(maps)], arguments.work / "anatomy")
        make_head(source, np.random.default_rng([24, kind == "held_out", index])).save(out)
        print(f"{kind} {index}: {time.perf_counter() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
