"""Pseudo-labels: the teachers' consensus on real heads, selected by their agreement.

Omni-supervision: every teacher and every sequence of a patient gives one opinion on the same brain;
their mean is the label, and a scan on which they differ is left out. Patients for judging are
never used unless they are named (cross-fitting). ::

    python -m benchmarks.brain_extraction.pseudo_labels --data PATIENTS --work runs/brain
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.brain_extraction.heads import _smooth
from benchmarks.brain_extraction.lumps import add_lump
from benchmarks.brain_extraction.references import on_grid
from benchmarks.brain_extraction.rendering import Example, finished
from benchmarks.brain_extraction.scans import Scan, raw_heads
from gliodistill.brain.grid import GRID_MM
from gliodistill.images import Volume, read_nifti
from gliodistill.images.resampling import axis_matrix, resample
from gliodistill.phantom.anatomy import rotation

AGREEMENT = 0.93
"""Least mean Dice between the opinions on a scan."""


@dataclass(frozen=True, eq=False)
class PseudoLabelled:
    """A real head on the network's grid (without padding), axes X Y Z.

    Attributes:
        name: of the scan; stays on this machine.
        image: float32, any scale.
        share: float32, the teachers' mean probability of brain, or the share of brain.
        tumour: float32, the share of tumour, where experts drew it.
        rim: whether the image ends 6 mm beside the brain; else it is a whole head.
    """

    name: str
    image: NDArray[np.float32]
    share: NDArray[np.float32]
    rim: bool = False
    tumour: NDArray[np.float32] | None = None

    @classmethod
    def read_all(cls, work: Path, cases: Sequence[str] | None) -> list["PseudoLabelled"]:
        """Those selected so far, of the cases named."""
        found = []
        for file in sorted((work / "pseudo").glob("*.npz")):
            stored = np.load(file)
            if float(stored["agreement"]) < AGREEMENT:
                continue
            named = stored["role"] == "train" if cases is None else str(stored["case"]) in cases
            if named:
                share = stored["share"].astype(np.float32) / 255
                image = stored["image"].astype(np.float32)
                found.append(cls(file.stem, image, share, bool(stored["rim"])))
        return found


def agreement(opinions: Sequence[NDArray[np.float32]]) -> float:
    """Mean Dice between pairs of opinions (NaN where one has none)."""
    pairs = []
    for a, b in combinations(opinions, 2):
        both = np.isfinite(a) & np.isfinite(b)
        one, other = a[both] > 0.5, b[both] > 0.5
        pairs.append(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))
    return float(np.mean(pairs)) if pairs else 0.0


def consensus(opinions: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Mean of the opinions that there are on each voxel; 0 where there is none."""
    known = [np.isfinite(opinion) for opinion in opinions]
    total = np.sum([np.nan_to_num(opinion) for opinion in opinions], axis=0)
    mean: NDArray[np.float32] = (total / np.maximum(np.sum(known, axis=0), 1)).astype(np.float32)
    return mean


def perturbed(one: PseudoLabelled, rng: np.random.Generator, lump: float = 0.0) -> Example:
    """A real head turned, scaled, cut and with other intensities; a lump in it by chance."""
    matrix = rotation(tuple(rng.normal(0, [15, 8, 12]))) / rng.uniform(0.88, 1.12)
    shape = np.array(one.image.shape)
    size = np.minimum(np.rint(shape * rng.uniform(0.9, 1.15)), [112, 128, 112]).astype(int)
    centre = (shape - 1) / 2 + rng.normal(0, 3, 3)
    if rng.random() < 0.5:
        matrix[:, 0] *= -1
    offset = centre - matrix @ ((size - 1) / 2)
    ill = np.zeros_like(one.share) if one.tumour is None else one.tumour
    image, share, ill = (
        ndimage.affine_transform(each, matrix, offset, tuple(size), order=1, output=np.float32)
        for each in (one.image, one.share, ill)
    )
    if lump and rng.random() < lump:
        add_lump(image, share, ill, rng)
    image *= np.exp(np.float32(rng.uniform(0, 0.3)) * _smooth(rng, image.shape, 40.0))
    top = max(float(image.max()), 1e-6)
    image = top * (np.maximum(image, 0) / top) ** np.float32(np.exp(rng.normal(0, 0.3)))
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image = np.abs(image + np.float32(rng.uniform(0, 0.04) * top) * noise)
    if rng.random() < 0.1:
        inverted = np.where(image > 0.05 * top, 1.1 * top - image, image)
        image = inverted.astype(np.float32)
    if rng.random() < 0.2:
        axis = int(rng.integers(3))
        inside = np.flatnonzero((share > 0.5).any(axis=tuple({0, 1, 2} - {axis})))
        if inside.size > 20:
            cut = inside[0] + int(rng.uniform(0.05, 0.35) * inside.size)
            part: list[slice] = [slice(None)] * 3
            part[axis] = slice(cut, None) if rng.random() < 0.5 else slice(None, len(image) - cut)
            image, share, ill = (each[tuple(part)] for each in (image, share, ill))
    return finished(image, share, ill)


