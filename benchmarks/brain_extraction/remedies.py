r"""What was tried to bring the masks nearer to those of BraTS, one by one.

Every remedy is measured on the raw heads of the patients for judging, by networks that did not see
the patient. ::

    python -m benchmarks.brain_extraction.remedies --data PATIENTS --work runs/brain \
        --before runs/brain/network_2400/state.pt --longer runs/brain/network/weights.pt \
        --brats brats --surface runs/brain/surface/weights.pt

Writes benchmarks/results/brain_extraction/brain_remedies.json and .md. Networks run in torch; what is
done to their logits is the package's own code.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.brain_extraction.judge import RESULTS, Judged, judged, overlap, summary
from benchmarks.brain_extraction.train import build
from benchmarks.provenance import load, processor, write_results
from gliodistill.brain.extraction import _one_part
from gliodistill.brain.grid import CoarseScan, coarse
from gliodistill.models.levels_input import LevelsInput

Logits = NDArray[np.float32]
Network = Callable[[NDArray[np.uint8]], Logits]


@dataclass(frozen=True, eq=False)
class Seen:
    """A scan, on the network's grid."""

    scan: Judged
    small: CoarseScan


def network(weights: Path) -> Network:
    """The network in torch: levels (uint8, X Y Z) → logits."""
    found = torch.load(weights, map_location="cpu", weights_only=True)
    made = build()
    made.load_state_dict(found.get("average", found))
    wrapped = LevelsInput(made.eval()).eval()

    def run(levels: NDArray[np.uint8]) -> Logits:
        with torch.inference_mode():
            found = wrapped(torch.from_numpy(np.ascontiguousarray(levels))[None, None])
        logits: Logits = found[0, 0].float().numpy()
        return logits

    return run


def of_folds(folder: Path) -> Callable[[str], Path]:
    """Case → weights that did not see it."""
    folds = json.loads((folder / "folds.json").read_text())
    return lambda case: folder / f"{folds[case]}.pt"


def answers(
    scans: list[Seen], weights: Callable[[str], Path], kept: Path, mirrored: bool = False
) -> list[Logits]:
    """Logits of every scan; kept in a file, as networks take a while."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    if kept.exists():
        stored = np.load(kept)
        return [stored[str(number)].astype(np.float32) for number in range(len(scans))]
    networks: dict[Path, Network] = {}
    found = []
    for one in scans:
        file = weights(one.scan.case)
        run = networks.setdefault(file, networks.get(file) or network(file))
        logits = run(one.small.levels)
        if mirrored:
            # The padding is at the upper end of X: mirror the scan alone.
            x = one.small.shape[0]
            levels = one.small.levels.copy()
            levels[:x] = levels[:x][::-1]
            logits[:x] = (logits[:x] + run(levels)[:x][::-1]) / 2
        found.append(logits)
    arrays: dict[str, Any] = {str(n): each.astype(np.float16) for n, each in enumerate(found)}
    np.savez_compressed(kept, **arrays)
    return found


def rows_of(
    scans: list[Seen],
    logits: list[Logits],
    change: Callable[[Logits], Logits] = lambda logits: logits,
    by_header: bool = False,
) -> Iterator[dict[str, Any]]:
    """Measures of every scan."""
    for one, each in zip(scans, logits, strict=True):
        mask = one.small.back(_one_part(change(each))[0]) > 0
        reference = one.scan.by_header if by_header else one.scan.placed
        yield {
            "patient": one.scan.case,
            "sequence": one.scan.sequence,
            "seconds": float("nan"),
            **overlap(mask, *reference),
        }


def closed(radius: int) -> Callable[[Logits], Logits]:
    """Closing of the mask by a ball of so many voxels of the network's grid."""
    from scipy import ndimage

    def change(logits: Logits) -> Logits:
        padded = np.pad(logits > 0, radius + 1)
        grown = ndimage.distance_transform_edt(~padded) <= radius
        filled = (ndimage.distance_transform_edt(grown) > radius)[
            (slice(radius + 1, -radius - 1),) * 3
        ]
        return np.where(filled & (logits <= 0), np.float32(0.5), logits)

    return change


def shifted(offset: float) -> Callable[[Logits], Logits]:
    """Another threshold."""
    return lambda logits: logits + np.float32(offset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--before", type=Path, required=True, help="weights of 2,400 steps")
    parser.add_argument("--longer", type=Path, required=True, help="weights of 6,000 steps")
    parser.add_argument("--brats", required=True, help="folder of fine-tuned fold networks")
    parser.add_argument("--surface", type=Path, required=True, help="weights trained with lumps")
    parser.add_argument("--dry", action="store_true", help="print, write nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work = arguments.work
    scans = [Seen(scan, coarse(scan.volume)) for scan in judged(arguments.data)]
    made: dict[str, list[dict[str, Any]]] = {}

    def add(name: str, *how: Any, **more: Any) -> None:
        made[name] = list(rows_of(scans, *how, **more))
        print(line(name, summary(made[name])), flush=True)

    def run(weights: Callable[[str], Path], name: str, mirrored: bool = False) -> list[Logits]:
        return answers(scans, weights, work / "remedies" / f"{name}.npz", mirrored)

    before = run(lambda _: arguments.before, "before")
    add("before: 2,400 steps, reference by the header", before, by_header=True)
    add("reference registered", before)
    longer = run(lambda _: arguments.longer, "longer")
    add("longer training: 6,000 steps", longer)
    for offset in (1.0, 2.0):
        add(f"6,000 steps, threshold {-offset:+g} logits", longer, shifted(offset))
    folds = of_folds(work / arguments.brats)
    tuned = run(folds, "brats")
    add("6,000 steps, fine-tuned on BraTS' masks", tuned)
    for offset in (0.5, 1.0):
        add(f"fine-tuned, threshold {-offset:+g} logits", tuned, shifted(offset))
    for radius in (4, 10):
        add(f"fine-tuned, closing by {2 * radius} mm", tuned, closed(radius))
    add("fine-tuned, mirroring", run(folds, "mirrored", True))
    surface = run(lambda _: arguments.surface, "surface")
    add(SURFACE, surface)
    for offset in (0.5, 1.0):
        add(f"{SURFACE}, threshold {-offset:+g} logits", surface, shifted(offset))
    facts = {name: summary(rows) for name, rows in made.items()}
    lines = [HEADER, *(line(name, each) for name, each in facts.items())]
    if not arguments.dry:
        write_results(
            RESULTS / "brain_remedies.json",
            {"machine": processor(), "load": load(), "summary": facts},
            "\n".join(lines) + "\n",
        )


SURFACE = "6,000 steps, then 300 with lumps in real heads"
HEADER = (
    "| remedy | Dice to BraTS, mean (least) | volume to BraTS' | tumour lost, mean (most) |"
    " patients without loss (below 1 %) |\n|---|---|---|---|---|"
)


def line(name: str, f: dict[str, Any]) -> str:
    """A row of the table."""
    return (
        f"| {name} | {f['dice_mean']:.3f} ({f['dice_least']:.3f}) |"
        f" {f['volume_ratio_mean']:.3f} | {f['tumour_lost_mean']:.2%}"
        f" ({f['tumour_lost_most']:.2%}) | {f['patients_without_loss']:.0%}"
        f" ({f['patients_within_1_percent']:.0%}) |"
    )


if __name__ == "__main__":
    main()
