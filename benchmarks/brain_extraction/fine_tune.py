r"""Fine-tune the network on BraTS' own masks, cross-fitted: what that would gain.

The patients for judging are split into folds; a network for each fold is fine-tuned on the others,
and judges its own. Their tumours are known, and weigh more. Some steps see pseudo-labelled and
synthetic heads, so that what those taught is kept. ::

    python -m benchmarks.brain_extraction.fine_tune --data PATIENTS --work runs/brain \
        --init runs/brain/network/weights.pt --name brats

None of these networks ships: the gain is small, and the patients for judging stay unseen.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.brain_extraction.pseudo_labels import PseudoLabelled, perturbed, small
from benchmarks.brain_extraction.references import brats_references, on_grid, place, scanned
from benchmarks.brain_extraction.rendering import Example
from benchmarks.brain_extraction.scans import Scan, raw_heads
from benchmarks.brain_extraction.train import TUMOUR, build, example, learn
from gliodistill.images import read_nifti

RATE, EMA = 6e-4, 0.98
SHARE = 0.6
"""Of the steps, on the patients with masks; the others see what the network was trained on."""

LABELS = ("brats", "deepbet")


def fold_of(cases: Sequence[str], folds: int) -> dict[str, int]:
    """Case → number of its fold."""
    return {case: number % folds for number, case in enumerate(sorted(cases))}


def labelled(data: Path, work: Path, labels: str) -> dict[str, list[PseudoLabelled]]:
    """Case → its scans with masks; what is costly is kept below ``work``."""
    folder = work / "labelled" / labels
    folder.mkdir(parents=True, exist_ok=True)
    scans = [scan for scan in raw_heads(data) if scan.role == "judge"]
    if not all((folder / f"{scan.name}.npz").exists() for scan in scans):
        _prepare(scans, data, folder, labels)
    found: dict[str, list[PseudoLabelled]] = {}
    for scan in scans:
        stored = np.load(folder / f"{scan.name}.npz")
        image, share, tumour = (
            stored[name].astype(np.float32) for name in ("image", "share", "tumour")
        )
        one = PseudoLabelled(scan.name, image, share / 255, tumour=tumour / 255)
        found.setdefault(scan.case, []).append(one)
    return found


def _prepare(scans: Sequence[Scan], data: Path, folder: Path, labels: str) -> None:
    references = brats_references(data, {scan.brats2020_id for scan in scans})
    for flair in (scan for scan in scans if scan.sequence == "flair"):
        reference = references[flair.brats2020_id]
        reference = reference.placed(place(reference, flair.read()).matrix)
        for scan in (scan for scan in scans if scan.case == flair.case):
            volume = scan.read()
            brain, tumour, field = reference.on(volume)
            there = read_nifti(data / "lgg" / "masks" / f"{scan.case}_brain.nii.gz")
            deepbet = on_grid(there.with_data((there.data > 0).astype(np.float32)), volume)
            # BraTS' field ends above the medulla, and its mask there.
            share = np.where(field > 0.99, brain, deepbet) if labels == "brats" else deepbet
            share = np.maximum(share, tumour) * scanned(volume)
            image, *shares = (
                small(volume.with_data(e)) for e in (volume.data, share, tumour * scanned(volume))
            )
            kept = [np.rint(255 * np.clip(each, 0, 1)).astype(np.uint8) for each in shares]
            np.savez_compressed(
                folder / f"{scan.name}.npz",
                image=image.astype(np.float16),
                share=kept[0],
                tumour=kept[1],
            )


def examples_of(
    some: Sequence[PseudoLabelled],
    others: list[PseudoLabelled],
    work: Path,
    seed: int,
    lump: float,
) -> Callable[[int], Example]:
    """What a step sees."""

    def of(step: int) -> Example:
        rng = np.random.default_rng([seed, 1, step])
        if rng.random() < SHARE:
            return perturbed(some[rng.integers(len(some))], rng, lump)
        return example(step, seed, work, others, 0.4)

    return of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--init", type=Path, required=True, help="weights.pt or state.pt")
    parser.add_argument("--name", required=True, help="of the folder below WORK to write")
    parser.add_argument("--labels", choices=LABELS, default="brats")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lumps", type=float, default=0.0, help="share of heads with a lump")
    parser.add_argument("--tumour", type=float, default=TUMOUR, help="weight of tumour voxels")
    parser.add_argument("--only", nargs="*", help="folds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work, folder = arguments.work, arguments.work / arguments.name
    folder.mkdir(parents=True, exist_ok=True)
    scans = labelled(arguments.data, work, arguments.labels)
    others = PseudoLabelled.read_all(work, None)
    folds = fold_of(list(scans), arguments.folds)
    (folder / "folds.json").write_text(json.dumps(folds))
    start = torch.load(arguments.init, map_location="cpu", weights_only=True)
    for fold in map(str, range(arguments.folds)):
        out = folder / f"{fold}.pt"
        if out.exists() or (arguments.only and fold not in arguments.only):
            continue
        network, average = build(), build()
        for each in (network, average):
            each.load_state_dict(start.get("average", start))
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
        some = [one for case in scans if str(folds[case]) != fold for one in scans[case]]
        examples = examples_of(some, others, work, arguments.seed, arguments.lumps)
        began, total = time.process_time(), 0.0
        steps = range(arguments.steps)
        losses = learn(
            network, average.eval(), optimizer, examples, steps, RATE, EMA, arguments.tumour
        )
        for step, loss in losses:
            total += loss
            if (step + 1) % 50 == 0:
                spent = time.process_time() - began
                print(f"{fold}: {step + 1}, loss {total / 50:.3f}, {spent:.0f} s", flush=True)
                total = 0.0
        partial = out.with_suffix(".partial")
        torch.save(average.state_dict(), partial)
        partial.replace(out)


if __name__ == "__main__":
    main()
