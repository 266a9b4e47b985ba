"""How good brain masks are, ours and deepbet's: on real heads and on synthetic ones.

    python -m benchmarks.brain_extraction.judge --data ../shared/data --work runs/brain

Real heads: patients whose skull-stripped version is in BraTS; its brain mask, registered to the raw
scan, is the reference. The network that ships was not trained on them; ``--folds`` judges networks
fine-tuned on some (:mod:`~benchmarks.brain_extraction.fine_tune`) by the others. deepbet's masks
came with the data, on T1. HD-BET is not judged: one of its five networks in bfloat16, which is what
``teachers`` runs, is not what was published. Synthetic heads: of two label maps that were held out,
with the mask they were made with. Writes benchmarks/results/brain_extraction/brain_extraction.json
and .md, without names of patients.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.brain_extraction.export import export
from benchmarks.brain_extraction.references import (
    Placement,
    brats_references,
    on_grid,
    place,
    scanned,
)
from benchmarks.brain_extraction.scans import raw_heads
from benchmarks.provenance import load, processor, write_results
from gliodistill.brain import extract_brain
from gliodistill.brain.extraction import GRAPH
from gliodistill.images import Volume, read_nifti

RESULTS = Path(__file__).parents[1] / "results" / "brain_extraction"
MEASURES = (
    "dice",
    "dice_by_header",
    "dice_to_ours",
    "reference_moved_mm",
    "hd95_mm",
    "tumour_lost",
    "volume_ratio",
    "seconds",
)


def surface_distance(
    a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: tuple[float, ...]
) -> float:
    """95th percentile of the distances between two surfaces, both ways, in mm."""
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    sides = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
    a, b = a[sides], b[sides]
    edges = [m & ~ndimage.binary_erosion(m, border_value=1) for m in (a, b)]
    far = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    both = np.concatenate([far[1][edges[0]], far[0][edges[1]]])
    return float(np.percentile(both, 95)) if both.size else float("inf")


def overlap(
    mask: NDArray[np.bool_],
    brain: NDArray[np.bool_],
    tumour: NDArray[np.bool_],
    seen: NDArray[np.bool_] | bool = True,
) -> dict[str, float]:
    """Measures of a mask against the reference, where there is one (``seen``)."""
    mask, brain, tumour = mask & seen, brain & seen, tumour & seen
    return {
        "dice": float(2 * (mask & brain).sum() / max(mask.sum() + brain.sum(), 1)),
        "tumour_lost": float((tumour & ~mask).sum() / max(tumour.sum(), 1)),
        "volume_ratio": float(mask.sum() / max(brain.sum(), 1)),
    }


@dataclass(frozen=True, eq=False)
class Judged:
    """A raw head with BraTS' masks.

    Attributes:
        case: patient; stays on this machine.
        sequence: as the file names it.
        volume: the scan.
        placed: brain, tumour, and what both BraTS and the scan show; bool on the scan's grid.
        by_header: the same, where the scan's header places them.
        placement: of BraTS' version on the raw head.
    """

    case: str
    sequence: str
    volume: Volume
    placed: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]
    by_header: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]
    placement: Placement


def judged(data: Path) -> Iterator[Judged]:
    """The scans of the judging patients."""
    scans = [scan for scan in raw_heads(data) if scan.role == "judge"]
    references = brats_references(data, {scan.brats2020_id for scan in scans})
    placements = {
        scan.case: place(references[scan.brats2020_id], scan.read())
        for scan in scans
        if scan.sequence == "flair"
    }
    for scan in scans:
        volume, reference = scan.read(), references[scan.brats2020_id]
        shown = scanned(volume)
        both = []
        for each in (reference.placed(placements[scan.case].matrix), reference):
            brain, tumour, field = each.on(volume)
            both.append((brain > 0.5, tumour > 0.5, (field > 0.99) & shown))
        yield Judged(scan.case, scan.sequence, volume, *both, placements[scan.case])


def real(data: Path, graphs: Callable[[str], Path]) -> Iterator[dict[str, Any]]:
    """Measures of every method on every scan of the judging patients.

    Args:
        data: folder of the patients.
        graphs: case → network that did not see it.
    """
    for scan in judged(data):
        start = time.process_time()
        found = extract_brain(scan.volume, threads=1, graph=graphs(scan.case))
        rows = {"ours": (found.mask, time.process_time() - start)}
        if scan.sequence == "t1":
            mask = read_nifti(data / "lgg" / "masks" / f"{scan.case}_brain.nii.gz")
            rows["deepbet, cleaned"] = (on_grid(mask, scan.volume) > 0.5, float("nan"))
        brain, _, seen = scan.placed
        for method, (mask, spent) in rows.items():
            yield {
                "patient": scan.case,
                "sequence": scan.sequence,
                "method": method,
                "seconds": spent,
                "flags": list(found.flags) if method == "ours" else [],
                **overlap(mask, *scan.placed),
                "hd95_mm": surface_distance(mask & seen, brain & seen, scan.volume.spacing),
                "dice_by_header": overlap(mask, *scan.by_header)["dice"],
                "dice_to_ours": overlap(mask & seen, found.mask & seen, brain)["dice"],
                "reference_moved_mm": scan.placement.moved_mm,
            }


def synthetic(work: Path) -> Iterator[dict[str, Any]]:
    """Measures of our network on the synthetic heads held out."""
    from benchmarks.brain_extraction.heads import Head
    from benchmarks.brain_extraction.rendering import scan_of

    for index, file in enumerate(sorted((work / "heads" / "held_out").glob("[0-9]*[0-9].npz"))):
        head = Head.load(file)
        volume, brain, tumour = scan_of(head, np.random.default_rng([8, index]))
        start = time.process_time()
        found = extract_brain(volume, threads=1)
        seconds = time.process_time() - start
        yield {
            "patient": file.stem,
            "sequence": "random",
            "method": "ours",
            "seconds": seconds,
            "flags": list(found.flags),
            **overlap(found.mask, brain, tumour),
            "hd95_mm": surface_distance(found.mask, brain, volume.spacing),
        }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over scans: mean and worst; of patients, the share that loses no tumour voxel."""
    lost: dict[str, float] = defaultdict(float)
    for row in rows:
        lost[row["patient"]] = max(lost[row["patient"]], row["tumour_lost"])
    dice = [row["dice"] for row in rows]
    return {
        "scans": len(rows),
        "patients": len(lost),
        "dice_mean": round(float(np.mean(dice)), 4),
        "dice_least": round(min(dice), 4),
        "hd95_mm_mean": known(np.mean, [row.get("hd95_mm", np.nan) for row in rows]),
        "dice_to_ours_mean": known(np.mean, [row.get("dice_to_ours", np.nan) for row in rows]),
        "dice_by_header_mean": known(np.mean, [row.get("dice_by_header", np.nan) for row in rows]),
        "volume_ratio_mean": round(float(np.mean([row["volume_ratio"] for row in rows])), 3),
        "tumour_lost_mean": round(float(np.mean([row["tumour_lost"] for row in rows])), 5),
        "tumour_lost_most": round(max(row["tumour_lost"] for row in rows), 5),
        "patients_without_loss": round(float(np.mean([v == 0 for v in lost.values()])), 3),
        "patients_within_1_percent": round(float(np.mean([v <= 0.01 for v in lost.values()])), 3),
        "cpu_seconds_median": known(np.median, [row["seconds"] for row in rows]),
    }


