"""The shipped model: training, cross-validation, what is fitted on held-out patients, packaging.

    python -m benchmarks.shipped.run --work runs/shipped6 --stages train,score,report

wants `WORK/cohort` (cohort.py: manifest and folds). Stages, each of which goes on where it was
stopped:

* `phantoms`: synthetic studies at 2 and at 1.5 mm, tumours grown or with the shapes of `--shapes`;
* `pretrain`: `recipes/shipped/phantoms.yaml` on them at 2 mm, then `finer.yaml` at 1.5 mm, then
  `subsets.yaml` there; a finished pretraining can be given instead (`--pretrained`);
* `prepare`: the cohort's cache;
* `train`: the recipes, one after the other, with each of five folds left out (`WORK/fold1/patients`,
  `WORK/fold1/whole`, `WORK/fold1/frozen` …), or with nobody left out (`final`: its student ships), as `--parts` says;
* `score`: every held-out study with each subset of the sequences that it has, by its fold's
  network. `--trained` names folds trained elsewhere, e.g. by pilots.py; a network that has seen a
  patient of its fold is refused;
* `old`: `glioma@1` on the same studies (first_version.py);
* `calibrate`: temperatures from the held-out probabilities;
* `trust`: with these, clean-up rules, predicted Dice and the limit of its flag;
* `report`: `cross_validation.json` and `.md`. No patient's id or image is among them;
* `robustness`, `parity`: benchmarks/robustness.py and parity.py, of the first fold's network on the
  challenge patients that it has not seen;
* `ship`: the final student with all of that and its card to `WORK/model`; `--install` puts it into
  the wheel.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import product
from pathlib import Path
from queue import Queue
from typing import Any

import yaml

from benchmarks.shipped.first_version import first_version
from benchmarks.shipped.fitting import choose_rules, fit_trust, quality_rows
from benchmarks.shipped.held_out import (
    LABELS,
    SUBSETS,
    Fold,
    counts,
    fold_of,
    score,
    whole_studies,
)
from benchmarks.shipped.pilots import select
from benchmarks.shipped.report import ROOT, write_report
from gliodistill.files import make_folder, remove_folder, write_text
from gliodistill.models.package import DESCRIPTION
from gliodistill.preparation.cache import Cache, is_cache
from gliodistill.preparation.cache_building import build_cache
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.cohort import Cohort, open_cohort
from gliodistill.trust.calibration import Calibration, fit_calibration

RECIPES = ROOT / "src" / "gliodistill" / "recipes" / "shipped"
PRETRAINED = ROOT / "benchmarks" / "results" / "shipped" / "pretrained" / "network"
MODEL, VERSION = "glioma", 2
SHIPPED = ROOT / "src" / "gliodistill" / "models" / "shipped" / f"{MODEL}@{VERSION}"
RESULTS = ROOT / "benchmarks" / "results" / "shipped" / "patients"
PHANTOMS = ((300, 11, False), (300, 601, True))
"""How many, their seed, and whether their tumours are placed (else grown)."""
PRETRAINING = {"phantoms": 2.0, "finer": 1.5, "subsets": 1.5}
"""Recipes, each of which goes on from the one before, and the voxel size of their synthetic studies
in mm.
"""
DIFFICULTY = 1.5
FINAL = "final"
FIT_SUBSETS = [s for s in SUBSETS if len(s) in (1, 4) or ("T1CE" in s and "FLAIR" in s)]
"""Of the second pass, for clean-up and predicted Dice."""


class Run:
    """A working folder and what the command line says of it."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.work: Path = arguments.work
        self.out: Path = arguments.output
        self.manifest = self.work / "cohort" / "manifest.json"
        self.cores = [int(core) for core in arguments.cores.split(",")]
        self.parts: list[str] = arguments.parts.split(",")

    def phantoms(self) -> None:
        """Synthetic studies."""
        for spacing, (count, seed, placed) in product(
            dict.fromkeys(PRETRAINING.values()), PHANTOMS
        ):
            drawn = (
                f"-n {count} --seed {seed} --spacing {spacing} --difficulty {DIFFICULTY} --jobs"
                f" {len(self.cores)}".split()
            )
            shapes = ["--shapes", str(self.arguments.shapes)] if placed else []
            folder = self.work / "synthetic" / f"{spacing:g}mm" / "studies"
            call(["phantom", str(folder), *drawn, *shapes], self.cores)

    def pretrain(self) -> None:
        """The network that training starts from."""
        start: list[str] = []
        for name, spacing in PRETRAINING.items():
            made = self.work / "synthetic" / f"{spacing:g}mm"
            build(
                open_cohort(made / "studies").labelled(), RECIPES / f"{name}.yaml", made / "cache"
            )
            data = ["--data", str(made / "cache"), "-o", str(self.work / name), *start]
            call(["train", str(RECIPES / f"{name}.yaml"), *data, "--resume"], self.cores)
            start = ["--pretrained", str(self.work / name / "network")]

    def prepare(self) -> None:
        """The cache of the cohort."""
        cohort = open_cohort(self.manifest, labels=LABELS).labelled()
        build(cohort, self.arguments.recipe[0], self.work / "cache")

    def train(self) -> None:
        """Each part on a core of its own: two single threads do more than a pair that waits for
        each other.
        """
        cache = self.work / "cache"
        if groups := self.arguments.groups:
            name = "cache_" + groups.replace(",", "_")
            cache = select(Cache.open(cache), tuple(groups.split(",")), self.work / name)
        free: Queue[int] = Queue()
        for core in self.cores:
            free.put(core)

        synthetic = self.arguments.synthetic or self.work / "synthetic/cache"

        def one(part: str) -> None:
            core, start = free.get(), self.arguments.pretrained
            for recipe in self.arguments.recipe:
                out = self.work / part / recipe.stem
                words = ["train", str(self._recipe(recipe, part)), "--data", str(cache)]
                given = ["--pretrained", str(start), "--pseudo", str(synthetic), "--resume"]
                call([*words, *given, "-o", str(out)], [core])
                start = out / "student"
            free.put(core)

        with ThreadPoolExecutor(len(self.cores)) as pool:
            list(pool.map(one, self.parts))

    def _recipe(self, recipe: Path, part: str) -> Path:
        """A recipe of a part, with the ids that it leaves out."""
        values = Recipe.open(recipe, self.arguments.set).model_dump(mode="json")
        left_out = [] if part == FINAL else self._ids(int(part.removeprefix("fold")))
        values["data"]["validation"] = left_out or 0
        file = make_folder(self.work / "recipes") / f"{part}_{recipe.name}"
        write_text(file, yaml.safe_dump(values, allow_unicode=True))
        return file

    def _ids(self, fold: int) -> list[str]:
        facts = self._facts()
        return sorted(s.id for s in self._whole().studies if facts[s.patient]["fold"] == fold)

    def _facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.work / "cohort" / "folds.json").read_text())
        return found

    def _whole(self) -> Cohort:
        facts = self._facts()
        whole = whole_studies(self.manifest)
        return whole.select([s.id for s in whole.studies if s.patient in facts])

    def folds(self) -> list[Fold]:
        """The folds that are trained."""
        found = []
        for part in self.parts:
            if part == FINAL:
                continue
            number = int(part.removeprefix("fold"))
            trained = Path(self.arguments.trained.format(fold=number, work=self.work))
            found.append(
                fold_of(number, trained, self._whole(), self._facts(), self.work / "scratch")
            )
        return found

    def score(self) -> dict[str, dict[str, Any]]:
        """Held-out scores, before calibration and clean-up."""
        return score(self.folds(), self.manifest, self.work / "scores", len(self.cores))

    def old(self) -> None:
        """Scores of the first version."""
        cohort = self._whole()
        seen = [s.id for s in cohort.studies if self.arguments.seen in _truth(s).parts]
        out = self.work / "scores_old"
        found = first_version(self.manifest, cohort, seen, out, len(self.cores), SUBSETS)
        write_text(self.work / "old.json", json.dumps(found))

    def calibrate(self) -> None:
        """Temperatures, from the counts of the scores."""
        ids = list(self.score())
        made = fit_calibration(counts(self.work / "scores", ids), _fitted_on(ids))
        write_text(self.work / "calibration.json", json.dumps(made.to_dict(), indent=1))

    def trust(self) -> None:
        """Clean-up rules and predicted Dice, from calibrated probabilities."""
        calibration = Calibration.read(self.work / "calibration.json")
        folds, out = self.folds(), self.work / "scores_calibrated"
        found = score(
            folds, self.manifest, out, len(self.cores), FIT_SUBSETS, calibration, rules=True
        )
        rules = choose_rules(found, {id: fold.name for fold in folds for id in fold.ids})
        model, told = fit_trust(found, _fitted_on(list(found)))
        write_text(self.work / "quality.json", json.dumps(model.to_dict()))
        numbers = {id: str(number) for number, id in enumerate(found)}
        rows = [{**asdict(row), "patient": numbers[row.patient]} for row in quality_rows(found)]
        write_text(self.work / "quality_rows.json", json.dumps(rows))
        fitted = {"clean_up": rules, "trust": told}
        write_text(self.work / "fitted.json", json.dumps(fitted, indent=1))

    def report(self) -> None:
        """Tables of what there is."""
        facts = self._facts()
        strata = {s.id: facts[s.patient]["stratum"] for s in self._whole().studies}
        new = {
            id: {subset: part["dice"] for subset, part in subsets.items()}
            for id, subsets in self.score().items()
        }
        old, fitted = (
            json.loads(file.read_text()) if file.exists() else {}
            for file in (self.work / "old.json", self.work / "fitted.json")
        )
        kept = self.work / "calibration.json"
        calibration = Calibration.read(kept) if kept.exists() else None
        write_report(new, old, strata, calibration, fitted, self.out, self._command())

    def _command(self) -> str:
        words = ["python -m benchmarks.shipped.run --work WORK"]
        words += [f"--set {change}" for change in self.arguments.set]
        if self.arguments.groups:
            words.append(f"--groups {self.arguments.groups}")
        if self.out.resolve() != RESULTS:
            words.append(f"-o {os.path.relpath(self.out, ROOT)}")
        return " ".join(words)

    def robustness(self) -> None:
        """Of the first fold's network, on challenge patients that it has not seen."""
        fold = self.folds()[0]
        rows = json.loads(self.manifest.read_text())["studies"]
        held_out = [r for r in rows if r["id"] in fold.ids and "group" not in r]
        data = self.manifest.parent / f"{fold.name}.json"  # paths are relative to the manifest
        write_text(data, json.dumps({"studies": held_out}))
        words = ["benchmarks.robustness", fold.model, "--data", str(data)]
        healthy = ["--no-tumour", str(self.arguments.healthy)] if self.arguments.healthy else []
        kept = ["--work", str(self.work / "robustness"), "--jobs", str(len(self.cores))]
        python([*words, *healthy, *kept, "-o", str(self.out / "robustness")], self.cores)

    def parity(self) -> None:
        """Of the first fold's network."""
        part = next(part for part in self.parts if part != FINAL)
        number = int(part.removeprefix("fold"))
        trained = self.arguments.trained.format(fold=number, work=self.work)
        kept = ["--work", str(self.work / "parity"), "-o", str(self.out / "parity.json")]
        python(["benchmarks.parity", trained, *kept], self.cores)

    def ship(self) -> None:
        """Export the final student with everything that is fitted."""
        fitted = json.loads((self.work / "fitted.json").read_text())
        tables = (self.out / "cross_validation.md").read_text()
        card = (RECIPES / "card.md").read_text() + f"\n## Cross-validation\n\n{tables}"
        write_text(self.work / "card.md", card)
        made = self.work / "model"
        if made.exists():
            remove_folder(made, DESCRIPTION)
        words = [
            "export",
            str(self.arguments.final or self.work / FINAL / "frozen"),
            "-o",
            str(made),
        ]
        words += [
            "--name",
            MODEL,
            "--format",
            "openvino,onnx",
            "--card",
            str(self.work / "card.md"),
        ]
        words += ["--quality", str(self.work / "quality.json")]
        words += ["--calibration", str(self.work / "calibration.json")]
        for rule in fitted["clean_up"]["rules"]:
            words += ["--clean-up", rule]
        call(words, self.cores)
        if self.arguments.install:
            if SHIPPED.exists():
                remove_folder(SHIPPED, DESCRIPTION)
            shutil.copytree(made, SHIPPED)


