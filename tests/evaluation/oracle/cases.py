"""Pairs of label maps whose scores are known from elsewhere: made by integer arithmetic from a
seed, on any machine alike.

NumPy alone: the script that asks the official packages runs in an environment of theirs and imports
this too. Codes are those of BraTS 2023 and later: 1 necrosis, 2 oedema, 3 enhancing tumour, 4
resection cavity (BraTS-PED reads the same numbers as 1 enhancing, 2 non-enhancing, 3 cyst, 4
oedema).
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]

REGIONS: dict[str, dict[str, tuple[int, ...]]] = {
    "gli": {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)},
    "gli-post": {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,), "NETC": (1,), "SNFH": (2,), "RC": (4,)},
    "met": {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,), "RC": (4,)},
    "ped": {"WT": (1, 2, 3, 4), "TC": (1, 2, 3), "ET": (1,), "NETC": (2,), "CC": (3,), "ED": (4,)},
    "men-rt": {"GTV": (1,)},
}
"""Task → region → codes, as in the challenges' own code; the tasks not named here share those of
``gli``.
"""

MASK_CODES = {"men-rt": (1, "GTV"), "ped": (1, "ET")}
"""Task → the code of a mask and the region that it is, where that is not code 3 and ET."""

TOLERANCES_MM = (1.0, 2.0)
"""Of the surface Dice."""


@dataclass(frozen=True)
class Case:
    """One pair.

    Attributes:
        name: what is special about it.
        prediction: codes on X Y Z.
        truth: the same of the truth.
        spacing: voxel size along X, Y, Z in mm.
    """

    name: str
    prediction: Labels
    truth: Labels
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def digest(self) -> str:
        """Tells whether the numbers on file were made from these arrays."""
        return digest(self.prediction, self.truth)


def digest(*labels: Labels) -> str:
    """Short hash of label maps and their shapes."""
    state = hashlib.sha256()
    for array in labels:
        state.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:16]


def region(labels: Labels, codes: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where a label map holds one of ``codes``."""
    return np.isin(labels, codes)


def known_to(task: str, labels: Labels) -> Labels:
    """Without the codes that a task does not have: the official package refuses them."""
    if task == "men-rt":
        return (labels == 1).astype(np.uint8)
    return (
        labels
        if task in ("gli-post", "ped", "met")
        else np.where(labels == 4, 0, labels).astype(np.uint8)
    )


def as_mask(case: Case, task: str) -> tuple[Case, str]:
    """A case of one region in the code that the task has for it, and the region."""
    code, name = MASK_CODES.get(task, (3, "ET"))
    pair = (np.where(labels == 3, code, 0) for labels in (case.prediction, case.truth))
    return Case(case.name, *(labels.astype(np.uint8) for labels in pair), case.spacing), name


SHAPE = (36, 34, 30)


def blank(shape: tuple[int, int, int] = SHAPE) -> Labels:
    """No tumour."""
    return np.zeros(shape, dtype=np.uint8)


def box(*bounds: tuple[int, int], code: int = 3, on: Labels | None = None) -> Labels:
    """A cuboid of half-open ``bounds`` per axis, drawn into ``on`` or a blank map."""
    labels = blank() if on is None else on
    labels[tuple(slice(*bound) for bound in bounds)] = code
    return labels


def ball(labels: Labels, centre: tuple[int, ...], radius: int, code: int = 3) -> Labels:
    """Draw a ball into ``labels`` (integer arithmetic, clipped at the border)."""
    x, y, z = np.ogrid[tuple(slice(-c, n - c) for c, n in zip(centre, labels.shape, strict=True))]
    labels[x * x + y * y + z * z <= radius * radius] = code
    return labels


def balls(
    seed: int,
    count: int,
    radii: tuple[int, int],
    codes: tuple[int, ...] = (3,),
    on: Labels | None = None,
) -> Labels:
    """Draw ``count`` balls of random place, radius (half-open range) and code."""
    rng, labels = np.random.default_rng(seed), blank() if on is None else on
    for _ in range(count):
        centre = tuple(int(rng.integers(n)) for n in labels.shape)
        ball(labels, centre, int(rng.integers(*radii)), codes[int(rng.integers(len(codes)))])
    return labels


