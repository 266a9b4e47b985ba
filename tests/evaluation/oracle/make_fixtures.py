"""Ask an official package for the scores of the cases, and keep its numbers in ``<package>.json``.

    pip install brats-evaluation==0.0.10                                    # in an environment of
    its own, then there python tests/evaluation/oracle/make_fixtures.py brats2026

    git clone https://github.com/rachitsaluja/BraTS-2023-Metrics            # and what its
    requirements.txt pins, in another python tests/evaluation/oracle/make_fixtures.py brats2023
    --checkout BraTS-2023-Metrics pip install surface-distance==0.1
    # in the same python tests/evaluation/oracle/make_fixtures.py surface_distance

    git clone https://github.com/rachitsaluja/BraTS-2024-Metrics            # and what its
    requirements.txt pins, with surface-distance==0.1, in another
    python tests/evaluation/oracle/make_fixtures.py brats2025 --checkout BraTS-2024-Metrics

Nothing of ours is imported but the cases. Every number is what the package's own entry point prints
for label maps read from NIfTI files. With ``--data ../shared/data`` also real truths (BraTS layout,
codes 0/1/2/4), each with a prediction derived from it; on file goes a hash of the two arrays,
nothing else of a patient. Cases already on file with the same arrays are left, so that a run that
was stopped goes on.
"""

import argparse
import contextlib
import csv
import importlib
import json
import math
import platform
import re
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import nibabel as nib
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from cases import TOLERANCES_MM, Case, as_mask, known_to, maps, masks, real  # noqa: E402

PACKAGES = (
    "BraTS-evaluation",
    "panoptica",
    "surface-distance",
    "connected-components-3d",
    "MedPy",
    "numpy",
    "scipy",
    "nibabel",
    "pandas",
)
Number = float | int | str | None
Answer = dict[str, dict[str, dict[str, Number]]]
"""Task → region → name as the package spells it → number."""


class Oracle(Protocol):
    """A package that knows the answer."""

    tasks: Sequence[str]
    """Asked about maps of all codes."""
    mask_tasks: Sequence[str]
    """Asked about masks, where one region says all."""

    def ask(self, prediction: str, truth: str, task: str) -> dict[str, dict[str, Number]]:
        """Region → numbers of two NIfTI files."""


class BraTS2023:
    """The lesion-wise script of BraTS 2023. SSA and PED have the parameters of GLI there.

    Args:
        checkout: the repository BraTS-2023-Metrics.
    """

    tasks = ("gli",)
    mask_tasks = ("gli", "men", "met")

    def __init__(self, checkout: Path) -> None:
        sys.path.insert(0, str(checkout))
        from brats_2023_metrics.surface_distance import brats_metrics

        # It puts arrays into cells of a table and then looks for infinity there, which only its
        # pandas 1.3 bears: lists do as well.
        lesion_wise_score = brats_metrics.get_lesion_wise_score
        brats_metrics.get_lesion_wise_score = lambda **given: with_lists(lesion_wise_score(**given))
        self._metrics = brats_metrics

    def ask(self, prediction: str, truth: str, task: str) -> dict[str, dict[str, Number]]:
        """Region → the row of the script's table."""
        table = self._metrics.get_lesion_wise_results(
            prediction, truth, f"BraTS-{task.upper()}"
        ).set_index("Labels")
        return {
            region: {name: number(value) for name, value in row.items()}
            for region, row in table.iterrows()
        }


