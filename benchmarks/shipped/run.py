"""The shipped model: training, cross-validation, packaging.

    python -m benchmarks.shipped.run --work runs/shipped --data PATIENTS --shapes LABEL_MAPS

One stage after the other (`--stages`), each goes on where it was stopped:

* `phantoms`: synthetic studies at 2 and at 1.5 mm, tumours grown or with the shapes of LABEL_MAPS
(of nobody in PATIENTS);
* `pretrain`: `recipes/shipped/phantoms.yaml` on them at 2 mm, then `finer.yaml` at 1.5 mm, then
  `subsets.yaml` there, and with `--last longer` also `longer.yaml`;
* `train`: `recipes/shipped/patients.yaml` from there, with everyone (`final`: its student ships)
and with each of five folds left out;
* `score`: each patient by the networks of the fold that never saw them, the student with each of
  the 15 subsets of the sequences, files to files by the program that users run;
* `held-out`: threshold, clean-up rules, what predicts Dice, and calibration, from the held-out
patients;
* `report`: `benchmarks/results/shipped/cross_validation.json` and `.md`. No patient's id or image
is among them;
* `ship`: the final student with rules, predicted Dice and card to
  `src/gliodistill/models/shipped/glioma`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import product
from pathlib import Path
from queue import Queue

import numpy as np

from benchmarks.distillation.score import score_run
from benchmarks.shipped.calibration import calibration
from benchmarks.shipped.held_out import look
from benchmarks.shipped.report import write_report
from gliodistill.files import remove_folder, write_text
from gliodistill.models.package import DESCRIPTION
from gliodistill.preparation.cache import Cache, is_cache
from gliodistill.preparation.cache_building import build_cache
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.cohort import open_cohort
from gliodistill.training.experiment import Experiment
from gliodistill.trust.expected_quality import QualityRow, fit_quality

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "src" / "gliodistill" / "recipes" / "shipped"
MODEL = "glioma"
SHIPPED = ROOT / "src" / "gliodistill" / "models" / "shipped" / MODEL
RESULTS = ROOT / "benchmarks" / "results" / "shipped"
FOLDS = 5
PHANTOMS = ((300, 11, False), (300, 601, True), (300, 1201, True))
"""How many, their seed, and whether their tumours are placed (else grown). What ships today saw the
first two.
"""
PRETRAINING = {"phantoms": 2.0, "finer": 1.5, "subsets": 1.5, "longer": 1.5}
"""Recipes, each of which goes on from the one before, and the voxel size of their synthetic studies
in mm.
"""
LAST = "subsets"
DIFFICULTY = 1.5
STAGES = "phantoms,pretrain,train,score,held-out,report,ship"
PARTS = ("final", *(f"fold{number}" for number in range(1, FOLDS + 1)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for everything on the way; kept"
    )
    parser.add_argument("--data", type=Path, required=True, help="labelled patients")
    parser.add_argument("--shapes", type=Path, help="label maps of other patients")
    parser.add_argument("--stages", default=STAGES)
    parser.add_argument(
        "--last", default=LAST, choices=PRETRAINING, help="recipe that pretraining ends with"
    )
    parser.add_argument(
        "--parts",
        default=",".join(["final", *(f"fold{n}" for n in range(1, FOLDS + 1))]),
        help="trained and scored in this order",
    )
    parser.add_argument(
        "--cores",
        default=",".join(map(str, sorted(os.sched_getaffinity(0)))),
        help="one part at a time on each",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of recipes/shipped/patients.yaml, for an ablation",
    )
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    work, stages, parts = arguments.work, arguments.stages.split(","), arguments.parts.split(",")
    cores = [int(core) for core in arguments.cores.split(",")]
    pretraining = list(PRETRAINING.items())[: list(PRETRAINING).index(arguments.last) + 1]
    if "phantoms" in stages:
        for spacing, (count, seed, placed) in product(
            dict.fromkeys(spacing for _, spacing in pretraining), PHANTOMS
        ):
            drawn = (
                f"-n {count} --seed {seed} --spacing {spacing} --difficulty {DIFFICULTY} --jobs"
                f" {len(cores)}".split()
            )
            shapes = ["--shapes", str(arguments.shapes)] if placed else []
            call(["phantom", str(synthetic(work, spacing) / "studies"), *drawn, *shapes], cores, 1)
    if "pretrain" in stages:
        start: list[str] = []
        for name, spacing in pretraining:
            made = synthetic(work, spacing)
            prepare(made / "studies", RECIPES / f"{name}.yaml", made / "cache", len(cores))
            data = ["--data", str(made / "cache"), "-o", str(work / name), *start]
            call(["train", str(RECIPES / f"{name}.yaml"), *data, "--resume"], cores, len(cores))
            start = ["--pretrained", str(work / name / "network")]
    cache = work / "cache"
    if "train" in stages:
        prepare(arguments.data, RECIPES / "patients.yaml", cache, len(cores))
        train_parts(work, cache, parts, cores, *pretraining[-1], arguments.set)
    if "score" in stages:
        with ProcessPoolExecutor(len(cores)) as processes:
            list(
                processes.map(
                    score_part, [work / part for part in parts], [arguments.data] * len(parts)
                )
            )
    scored = [
        work / part for part in PARTS[1:] if (work / part / "scores" / "student.json").exists()
    ]
    if "held-out" in stages:
        rules, rows = look(scored, arguments.data)
        write_text(work / "clean_up.json", json.dumps(rules, indent=1))
        write_text(work / "quality_rows.json", json.dumps(rows))
        write_text(
            work / "calibration.json", json.dumps(calibration(scored, arguments.data, len(cores)))
        )
    if "report" in stages:
        rules, calibrated = (
            json.loads((work / name).read_text()) for name in ("clean_up.json", "calibration.json")
        )
        write_report(scored, FOLDS, rules, calibrated, arguments.output, told(arguments))
    if "ship" in stages:
        ship(work, arguments.output / "cross_validation.md")


def told(arguments: argparse.Namespace) -> str:
    """The command that makes these results, of any patients."""
    words = ["python -m benchmarks.shipped.run --work WORK --data PATIENTS --shapes LABEL_MAPS"]
    words += [f"--last {arguments.last}"] if arguments.last != LAST else []
    words += [f"--set {change}" for change in arguments.set]
    words += (
        [f"-o {os.path.relpath(arguments.output, ROOT)}"]
        if arguments.output.resolve() != RESULTS
        else []
    )
    return " ".join(words)


def synthetic(work: Path, spacing: float) -> Path:
    """Folder of the synthetic studies of one voxel size, and of their cache."""
    return work / "synthetic" / f"{spacing:g}mm"


def prepare(data: Path, recipe: Path, cache: Path, jobs: int) -> None:
    """Build the cache of a cohort as a recipe wants it, unless it is there."""
    if not is_cache(cache):
        build_cache(
            open_cohort(data).labelled(), Recipe.open(recipe).data.preparation(), cache, jobs
        )


def ship(work: Path, tables: Path) -> None:
    """Export the final student; the package that is there is replaced once the new one stands."""
    rows = [QualityRow(**row) for row in json.loads((work / "quality_rows.json").read_text())]
    patients = len({row.patient for row in rows})
    model = fit_quality(
        rows,
        f"answers for {patients} patients by networks of a cross-validation that never saw them",
    )
    write_text(work / "quality.json", json.dumps(model.to_dict()))
    card = (RECIPES / "card.md").read_text() + f"\n## Cross-validation\n\n{tables.read_text()}"
    write_text(work / "card.md", card)
    chosen = json.loads((work / "clean_up.json").read_text())
    options = ["--threshold", str(chosen["threshold"])]
    options += [
        word for rule in chosen["rules"] if not rule.endswith("=0") for word in ("--clean-up", rule)
    ]
    made = work / "model"
    if made.exists():
        remove_folder(made, DESCRIPTION)
    words = [
        "export",
        str(work / "final" / "student"),
        "-o",
        str(made),
        "--name",
        MODEL,
        "--format",
        "openvino,onnx",
        *options,
    ]
    call(
        [*words, "--quality", str(work / "quality.json"), "--card", str(work / "card.md")],
        sorted(os.sched_getaffinity(0)),
        2,
    )
    if SHIPPED.exists():
        remove_folder(SHIPPED, DESCRIPTION)
    shutil.copytree(made, SHIPPED)


def call(words: list[str], cores: list[int], threads: int) -> None:
    """The program that users run, kept to some cores."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen([sys.executable, "-m", "gliodistill", *words], env=environment)
    os.sched_setaffinity(process.pid, cores)
    if process.wait():
        raise SystemExit(f"failed: gliodistill {' '.join(words)}")