def line(voxels: int, start: tuple[int, int, int] = (3, 5, 5)) -> Labels:
    """A lesion of exactly ``voxels`` voxels: plates of 5×5, filled row by row."""
    labels = blank()
    for index in range(voxels):
        labels[start[0] + index // 25, start[1] + index // 5 % 5, start[2] + index % 5] = 3
    return labels


def tumour(seed: int) -> Labels:
    """Oedema round a rim round necrosis, a cavity, satellites: every code, several lesions."""
    rng, labels = np.random.default_rng(seed), blank()
    for _ in range(2):
        centre = [int(rng.integers(9, n - 9)) for n in SHAPE]
        near = tuple(c + int(rng.integers(-2, 3)) for c in centre)
        for radius, code, at in (
            (8, 2, tuple(centre)),
            (5, 3, near),
            (3, 1, near),
            (2, 4, tuple(c - 3 for c in centre)),
        ):
            ball(labels, at, radius, code)
    return balls(seed + 1000, 6, (0, 3), (1, 2, 3, 4), on=labels)


def shifted(labels: Labels, *steps: int) -> Labels:
    """Moved by whole voxels; what leaves on one side is gone."""
    moved = np.zeros_like(labels)
    here = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(steps, labels.shape, strict=True))
    there = tuple(
        slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(steps, labels.shape, strict=True)
    )
    moved[here] = labels[there]
    return moved


def perturbed(truth: Labels, seed: int) -> Labels:
    """A prediction of ``truth`` with the mistakes that networks make: moved, bitten, mislabelled,
    with strays.
    """
    rng = np.random.default_rng(seed)
    labels = shifted(truth, *(int(step) for step in rng.integers(-2, 3, size=3)))
    drawn = np.argwhere(truth)
    for code in (0, 2, 3, 1, 0, 3):
        near = drawn[int(rng.integers(len(drawn)))] if len(drawn) else np.array(truth.shape) // 2
        ball(
            labels,
            tuple(int(c) for c in near + rng.integers(-6, 7, size=3)),
            int(rng.integers(1, 5)),
            code,
        )
    return balls(seed + 1, 4, (0, 3), (1, 2, 3), on=labels)


def masks() -> Iterator[Case]:
    """Cases of one region (code 3 alone: WT, TC and ET are the same mask)."""
    middle = box((10, 20), (10, 20), (10, 20))
    yield Case("both empty", blank(), blank())
    yield Case("prediction empty", blank(), middle)
    yield Case("truth empty", middle, blank())
    yield Case("truth empty, three predicted", balls(5, 3, (1, 3)), blank())
    yield Case("identical", middle, middle)
    yield Case("one voxel each, the same", line(1), line(1))
    yield Case("one voxel each, apart", line(1), line(1, (20, 20, 20)))
    yield Case("one voxel in a lesion", box((14, 15), (14, 15), (14, 15)), middle)
    yield Case("one voxel beside a lesion", box((21, 22), (14, 15), (14, 15)), middle)
    yield Case("whole image", box((0, 36), (0, 34), (0, 30)), box((0, 36), (0, 34), (0, 30)))
    yield Case("truth is the whole image", middle, box((0, 36), (0, 34), (0, 30)))
    yield Case("at all borders", box((0, 36), (0, 5), (0, 30)), box((0, 4), (0, 34), (0, 30)))
    yield Case(
        "in opposite corners", box((33, 36), (31, 34), (27, 30)), box((0, 3), (0, 3), (0, 3))
    )
    yield Case("a face of the border", box((0, 6), (10, 18), (0, 7)), box((0, 5), (9, 18), (0, 9)))
    hollow = box((12, 18), (12, 18), (12, 18), code=0, on=middle.copy())
    yield Case("hollow truth", middle, hollow)
    yield Case(
        "hollow prediction, core in the truth",
        hollow,
        box((14, 16), (14, 16), (14, 16), on=hollow.copy()),
    )
    first = box((4, 12), (4, 12), (4, 12))
    for name, second in (
        ("face", ((12, 20), (4, 12), (4, 12))),
        ("edge", ((12, 20), (12, 20), (4, 12))),
        ("corner", ((12, 20), (12, 20), (12, 20))),
    ):
        truth = box(*second, on=first.copy())
        yield Case(f"lesions that share a {name}", shifted(truth, 1, 0, -1), truth)
        yield Case(f"lesions that share a {name}, one found", first.copy(), truth)
    for gap in (1, 2, 3, 6, 7):
        truth = box((12 + gap, 20 + gap), (4, 12), (4, 12), on=first.copy())
        yield Case(f"lesions {gap} voxels apart", shifted(first, 0, 1, 0), truth)
        yield Case(
            f"lesions {gap} voxels apart, bridged", box((4, 20 + gap), (6, 10), (6, 10)), truth
        )
    for gap in (1, 2, 3, 4, 5):
        yield Case(
            f"prediction {gap} voxels beside", box((12 + gap, 18 + gap), (4, 12), (4, 12)), first
        )
        yield Case(
            f"prediction diagonally {gap} voxels beside",
            box((11 + gap, 18), (11 + gap, 18), (11 + gap, 18)),
            first,
        )
    for voxels in (1, 2, 3, 19, 20, 21, 50, 51):
        yield Case(
            f"{voxels} voxels, missed", middle, np.maximum(middle, line(voxels, (24, 22, 22)))
        )
        yield Case(
            f"{voxels} voxels, found",
            shifted(np.maximum(middle, line(voxels, (24, 22, 22))), 1, 0, 0),
            line(voxels, (24, 22, 22)),
        )
    yield Case(
        "two in one",
        box((11, 14), (11, 19), (11, 19), on=box((15, 19), (11, 19), (11, 19))),
        middle,
    )
    yield Case(
        "one over three",
        box((2, 30), (9, 21), (9, 21)),
        box((3, 7), (10, 15), (10, 15), on=box((25, 29), (10, 20), (10, 20), on=middle.copy())),
    )
    yield Case(
        "equal halves of one",
        box((10, 14), (10, 20), (10, 20), on=box((16, 20), (10, 20), (10, 20))),
        middle,
    )
    yield Case(
        "chain of overlaps",
        box((6, 14), (4, 8), (4, 8), on=box((16, 24), (4, 8), (4, 8))),
        box(
            (2, 8),
            (4, 8),
            (4, 8),
            on=box((12, 18), (4, 8), (4, 8), on=box((22, 28), (4, 8), (4, 8))),
        ),
    )
    yield Case("a sheet", box((11, 12), (2, 30), (2, 28)), box((13, 14), (4, 32), (2, 28)))
    sprinkled = (np.random.default_rng(3).random(SHAPE) < 0.02).astype(np.uint8) * 3
    yield Case("sprinkled prediction", np.maximum(sprinkled, first), first)
    yield Case("sprinkled truth", first, np.maximum(sprinkled, first))
    yield Case("one stray voxel", box((35, 36), (33, 34), (29, 30), on=middle.copy()), middle)
    for seed, spacing in enumerate(
        [(1.0, 1.0, 5.0), (0.5, 0.75, 3.0), (2.0, 2.0, 2.0), (3.0, 1.0, 0.5), (0.9375, 0.9375, 1.5)]
    ):
        yield Case(
            f"anisotropic voxels {spacing}",
            balls(seed, 7, (1, 6)),
            balls(seed + 50, 6, (1, 6)),
            spacing,
        )
    yield Case("under the threshold in mm³, not in voxels", line(60), line(40), (1.0, 1.0, 1.5))
    yield Case("over the threshold in voxels, not in mm³", line(60), line(60), (1.0, 1.0, 0.5))
    for seed in range(6):
        yield Case(
            f"many lesions {seed}", balls(seed + 200, 24, (0, 4)), balls(seed + 300, 24, (0, 4))
        )
    for seed in range(6):
        truth = balls(seed + 400, 9, (1, 6))
        yield Case(
            f"moved and bitten {seed}",
            np.where(perturbed(truth, seed) > 0, 3, 0).astype(np.uint8),
            truth,
        )