class BraTS2025:
    """The lesion-wise scripts of BraTS 2024 and 2025, one a challenge.

    Args:
        checkout: the repository BraTS-2024-Metrics.
    """

    scripts: Mapping[str, str] = {
        "gli-post": "GLI",
        "ped": "PED",
        "men": "MEN",
        "met": "MET",
        "ssa": "SSA",
        "men-rt": "MEN_RT",
    }
    tasks = tuple(scripts)
    mask_tasks = tuple(scripts)

    def __init__(self, checkout: Path) -> None:
        import surface_distance

        sys.path.insert(0, str(checkout.resolve()))
        # The scripts hand numbers to their own older copy; the package asks for bools.
        measure = surface_distance.compute_surface_distances
        surface_distance.compute_surface_distances = lambda truth, prediction, spacing: measure(
            truth > 0, prediction > 0, spacing
        )
        self._modules = {
            task: importlib.import_module(f"metrics_{name}") for task, name in self.scripts.items()
        }

    def ask(self, prediction: str, truth: str, task: str) -> dict[str, dict[str, Number]]:
        """Region → the lesion-wise part of the script's table; it writes into the work folder."""
        name = f"BraTS-{self.scripts[task].replace('_', '-')}"
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            table, _ = self._modules[task].get_LesionWiseResults(prediction, truth, name)
        return {
            region: {
                name: number(value)
                for name, value in row.items()
                if name.startswith(("LesionWise", "Num"))
            }
            for region, row in table.set_index("Labels").iterrows()
        }


class BraTS2026:
    """brats-evaluation: the configurations it ships and the parser that makes the challenge's
    table.
    """

    configurations: Mapping[str, str] = {
        "gli": "GoAT",
        "gli-post": "gli",
        "ped": "ped",
        "men": "MenPre",
        "met": "mets",
        "men-rt": "MenRT",
    }
    tasks = tuple(configurations)
    mask_tasks = ("gli", "met")

    def __init__(self) -> None:
        from panoptica import Panoptica_Evaluator

        folder = files("brats_evaluation").joinpath("configs")
        self._evaluators = {
            task: Panoptica_Evaluator.load_from_config(str(folder.joinpath(f"config_{name}.yaml")))
            for task, name in self.configurations.items()
        }

    def ask(self, prediction: str, truth: str, task: str) -> dict[str, dict[str, Number]]:
        """Region → the columns of the parser's table: for segmentation, or for detection as well
        (met).
        """
        from brats_evaluation.evaluation import evaluate_single_exam
        from brats_evaluation.metrics_parser import parse_mets_results, parse_seg_results

        result = evaluate_single_exam(prediction, truth, "case", self._evaluators[task])
        if "error" in result:
            raise RuntimeError(result["error"])
        with tempfile.TemporaryDirectory() as folder:
            summary, table = Path(folder) / "summary.json", Path(folder) / "table.csv"
            summary.write_text(json.dumps({"metrics": [result], "missings": []}))
            if task == "met":
                parse_mets_results(summary, *METASTASES, table)
            else:
                parse_seg_results(summary, table)
            with table.open() as lines:
                row = next(csv.DictReader(lines))
        found: dict[str, dict[str, Number]] = {}
        for column, value in row.items():
            name, _, region = column.rpartition("_")
            if region in self._evaluators[task].segmentation_class_groups_names and not re.search(
                "_std|_prec|_rec", name
            ):
                found.setdefault(region.upper(), {})[name] = number(value)
        return found


class SurfaceDistance:
    """surface-distance: surface Dice of masks at two tolerances."""

    tasks = ()
    mask_tasks = ("gli",)

    def ask(self, prediction: str, truth: str, task: str) -> dict[str, dict[str, Number]]:
        """Everything that is not background, as ET."""
        import surface_distance

        images = [nib.load(path) for path in (truth, prediction)]
        spacing = images[0].header.get_zooms()
        found = surface_distance.compute_surface_distances(
            *(np.asarray(image.dataobj) > 0 for image in images), spacing
        )
        dice = surface_distance.compute_surface_dice_at_tolerance
        return {
            "ET": {
                f"surface_dice_{tolerance:g}": number(dice(found, tolerance))
                for tolerance in TOLERANCES_MM
            }
        }


METASTASES = (27.0, 0.2)
"""Least volume of a large lesion and least overlap of a found one: what the challenge calls the
package with (Sage-Bionetworks-Challenges/brats-infra, evaluation/segmentation/score.py); its own
defaults are 20 and 0.1.
"""

