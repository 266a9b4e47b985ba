"""Cohorts and runs of the protocol `evidence`: who teaches, who is tested, at each point of the
learning curve.

The folds of benchmarks/shipped/cohort.py are rotated: some are tested, patients of the others
teach. A point of the curve has the first so many of these, in an order in which challenge and
hospital patients alternate as they do in all; smaller points are parts of larger ones. Images of
the others, of patients with a mask of the whole tumour only, and of unlabelled patients are the
pool of pseudo-labels. Files stay in the working folder; nothing of them may be committed.
"""

import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import yaml

from benchmarks.distillation.schedule import train, write_recipe
from benchmarks.distillation.score import subset_name, subsets_of
from benchmarks.distillation.tables import slug
from benchmarks.shipped.held_out import LABELS
from gliodistill.files import write_text
from gliodistill.phantom import write_cohort
from gliodistill.preparation.cache import Cache, is_cache
from gliodistill.preparation.cache_building import build_cache
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.sequence import MRSequence
from gliodistill.training.data.source import split_of
from gliodistill.training.experiment import Experiment

KINDS = ("t1", "t1ce", "t2", "flair")
START = "start-"
"""Begins the names of runs on synthetic studies, which all rotations and points share."""
Row = dict[str, Any]


def completed(protocol: dict[str, Any]) -> dict[str, Any]:
    """The protocol with the runs and rows of its dedicated students."""
    made = copy.deepcopy(protocol)
    part, runs, rows = made["dedicated"], made["recipe"]["runs"], []
    network = runs[part["network"]]["network"]
    for subset in subsets_of(map(MRSequence, made["recipe"]["data"]["sequences"])):
        name = subset_name(subset)
        start = f"{START}{slug(name)}"
        own: Row = {"sequences": [str(s) for s in subset]}
        runs[start] = {**own, "network": network}
        student = {**own, "network": network, "init_from": start}
        runs[f"dedicated-{slug(name)}"] = student
        made["once"] += [start, f"dedicated-{slug(name)}"]
        if name not in part["studied"]:
            continue
        runs[slug(name)] = student
        rows.append({"row": slug(name), "title": f"{name.replace('+', ' + ')}, dedicated"})
        for arm, method in part["arms"].items():
            method = copy.deepcopy(method)
            if method["name"] == "single_stage":
                method["options"]["teacher"] = network
            runs[f"{slug(name)}-{arm}"] = {**student, "method": method}
            row = {"row": f"{slug(name)}-{arm}", "title": f"… {arm.replace('-', ' ')}"}
            rows.append({**row, "against": [slug(name)]})
    table = made["tables"]["sequences"]
    table["rows"] = rows
    table["runs"] = ["fused", *(row["row"] for row in rows)]
    return made


def tables_at(protocol: dict[str, Any], point: str) -> list[str]:
    """The tables of a point of the learning curve."""
    every = {str(key): names for key, names in protocol["points"].items()}
    found: list[str] = every[point]
    return found


def folds(
    protocol: dict[str, Any],
    work: Path,
    cohort: Path,
    unlabelled: Path,
    rotations: str,
    point: str,
) -> list[dict[str, Any]]:
    """One fold a rotation, at a point of the learning curve.

    Args:
        protocol: of `evidence.yaml`.
        work: folder of everything.
        cohort: folder of benchmarks/shipped/cohort.py.
        unlabelled: folder of patients without labels, in BraTS' file names.
        rotations: which, from 1.
        point: labelled patients that teach, or ``all``.
    """
    cohort = cohort.resolve()
    rows = json.loads((cohort / "manifest.json").read_text())["studies"]
    facts = json.loads((cohort / "folds.json").read_text())
    wanted = [kind.lower() for kind in protocol["recipe"]["data"]["sequences"]]
    rows = [_placed(row, cohort) for row in rows if all(kind in row for kind in wanted)]
    whole = [row for row in rows if row.get("group") in (None, "lgg")]
    masks = [row for row in rows if row.get("group") == "masks"]
    made = []
    for number in map(int, rotations.split(",")):
        tested = protocol["rotations"][number - 1]
        fold = {row["id"]: facts[row["patient"]]["fold"] for row in whole}
        test = [row for row in whole if fold[row["id"]] in tested]
        learn = _ordered([row for row in whole if fold[row["id"]] not in tested], number)
        count = len(learn) if point == "all" else int(point)
        forbidden = {row["patient"] for row in test}
        others = [*learn[count:], *masks]
        known = {row["id"] for row in rows} | {row["patient"] for row in rows}
        others += [row for row in _unlabelled(unlabelled, wanted) if row["patient"] not in known]
        pool = [_hidden(row) for row in others if row["patient"] not in forbidden]
        place = work / f"rotation{number}"
        parts = {
            "cohort": _write(place / str(point) / "labelled", learn[:count]),
            "pool": _write(place / str(point) / "pool", pool),
            "test": _write(place / "test", test),
        }
        strata = [facts[row["patient"]]["stratum"] for row in sorted(test, key=lambda r: r["id"])]
        made.append(
            {
                **parts,
                "work": place / str(point),
                "validation": None,
                "few": sorted(row["id"] for row in test),
                "strata": strata,
                "starts": work / "starts",
            }
        )
    return made