def maps() -> Iterator[Case]:
    """Cases of all codes, for every task's own regions."""
    for seed in range(6):
        truth = tumour(seed)
        yield Case(
            f"tumour {seed}",
            perturbed(truth, seed),
            truth,
            (1.0, 1.0, 1.0) if seed < 4 else (1.0, 0.5, 2.5),
        )
    yield Case("oedema alone", ball(blank(), (15, 15, 15), 6, 2), ball(blank(), (16, 15, 14), 6, 2))
    yield Case(
        "no enhancing truth", tumour(3), np.where(tumour(3) == 3, 1, tumour(3)).astype(np.uint8)
    )


def real(folder: Path, read: Callable[[Path], NDArray[np.generic]], limit: int) -> Iterator[Case]:
    """Real truths, in the order of their folders, each with a prediction derived from it.

    Cropped to the tumour and 20 voxels around, which no score but specificity sees: the official
    script would take minutes for a whole image.

    Args:
        folder: holds ``labelled/<id>/<id>_seg.nii.gz``, codes 0/1/2/4, 1 mm.
        read: gives the array of a NIfTI file.
        limit: how many of them, evenly spread.
    """
    found = sorted((folder / "labelled").glob("*/*_seg.nii.gz"))
    for file in found[:: max(len(found) // limit, 1)][:limit]:
        labels = read(file).astype(np.uint8)
        labels[labels == 4] = 3
        drawn = np.argwhere(labels)
        low, high = np.maximum(drawn.min(axis=0) - 20, 0), drawn.max(axis=0) + 21
        labels = labels[tuple(slice(*bounds) for bounds in zip(low, high, strict=True))]
        yield Case("real", perturbed(labels, int(digest(labels), 16) % 1000), labels)