ORACLES = {
    "brats2023": BraTS2023,
    "brats2025": BraTS2025,
    "brats2026": BraTS2026,
    "surface_distance": SurfaceDistance,
}


def with_lists(scores: dict[str, Any]) -> dict[str, Any]:
    """The same scores, the predicted lesions of every pair as a list."""
    return scores | {
        "metric_pairs": [(list(lesions), *rest) for lesions, *rest in scores["metric_pairs"]]
    }


def number(value: Any) -> Number:
    """As JSON holds it: undefined is null, and infinity a word."""
    value = math.nan if value in ("", None) else float(value)
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf"
    return int(value) if value == int(value) else round(value, 9)


def answer(oracle: Oracle, case: Case, tasks: Sequence[str]) -> Answer:
    """Write the pair as NIfTI files and ask about them."""
    answers = {}
    for task in tasks:
        with tempfile.TemporaryDirectory() as folder:
            pair = []
            for name, labels in (("prediction", case.prediction), ("truth", case.truth)):
                pair.append(str(Path(folder) / f"{name}.nii.gz"))
                nib.save(
                    nib.Nifti1Image(known_to(task, labels), np.diag([*case.spacing, 1.0])), pair[-1]
                )
            answers[task] = oracle.ask(*pair, task)
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("oracle", choices=ORACLES)
    parser.add_argument("--checkout", type=Path, metavar="FOLDER", help="of the scripts")
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="real patients, instead of the synthetic cases"
    )
    parser.add_argument(
        "--limit", type=int, default=12, metavar="N", help="real patients to ask about [12]"
    )
    parser.add_argument(
        "--again",
        metavar="TASK",
        help="ask about this task again, or for the first time, in every case",
    )
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    of_scripts = arguments.oracle in ("brats2023", "brats2025")
    oracle: Oracle = ORACLES[arguments.oracle](*([arguments.checkout] if of_scripts else []))
    file = HERE / f"{arguments.oracle}.json"
    content: dict[str, Any] = (
        json.loads(file.read_text()) if file.exists() else {"cases": {}, "real": {}}
    )
    if arguments.data:
        for case in real(
            arguments.data, lambda path: np.asarray(nib.load(path).dataobj), arguments.limit
        ):
            if case.digest not in content["real"]:
                content["real"][case.digest] = answer(oracle, case, ["gli"])
                write(file, content)
    elif arguments.again:
        every = {case.name for case in maps()} if arguments.again in oracle.tasks else set()
        for case in (*masks(), *maps()):
            there = content["cases"].get(case.name, {})
            if arguments.again in there or case.name in every:
                found = answer(oracle, case, [arguments.again])[arguments.again]
                kept = there.get(arguments.again, found).keys()
                there[arguments.again] = {region: found[region] for region in kept}
        write(file, content)
    else:
        known = content.pop("cases")
        content["cases"] = {}
        for case in masks():
            if known.get(case.name, {}).get("digest") != case.digest:
                known[case.name] = {"digest": case.digest}
                for task in oracle.mask_tasks:
                    mask, name = as_mask(case, task)
                    found = answer(oracle, mask, [task])[task]
                    known[case.name][task] = {name: found[name]}
            content["cases"][case.name] = known[case.name]
            write(file, content | {"cases": known | content["cases"]})
        for case in maps() if oracle.tasks else ():
            if known.get(case.name, {}).get("digest") != case.digest:
                known[case.name] = {"digest": case.digest} | answer(oracle, case, oracle.tasks)
            content["cases"][case.name] = known[case.name]
            write(file, content | {"cases": known | content["cases"]})
        write(file, content)


def write(file: Path, content: dict[str, Any]) -> None:
    """One line a case."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    parts = [f'"versions": {json.dumps(versions)}']
    for part in ("cases", "real"):
        lines = ",\n".join(
            f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content[part].items()
        )
        parts.append(f'"{part}": {{\n{lines}\n}}')
    file.write_text("{" + ",\n".join(parts) + "}\n")


if __name__ == "__main__":
    main()
