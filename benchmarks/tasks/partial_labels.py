"""Whole-tumour masks beside a few complete label maps: what do they buy?

    python -m benchmarks.tasks.partial_labels --work runs/partial --cohort WORK/cohort \
        --cache WORK/cache

`WORK` is that of benchmarks/shipped (`cohort.py`, then `gliodistill prepare`). Trained is a small
U-Net from random weights, twice a seed: on the eight hospital LGG patients of fold 1 who have
complete label maps (`full`), and on them and the 29 hospital LGG patients of whom only the whole
tumour is known (`joint`, half of the patches). Steps, batches, network and first weights are the
same. Scored are the hospital LGG patients of the other folds, whom neither saw: Dice on the
prepared grid (1.5 mm) at 0.5, seeds averaged within each patient. WT is the question; the masks
teach nothing of TC and ET. Stopped, it goes on where it was. Writes
`benchmarks/results/tasks/partial_labels.json` and `.md`, without ids.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.provenance import processor, versions, write_results
from benchmarks.shipped.pilots import select
from gliodistill.evaluation.metrics import dice
from gliodistill.evaluation.statistics import paired_difference
from gliodistill.files import write_text
from gliodistill.networks import Network
from gliodistill.preparation.cache import Cache, CachedStudy
from gliodistill.preparation.prepared import unpack_regions
from gliodistill.preparation.quantise import dequantise
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.labels import REGIONS
from gliodistill.training.run import train
from gliodistill.training.validation import whole_volume_logits

RESULT = Path(__file__).parents[1] / "results" / "tasks" / "partial_labels"
ARMS: dict[str, tuple[tuple[str, ...], dict[str, float]]] = {
    "full": (("lgg",), {}),
    "joint": (("lgg", "masks"), {"masks": 0.5}),
}
"""Arm → groups of studies, and the share of the patches that a group has."""
SEEDS = (0, 1)
FOLD = 1
STEPS = 400
NETWORK = {"widths": [12, 24, 48, 96], "stem_stride": 2, "norm": "instance", "deep_supervision": 1}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    folds = json.loads((given.cohort / "folds.json").read_text())
    cache = Cache.open(given.cache)
    hospital = [study for study in cache if study.group == "lgg" and not study.partial]
    masks = [study for study in cache if study.group == "masks"]
    testing = [study for study in hospital if folds[study.patient]["fold"] != FOLD]
    left_out = {study.patient for study in testing}
    assert not left_out & {study.patient for study in masks}
    found: dict[str, list[np.ndarray[Any, Any]]] = {}
    for seed in SEEDS:
        for arm, (groups, shares) in ARMS.items():
            place = given.work / f"{arm}-{seed}"
            source = select(cache, groups, given.work / f"cache-{arm}", left_out)
            experiment = train(recipe_of(shares, seed), source, place, resume=place.exists())
            network = experiment.load_network("network")
            scores = score(network, testing, given.work / f"{arm}-{seed}.json")
            found.setdefault(arm, []).append(scores)
            print(seed, arm, scores.mean(axis=0).round(3), flush=True)
        report(found, len(hospital) - len(testing), len(masks), len(testing))


def recipe_of(shares: dict[str, float], seed: int) -> Recipe:
    """The recipe of an arm; preparation and augmentation are those of the shipped model."""
    return Recipe.model_validate(
        {
            "name": "partial",
            "data": {
                "sequences": ["T1", "T1CE", "T2", "FLAIR"],
                "spacing": [1.5, 1.5, 1.5],
                "bias_correction_mm": 30,
                "correct_training": False,
                "validation": 0,
            },
            "sampling": {
                "patch": [64, 64, 48],
                "batch": 2,
                "foreground": 0.67,
                "groups": shares,
            },
            "augmentation": {"spatial": 0.3, "curve": 0.2},
            "training": {
                "steps": STEPS,
                "warmup": 20,
                "optimiser": {"name": "adamw", "rate": 2e-3, "weight_decay": 1e-2},
                "ema": 0.99,
                "save_every": 100,
            },
            "runs": {"network": {"network": {"name": "unet", "options": NETWORK}, "seed": seed}},
        }
    )


@torch.no_grad()
def score(network: Network, studies: list[CachedStudy], file: Path) -> np.ndarray[Any, Any]:
    """Dice on patients × WT, TC, ET; kept in ``file``."""
    if not file.exists():
        rows = []
        for study in studies:
            image = torch.from_numpy(dequantise(np.asarray(study.image())))
            logits = whole_volume_logits(network, image, "regions", torch.float32)
            drawn = np.logical_and.accumulate((logits > 0).numpy())
            values = map(dice, drawn, unpack_regions(study.truth()))
            rows.append([1.0 if value is None else float(value) for value in values])
        write_text(file, json.dumps(rows))
    return np.array(json.loads(file.read_text()))


def report(
    found: dict[str, list[np.ndarray[Any, Any]]], full: int, masks: int, tested: int
) -> None:
    """Write the result of the seeds so far."""
    means = {arm: np.mean(scores, axis=0) for arm, scores in found.items()}
    seeds = len(found["joint"])
    rows, facts = [], {}
    for place, region in enumerate(REGIONS):
        gain = paired_difference(means["joint"][:, place], means["full"][:, place])
        each = [
            100 * float((joint - alone)[:, place].mean())
            for joint, alone in zip(found["joint"], found["full"], strict=True)
        ]
        facts[region] = {
            "full": float(means["full"][:, place].mean()),
            "joint": float(means["joint"][:, place].mean()),
            "difference": gain._asdict(),
            "difference_of_seeds": [value / 100 for value in each],
            "patients_better": int((means["joint"] > means["full"])[:, place].sum()),
        }
        points = [f"{100 * value:+.1f}" for value in gain[:3]]
        rows.append(
            f"| {region} | {100 * facts[region]['full']:.1f} | {100 * facts[region]['joint']:.1f} |"
            f" {points[0]} [{points[1]}, {points[2]}] | {gain.wilcoxon_p:.2g} |"
            f" {', '.join(f'{value:+.1f}' for value in each)} |"
        )
    head = [
        f"| region | {full} full label maps | and {masks} whole-tumour masks | difference [95 %] |"
        " Wilcoxon p | of each seed |",
        "|---|---|---|---|---|---|",
    ]
    note = (
        f"\nDice in points, mean of {tested} hospital LGG patients that neither network saw, and of"
        f" {seeds} seeds; {STEPS} steps each. The interval resamples patients.\n"
    )
    content = {
        "what": "Dice of hospital LGG patients; joint: with whole-tumour masks",
        "patients": {"full": full, "masks": masks, "tested": tested},
        "seeds": SEEDS[:seeds],
        "recipe": recipe_of(ARMS["joint"][1], 0).model_dump(mode="json", exclude_unset=True),
        "machine": {"processor": processor(), "cores": os.cpu_count()} | versions("numpy", "torch"),
        "regions": facts,
    }
    write_results(RESULT, content, "\n".join([*head, *rows]) + "\n" + note)


if __name__ == "__main__":
    main()
