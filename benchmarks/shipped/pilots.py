"""Pilots on one fold: what each source of data buys, at one budget from one start.

    python -m benchmarks.shipped.pilots --work runs/shipped6 --arms patients,partial,cubes

Wants, in the folder of the work, `cohort` (cohort.py), `cache` (`gliodistill prepare
cohort/manifest.json --recipe recipes/shipped/patients.yaml`) and `synthetic/cache` (the same of
`gliodistill phantom --spacing 1.5 --difficulty 1.5`). Every arm is the student of
`recipes/shipped/patients.yaml` without its teacher, so that it costs a third: fine-tuned from
`benchmarks/results/shipped/pretrained`, by halves on patients and synthetic studies. An arm goes
on where it was stopped; `--arms` that are done are scored only. PLAN.md says what is asked and what
was found.

Scored are the patients whom the fold leaves out, on the prepared grid (1.5 mm), at 0.5, before
clean-up: Dice per stratum with bootstrap intervals over patients, and differences from the first
arm, paired. `WORK/pictures` gets a picture of each patient and arm; nothing of it may be committed.
"""

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from gliodistill.evaluation.metrics import dice
from gliodistill.files import write_text
from gliodistill.networks import Network
from gliodistill.preparation.cache import Cache, CachedStudy
from gliodistill.preparation.prepared import unpack_regions
from gliodistill.preparation.quantise import dequantise
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.labels import REGIONS
from gliodistill.training.experiment import Experiment
from gliodistill.training.run import train
from gliodistill.training.validation import whole_volume_logits

ROOT = Path(__file__).parents[2]
PRETRAINED = ROOT / "benchmarks" / "results" / "shipped" / "pretrained"
ARMS: dict[str, dict[str, Any]] = {
    "patients": {"studies": ("challenge", "lgg"), "groups": {}},
    "partial": {"studies": ("challenge", "lgg", "masks"), "groups": {"lgg": 0.3, "masks": 0.1}},
    "cubes": {
        "studies": ("challenge", "lgg", "masks", "cubes"),
        "groups": {"lgg": 0.25, "masks": 0.1, "cubes": 0.25},
    },
    "few_cubes": {
        "studies": ("challenge", "lgg", "cubes"),
        "groups": {"lgg": 0.48, "cubes": 0.15},
    },
    "cubes_first": {
        "studies": ("cubes",),
        "groups": {},
        "outside": True,
        "sampling": {"patch": [48, 48, 32], "batch": 4},
    },
    "after_cubes": {"studies": ("challenge", "lgg"), "groups": {}, "init_from": "cubes_first"},
    "refined": {"studies": ("challenge", "lgg"), "groups": {}, "network": {"refine": 16}},
}
"""Groups of studies, and the shares of the patches that they have.

``outside``: only patients of no fold, so that every fold may start from the result; ``init_from``:
the arm whose student the arm starts from, in place of the pretrained network; ``network``: options
of the network that differ.
"""
SUBSETS = {
    "four sequences": (0, 1, 2, 3),
    "T1 + T1CE + FLAIR": (0, 1, 3),
    "FLAIR + T1CE": (1, 3),
    "FLAIR": (3,),
}
Scores = dict[str, dict[str, list[float]]]
"""Subset → patient → Dice of WT, TC, ET."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="prepared studies; default: WORK/cache")
    parser.add_argument(
        "--first-steps", type=int, default=2000, help="of the arm that another starts from"
    )
    parser.add_argument(
        "--average", type=float, default=0.33, help="share of the pretrained weights in the result"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work, names = arguments.work, arguments.arms.split(",")
    folds = json.loads((work / "cohort" / "folds.json").read_text())
    cache = Cache.open(arguments.cache or work / "cache")
    left_out = {patient for patient, facts in folds.items() if facts["fold"] == arguments.fold}
    held_out = [
        study
        for study in cache
        if study.patient in left_out and study.group in (None, "lgg") and not study.partial
    ]
    shared = work / f"outside_{arguments.first_steps}steps_seed{arguments.seed}"
    place = work / f"fold{arguments.fold}_{arguments.steps}steps_seed{arguments.seed}"
    given = Experiment.open(PRETRAINED).load_network("network")
    found = {"pretrained": score(given, held_out, place / "pretrained.json", work / "pictures")}
    for name in names:
        arm = ARMS[name]
        recipe = recipe_of(name, arguments, [study.id for study in held_out])
        outside = arm.get("outside", False)
        here = shared if outside else place
        source = select(
            cache, arm["studies"], here / f"{name}_cache", set(folds) if outside else ()
        )
        start = arm.get("init_from")
        experiment = train(
            recipe,
            source,
            here / name,
            resume=True,
            pseudo=work / "synthetic" / "cache",
            pretrained=shared / start / "student" if start else PRETRAINED / "network",
        )
        network = experiment.load_network("student")
        scores = (shared if outside else place) / f"{name}_fold{arguments.fold}.json"
        found[name] = score(
            network, held_out, scores if outside else place / f"{name}.json", work / "pictures"
        )
        strata = {study.id: folds[study.patient]["stratum"] for study in held_out}
        write_text(place / "table.md", table(found, strata))
        print((place / "table.md").read_text(), flush=True)


def recipe_of(name: str, arguments: argparse.Namespace, held_out: list[str]) -> Recipe:
    """The student of the shipped recipe, without its teacher, on the data of an arm."""
    values = Recipe.open(
        ROOT / "src" / "gliodistill" / "recipes" / "shipped" / "patients.yaml"
    ).model_dump(mode="json")
    arm, student = ARMS[name], values["runs"]["student"]
    outside = arm.get("outside", False)
    student |= {
        "method": {"name": "supervised"},
        "weight_averaging": {"pretrained": arguments.average} if arguments.average else {},
        "seed": arguments.seed,
    }
    student["training"] |= {
        "steps": arguments.first_steps if outside else arguments.steps,
        "batch_norm_recalibration": 0 if outside else 32,
        "save_every": 25,
    }
    student["network"]["options"] |= arm.get("network", {})
    values |= {"name": f"pilot-{name}", "runs": {"student": student}}
    values["data"]["validation"] = 0 if outside else held_out
    values["sampling"] |= {"groups": arm["groups"], **arm.get("sampling", {})}
    return Recipe.model_validate(yaml.safe_load(yaml.safe_dump(values)))


def select(cache: Cache, groups: tuple[str, ...], folder: Path, but: Collection[str] = ()) -> Path:
    """A cache of links to the studies of some groups, without some patients."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [
        study.id
        for study in cache
        if (study.group or "challenge") in groups and study.patient not in but
    ]
    for id in ids:
        if not (folder / id).is_symlink():
            (folder / id).symlink_to((cache.folder / id).resolve())
    index = json.loads((cache.folder / "cache.json").read_text())
    write_text(folder / "cache.json", json.dumps({**index, "studies": sorted(ids)}, indent=1))
    return folder