def lend(
    protocol: dict[str, Any],
    recipe: Recipe,
    wanted: list[str],
    starts: Path,
    data: Path,
    out: Path,
    cores: list[int],
) -> None:
    """Put the runs on synthetic studies that the ``wanted`` ones start from into a training: they
    are trained once, in ``starts``, by the same recipe, and not once a rotation and point. The
    studies lie beside it.
    """
    names = dict.fromkeys(str(start) for run in wanted if (start := recipe.runs[run].init_from))
    needed = [name for name in names if name.startswith(START)]
    synthetic, part = starts.parent / "synthetic", protocol["synthetic"]
    studies = synthetic / "studies"
    if not (studies / "complete").exists():
        write_cohort(
            studies,
            part["studies"],
            part["seed"],
            spacing=part["spacing"],
            difficulty=part["difficulty"],
            jobs=len(cores),
        )
        (studies / "complete").touch()
    if not is_cache(synthetic / "cache"):
        cohort = open_cohort(studies).labelled()
        build_cache(cohort, recipe.data.preparation(), synthetic / "cache")
    values = yaml.safe_load((out.parent / "recipe.yaml").read_text())
    values["data"]["validation"] = 0
    write_recipe(values, starts / "recipe.yaml")
    given, log = starts / "runs", starts / "train.log"
    train(starts / "recipe.yaml", synthetic / "cache", given, needed, cores, [], log)
    if not (out / "recipe.yaml").exists():
        out.mkdir(parents=True, exist_ok=True)
        cache = Cache.open(data)
        split = split_of(recipe, cache)
        Experiment(out, recipe, split, cache.convention, cache.folder, None, None).write()
    for name in needed:
        if not (out / name / "summary.json").exists():
            shutil.copytree(given / name, out / name)


def _placed(row: Row, folder: Path) -> Row:
    """A row whose paths do not depend on where its manifest lies."""
    files = (*KINDS, "truth", "known")
    return {
        key: str(folder / value) if key in files and not Path(value).is_absolute() else value
        for key, value in row.items()
    }


def _ordered(rows: list[Row], seed: int) -> list[Row]:
    """Challenge and hospital patients in turn, in proportion, each in an order drawn once."""
    groups: list[list[Row]] = [
        sorted((row for row in rows if (row.get("group") is None) == first), key=lambda r: r["id"])
        for first in (True, False)
    ]
    placed = []
    for group in groups:
        random.Random(seed).shuffle(group)
        placed += [((place + 0.5) / len(group), row["id"], row) for place, row in enumerate(group)]
    return [row for _, _, row in sorted(placed, key=lambda each: each[:2])]


def _hidden(row: Row) -> Row:
    """A row without its labels."""
    return {key: row[key] for key in ("id", "patient", *KINDS) if key in row}


def _unlabelled(folder: Path, wanted: list[str]) -> list[Row]:
    found = []
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = {kind: next(case.glob(f"*_{kind}.nii*"), None) for kind in KINDS}
        images = {kind: str(file) for kind, file in files.items() if file is not None}
        if all(kind in images for kind in wanted):
            # TCGA patients are spelt with dashes or with underscores.
            patient = case.name.replace("-", "_") if case.name.startswith("TCGA") else case.name
            found.append({"id": case.name, "patient": patient, **images})
    return found


def _write(folder: Path, rows: list[Row]) -> Path:
    """A manifest without groups, which the recipe does not name, and with the meaning of labels."""
    kept = [{key: value for key, value in row.items() if key != "group"} for row in rows]
    kept = [row | ({"labels": LABELS} if "truth" in row else {}) for row in kept]
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"studies": kept}, indent=1)
    file = folder / "manifest.json"
    if not file.exists() or file.read_text() != text:
        write_text(file, text)
    return file