def known(of: Callable[..., Any], values: list[float]) -> float | None:
    """A statistic of the values that there are."""
    some = [value for value in values if np.isfinite(value)]
    return round(float(of(some)), 3) if some else None


def anonymous(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Numbers instead of names."""
    names = {name: number for number, name in enumerate(dict.fromkeys(r["patient"] for r in rows))}
    return [
        {
            **row,
            "patient": names[row["patient"]],
            **{m: known(np.mean, [row[m]]) for m in MEASURES if m in row},
        }
        for row in rows
    ]


def fold_graphs(folder: Path) -> Callable[[str], Path]:
    """Case → graph of the network that did not see it, exported where it is not yet."""
    folds = json.loads((folder / "folds.json").read_text())
    graphs = {fold: folder / f"{fold}.xml" for fold in set(folds.values())}
    for fold, graph in graphs.items():
        if not graph.exists():
            export(folder / f"{fold}.pt", graph)
    return lambda case: graphs[folds[case]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--folds", help="folder of fold networks (default: the one that ships)")
    parser.add_argument("--dry", action="store_true", help="print, write nothing")
    arguments = parser.parse_args()
    folds = arguments.folds
    graphs = fold_graphs(arguments.work / folds) if folds else lambda _: GRAPH
    rows = list(real(arguments.data, graphs))
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["sequence"] == "t1":
            groups[f"T1, {row['method']}"].append(row)
    for row in rows:
        if row["method"] == "ours" and row["sequence"] != "t1":
            groups[f"{row['sequence'].upper()}, ours"].append(row)
        if row["method"] == "ours":
            groups["all sequences, ours"].append(row)
    made = list(synthetic(arguments.work))
    groups["synthetic heads, ours"] = made
    facts = {name: summary(some) for name, some in groups.items() if some}
    lines = [
        "| masks | scans | Dice to BraTS, mean (least) | by the header | HD95 mm |"
        " volume to BraTS' | tumour lost, mean (most) | patients without loss (below 1 %) | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {f['scans']} | {f['dice_mean']:.3f} ({f['dice_least']:.3f}) |"
            f" {f['dice_by_header_mean'] or ''} | {f['hd95_mm_mean']:.1f} | {f['volume_ratio_mean']:.3f} |"
            f" {f['tumour_lost_mean']:.2%} ({f['tumour_lost_most']:.2%}) |"
            f" {f['patients_without_loss']:.0%} ({f['patients_within_1_percent']:.0%}) |"
            f" {f['cpu_seconds_median'] or ''} |"
            for name, f in facts.items()
        ),
    ]
    print("\n".join(lines))
    if arguments.dry:
        for row in anonymous(rows):
            print(row)
        return
    write_results(
        RESULTS / "brain_extraction.json",
        {
            "machine": processor(),
            "load": load(),
            "summary": facts,
            "real": anonymous(rows),
            "synthetic": anonymous(made),
        },
        "\n".join(lines) + "\n",
    )


if __name__ == "__main__":
    main()