def train_parts(
    work: Path,
    cache: Path,
    parts: list[str],
    cores: list[int],
    start: str,
    spacing: float,
    changes: list[str],
) -> None:
    """Each part on a core of its own: two single threads do more than a pair that waits for each
    other.

    All go on from the network of the recipe ``start``, with its synthetic studies, of a voxel size
    of ``spacing`` mm, by the recipe with its ``changes``.
    """
    free: Queue[int] = Queue()
    for core in cores:
        free.put(core)

    def train(part: str) -> None:
        core = free.get()
        fold = part.removeprefix("fold")
        validation = "0" if part == "final" else f"{fold}/{FOLDS}"
        words = [
            "train",
            str(RECIPES / "patients.yaml"),
            "--data",
            str(cache),
            "-o",
            str(work / part),
            "--resume",
        ]
        pseudo = synthetic(work, spacing) / "cache"
        given = ["--pretrained", str(work / start / "network"), "--pseudo", str(pseudo)]
        settings = [
            word
            for change in (f"data.validation={validation}", *changes)
            for word in ("--set", change)
        ]
        call([*words, *given, *settings], [core], 1)
        free.put(core)

    with ThreadPoolExecutor(len(cores)) as pool:
        list(pool.map(train, parts))


def score_part(folder: Path, data: Path) -> None:
    """The patients left out of a fold: the teacher with everything, the student with every subset."""
    if not (folder / "recipe.yaml").exists():
        return
    experiment = Experiment.open(folder)
    held_out: list[str] = experiment.split["validation"]
    if not held_out:
        return
    for run in experiment.recipe.runs:
        if experiment.is_finished(run):
            score_run(
                experiment, run, data, held_out, folder, few=held_out if run == "student" else None
            )
    cache = Cache.open(experiment.cache)
    millilitres = float(np.prod(cache.preparation.spacing or (1, 1, 1))) / 1000
    studies = sorted(
        cache.select(set(held_out)), key=lambda study: study.id
    )  # the order of the scores
    volumes = [
        (unpack_regions(study.truth()).sum((1, 2, 3)) * millilitres).tolist() for study in studies
    ]
    write_text(folder / "scores" / "volumes.json", json.dumps({"volumes_ml": volumes}))


if __name__ == "__main__":
    main()
