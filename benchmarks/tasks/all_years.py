"""The shipped glioma model under the rules of all years, on patients that it never saw.

    python -m benchmarks.tasks.all_years ../shared/data --work runs/years

The model was trained on the 25 patients of `labelled/`. Scored are the five of `labelled_more/` and
the hospital LGG patients of `lgg/` with expert labels whose brain is cut out (`form: brain`; no T2,
slices of 2 to 8 mm), each segmented as `gliodistill segment` does it. None of them is one of the 25;
shapes of their tumours may be among the 352 label maps that synthetic studies were grown from. 2024
and 2025 had no challenge of gliomas before treatment but that of sub-Saharan Africa: its rules are
taken. Writes `benchmarks/results/tasks/all_years.json` and `.md`: means and intervals, no ids.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

from benchmarks.provenance import processor, versions, write_results
from gliodistill.evaluation.evaluate import evaluate
from gliodistill.evaluation.statistics import mean_interval
from gliodistill.inference.batch import segment_studies
from gliodistill.inference.predictor import Predictor
from gliodistill.models.package import ModelPackage
from gliodistill.models.shipped import find_model
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.labels import REGIONS

RESULT = Path(__file__).parents[1] / "results" / "tasks" / "all_years"
MODEL = "glioma@1"
RULES = {
    "plain": ("gli", ("dice", "hd95_mm", "nsd")),
    "brats2023": ("gli", ("dice", "hd95_mm", "lesion_f1")),
    "brats2024": ("ssa", ("dice", "hd95_mm", "lesion_f1")),
    "brats2025": ("ssa", ("dice", "hd95_mm", "lesion_f1", "lesion_nsd_10")),
    "brats2026": ("gli", ("dice", "hd95_mm", "nsd", "lesion_dice", "lesion_f1")),
}
"""Rules → task and what is shown."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="holds labelled_more/ and lgg/")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="hospital patients, the first by id")
    given = parser.parse_args()
    roles = list(csv.DictReader((given.data / "lgg" / "lgg.csv").open()))
    hospital = {
        row["id"] for row in roles if row["role"] == "full_labels" and row["form"] == "brain"
    }
    seen, more = (
        {row["brats2020_id"] for row in csv.DictReader((given.data / file).open())} - {""}
        for file in ("patients.csv", "labelled_more/patients.csv")
    )
    known = {row["brats2020_id"] for row in roles if row["id"] in hospital}
    if seen & (known | more):
        raise SystemExit("a patient of the model's training is among them")
    package = ModelPackage.open(find_model(MODEL))
    predictor = Predictor(package)
    found: dict[str, dict[str, Any]] = {}
    for group, folder in (("challenge", "labelled_more"), ("hospital LGG", "lgg")):
        studies = open_cohort(given.data / folder, labels="brats2021").labelled().studies
        chosen = sorted(studies, key=lambda one: one.id)
        if folder == "lgg":
            chosen = [one for one in chosen if one.id in hospital][: given.limit]
        out = given.work / folder
        report = segment_studies(chosen, predictor, out, resume=True, jobs=1)
        for error in report.failed.values():
            raise error
        for rules, (task, metrics) in RULES.items():
            scores = evaluate(
                out,
                given.data / folder,
                labels="brats2021",
                rules=rules,
                task=task,
                subset=True,
                jobs=1,
            )
            found.setdefault(group, {})[rules] = {
                region: {metric: summary(scores.values(region, metric)) for metric in metrics}
                for region in REGIONS
            }
            found[group]["patients"] = len(chosen)
    facts = {
        "what": "means over patients that the model never saw, with 95 % bootstrap intervals",
        "model": {"name": MODEL, "weights_sha256": package.weights_sha256},
        "tasks": {rules: task for rules, (task, _) in RULES.items()},
        "machine": {"processor": processor()} | versions("numpy", "openvino"),
        "groups": found,
    }
    write_results(RESULT, facts, table(found))


def summary(values: list[float]) -> dict[str, float]:
    """Mean of the defined values, its interval and how many there are."""
    low, high = mean_interval(values)
    return {"mean": sum(values) / len(values), "low": low, "high": high, "n": len(values)}


def table(found: dict[str, dict[str, Any]]) -> str:
    """One row a group of patients and rule set: Dice in points with its interval, HD95 in mm."""
    lines = [
        "| patients | rules (task) | WT Dice | TC Dice | ET Dice | WT HD95 | TC HD95 | ET HD95 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group, by_rules in found.items():
        for rules, (task, _) in RULES.items():
            cells = [by_rules[rules][region]["dice"] for region in REGIONS]
            dice = [
                f"{100 * one['mean']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"
                for one in cells
            ]
            far = [f"{by_rules[rules][region]['hd95_mm']['mean']:.1f}" for region in REGIONS]
            lines.append(
                f"| {group} ({by_rules['patients']}) | `{rules}` ({task}) |"
                f" {' | '.join(dice + far)} |"
            )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