STAGES = [
    "phantoms",
    "pretrain",
    "prepare",
    "train",
    "score",
    "old",
    "calibrate",
    "trust",
    "report",
    "robustness",
    "parity",
    "ship",
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of everything; kept")
    parser.add_argument("--stages", default=",".join(STAGES[2:]))
    parser.add_argument("--parts", default=",".join([*(f"fold{n}" for n in range(1, 6)), FINAL]))
    parser.add_argument(
        "--recipe",
        type=Path,
        nargs="+",
        default=[RECIPES / f"{name}.yaml" for name in ("patients", "whole", "frozen")],
        help="each goes on from the student of the one before",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--groups", help="train on these groups only, e.g. challenge,lgg,masks")
    parser.add_argument("--pretrained", type=Path, default=PRETRAINED)
    parser.add_argument("--synthetic", type=Path, help="cache; default: WORK/synthetic/cache")
    parser.add_argument("--shapes", type=Path, help="label maps of other patients, for phantoms")
    parser.add_argument(
        "--trained", default="{work}/fold{fold}/frozen", help="folder of a fold's training or run"
    )
    parser.add_argument(
        "--final", type=Path, help="training of what ships; default: WORK/final/frozen"
    )
    parser.add_argument(
        "--seen", default="labelled", help="folder of the patients that glioma@1 was trained on"
    )
    parser.add_argument("--healthy", type=Path, help="studies without a tumour, for robustness")
    parser.add_argument("--install", action="store_true", help="put the model into the wheel")
    parser.add_argument("--cores", default=",".join(map(str, sorted(os.sched_getaffinity(0)))))
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    run = Run(arguments := parser.parse_args())
    wanted = arguments.stages.split(",")
    if unknown := set(wanted) - set(STAGES):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}; one of {', '.join(STAGES)}")
    for stage in (stage for stage in STAGES if stage in wanted):
        print(f"stage {stage}", file=sys.stderr, flush=True)
        getattr(run, stage)()


def build(cohort: Cohort, recipe: Path, cache: Path) -> None:
    """Build the cache of a cohort as a recipe wants it, unless it is there."""
    if not is_cache(cache):
        build_cache(cohort, Recipe.open(recipe).data.preparation(), cache, None)


def call(words: list[str], cores: list[int]) -> None:
    """The program that users run, kept to some cores."""
    python(["gliodistill", *words], cores)


def python(words: list[str], cores: list[int]) -> None:
    """A module, kept to some cores."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(len(cores))}
    process = subprocess.Popen([sys.executable, "-m", *words], env=environment)
    os.sched_setaffinity(process.pid, cores)
    if process.wait():
        raise SystemExit(f"failed: {' '.join(words)}")


def _truth(record: Any) -> Path:
    """Where the label map of a study lies."""
    return Path(record.truth.path)


def _fitted_on(ids: list[str]) -> str:
    return f"{len(ids)} patients, each by a network of the cross-validation that had not seen it"


if __name__ == "__main__":
    main()