def opinions_on(
    scan: Scan, volume: Volume, others: Sequence[tuple[Scan, Volume]], work: Path
) -> list[NDArray[np.float32]]:
    """Probabilities of every teacher from every sequence of the patient, on the grid of ``scan``."""
    found = []
    for other, grid in others:
        for file in sorted((work / "teachers").glob(f"*/{other.name}.npz")):
            chance = grid.with_data(np.load(file)["chance"].astype(np.float32) / 255)
            found.append(on_grid(chance, volume, np.nan))
    return found


def small(volume: Volume) -> NDArray[np.float32]:
    """On the network's grid, as :func:`gliodistill.brain.grid.coarse` resamples."""
    ras = volume.canonical()
    x, y, z = (
        axis_matrix(n, max(1, round(n * mm / GRID_MM)), GRID_MM / mm)
        for n, mm in zip(ras.shape, ras.spacing, strict=True)
    )
    return resample(ras.data, (x, y, z))


def rims(data: Path, out: Path) -> None:
    """Write the patients of whom only the brain and 6 mm beside it are at hand.

    Their mask is one teacher's, deepbet, cleaned; tumour outside it is added.
    """
    with (data / "lgg" / "lgg.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["form"] == "brain"]
    for row in rows:
        case, masks = row["id"], data / "lgg" / "masks"
        drawn = [data / "lgg" / case / f"{case}_seg.nii.gz", masks / f"{case}_wt.nii.gz"]
        mask = read_nifti(masks / f"{case}_brain.nii.gz")
        brain = mask.data > 0
        for file in drawn:
            if file.exists():
                brain |= read_nifti(file).data > 0
        share = np.rint(small(mask.with_data(brain.astype(np.float32))) * 255).astype(np.uint8)
        for sequence in row["sequences"].split("+"):
            image = read_nifti(data / "lgg" / case / f"{case}_{sequence}.nii.gz")
            if image.same_grid(mask):
                np.savez_compressed(
                    out / f"{case}_{sequence}.npz",
                    case=case,
                    role="train",
                    agreement=1.0,
                    opinions=1,
                    image=small(image).astype(np.float16),
                    share=share,
                    rim=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    out = arguments.work / "pseudo"
    out.mkdir(parents=True, exist_ok=True)
    if not any(out.glob("*.npz")):
        rims(arguments.data, out)
    cases: dict[str, list[Scan]] = defaultdict(list)
    for scan in raw_heads(arguments.data):
        cases[scan.case].append(scan)
    for scans in cases.values():
        volumes = [(scan, scan.read()) for scan in scans]
        for scan, volume in volumes:
            opinions = opinions_on(scan, volume, volumes, arguments.work)
            if len(opinions) < 2:
                continue
            agree = agreement(opinions)
            share = small(volume.with_data(consensus(opinions)))
            np.savez_compressed(
                out / f"{scan.name}.npz",
                case=scan.case,
                role=scan.role,
                agreement=agree,
                opinions=len(opinions),
                image=small(volume).astype(np.float16),
                share=np.rint(share * 255).astype(np.uint8),
                rim=False,
            )
            print(f"{scan.name}: {len(opinions)} opinions, agreement {agree:.3f}", flush=True)


if __name__ == "__main__":
    main()