@torch.no_grad()
def score(network: Network, studies: list[CachedStudy], file: Path, pictures: Path) -> Scores:
    """Dice of each study with each subset that it has; kept in ``file``."""
    if file.exists():
        kept: Scores = json.loads(file.read_text())
        return kept
    file.parent.mkdir(parents=True, exist_ok=True)
    found: Scores = {name: {} for name in SUBSETS}
    for study in studies:
        image, truth = torch.from_numpy(dequantise(np.asarray(study.image()))), study.truth()
        for name, channels in SUBSETS.items():
            if not all(study.present[channel] for channel in channels):
                continue
            lacking = torch.zeros_like(image)
            lacking[list(channels)] = image[list(channels)]
            logits = whole_volume_logits(network, lacking, "regions", torch.bfloat16)
            drawn = np.logical_and.accumulate((logits > 0).numpy())
            scores = map(dice, drawn, unpack_regions(truth))
            found[name][study.id] = [1.0 if score is None else float(score) for score in scores]
            if name == "T1 + T1CE + FLAIR":
                paint(image.numpy(), truth, drawn, pictures / f"{study.id}_{file.stem}.png")
    write_text(file, json.dumps(found))
    return found


def paint(
    image: np.ndarray[Any, Any],
    truth: np.ndarray[Any, Any],
    drawn: np.ndarray[Any, Any],
    file: Path,
) -> None:
    """FLAIR and T1CE where the tumour is largest along each of three slices, outlines of WT
    (green), TC (red) and ET (blue): above the reference, below what was segmented.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    union = (truth & 1).astype(bool) | drawn[0]
    weight = union.sum((0, 1)).cumsum()
    slices = [int(np.searchsorted(weight, weight[-1] * share)) for share in (0.25, 0.5, 0.75)]
    rows = []
    for regions in (unpack_regions(truth), drawn):
        tiles = []
        for z, channel in ((z, channel) for z in slices for channel in (3, 1)):
            grey = np.clip((image[channel, :, :, z] + 2.5) / 7, 0, 1)
            tile = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2)
            for region, colour in zip(
                regions, ((0, 255, 0), (255, 60, 60), (80, 160, 255)), strict=True
            ):
                mask = region[:, :, z]
                inner = mask.copy()
                for axis in (0, 1):
                    for step in (1, -1):
                        inner &= np.roll(mask, step, axis)
                tile[mask & ~inner] = colour
            tiles.append(np.rot90(tile))
        rows.append(np.concatenate(tiles, axis=1))
    picture = Image.fromarray(np.concatenate(rows))
    picture.resize((picture.width * 2, picture.height * 2)).save(file)


def table(found: dict[str, Scores], strata: dict[str, str]) -> str:
    """Means with 95 % bootstrap intervals over patients, and differences from the first arm."""
    lines = ["| stratum | sequences | arm | n | WT | TC | ET |", "|---|---|---|---|---|---|---|"]
    first = next((name for name in found if name != "pretrained"), "pretrained")
    for stratum in sorted(set(strata.values())):
        for subset in SUBSETS:
            for arm, scores in found.items():
                ids = [id for id in scores[subset] if strata[id] == stratum]
                if not ids:
                    continue
                own = np.array([scores[subset][id] for id in ids])
                cells = [interval(own[:, channel]) for channel in range(len(REGIONS))]
                lines.append(f"| {stratum} | {subset} | {arm} | {len(ids)} | {' | '.join(cells)} |")
                if arm not in ("pretrained", first):
                    other = np.array([found[first][subset][id] for id in ids])
                    cells = [
                        interval((own - other)[:, channel], "+") for channel in range(len(REGIONS))
                    ]
                    lines.append(f"| | | {arm} − {first} | {len(ids)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def interval(values: np.ndarray[Any, Any], sign: str = "") -> str:
    """Mean and 95 % bootstrap interval, in points."""
    random = np.random.default_rng(0)
    means = random.choice(values, (2000, len(values))).mean(1)
    low, high = np.percentile(means, [2.5, 97.5]) * 100
    return f"{values.mean() * 100:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


if __name__ == "__main__":
    main()
