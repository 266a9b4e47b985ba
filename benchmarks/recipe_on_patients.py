"""Score the runs of a trained recipe on real patients, the way a user would: export, segment,
evaluate.

    python -m benchmarks.recipe_on_patients RUN_FOLDER PATIENTS --studies all -o
    benchmarks/results/phantoms

Writes `results.json` (scores per study and run, sizes, seconds, the recipe, versions, this command)
and `results.md`. Only numbers leave the patients' folder: no ids. `--studies all` scores every
labelled patient: for networks trained only on synthetic studies.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.provenance import command, processor, versions
from gliodistill.evaluation.evaluate import evaluate
from gliodistill.evaluation.statistics import paired_difference
from gliodistill.files import write_text
from gliodistill.inference.batch import segment_studies
from gliodistill.inference.predictor import Predictor
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.labels import REGIONS
from gliodistill.training.experiment import Experiment
from gliodistill.training.packaging import export


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of gliodistill train -o")
    parser.add_argument("patients", type=Path, help="labelled studies in any layout")
    parser.add_argument("--studies", choices=("validation", "all"), default="validation")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()

    experiment = Experiment.open(arguments.run)
    cohort = open_cohort(arguments.patients).labelled()
    if arguments.studies == "validation":
        cohort = cohort.select(experiment.split["validation"])
    runs = {}
    with tempfile.TemporaryDirectory() as scratch:
        for run in experiment.recipe.runs:
            if not experiment.is_finished(run):
                continue
            package = export(experiment.folder / run, Path(scratch) / "models" / run)
            out = Path(scratch) / "segmentations" / run
            report = segment_studies(cohort.studies, Predictor(package), out)
            scores = evaluate(out, arguments.patients, subset=True)
            facts = experiment.summary(run)
            runs[run] = {
                "parameters": facts["parameters"],
                "steps": facts["steps"],
                "training_seconds": facts["seconds"],
                "best_step": facts["best_step"],
                "flops_a_patch": facts["flops"],
                "package_bytes": sum(file.stat().st_size for file in package.folder.iterdir()),
                "seconds_a_study_median": float(
                    np.median([sum(s["seconds"].values()) for s in report.done.values()])
                ),
                "mean": {
                    region: {m: scores.mean(region, m) for m in ("dice", "hd95_mm")}
                    for region in REGIONS
                },
                "median_dice": {
                    region: scores.summary[region]["dice"]["median"] for region in REGIONS
                },
                "dice": [
                    {region: values[region]["dice"] for region in REGIONS}
                    for _, values in sorted(scores.studies.items())
                ],
                "failed": len(report.failed),
            }
            rules = {"name": scores.rules.name, "text": scores.rules.text}
    result = {
        "command": command(),
        "studies": f"{len(cohort.studies)} ({arguments.studies})",
        "training_studies": len(experiment.split["training"]),
        "rules": rules,
        "runs": runs,
        "differences": differences(runs),
        "recipe": experiment.recipe.model_dump(mode="json"),
        "versions": {
            **versions("gliodistill"),
            "processor": processor(),
            "cores": os.cpu_count(),
        },
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_text(arguments.output / "results.json", json.dumps(result, indent=1))
    write_text(arguments.output / "results.md", markdown(result))
    print(markdown(result))


def differences(runs: dict) -> dict:
    """Distilled student minus baseline, paired over studies, if a recipe has both."""
    if not {"baseline", "distilled"} <= runs.keys():
        return {}
    found = {}
    for region in (*REGIONS, "mean"):
        sides = []
        for run in ("distilled", "baseline"):
            studies = runs[run]["dice"]
            sides.append(
                [
                    float(np.mean(list(study.values()))) if region == "mean" else study[region]
                    for study in studies
                ]
            )
        difference = paired_difference(*sides)
        found[region] = {
            "mean": difference.mean,
            "low": difference.low,
            "high": difference.high,
            "wilcoxon_p": difference.wilcoxon_p,
        }
    return found


def markdown(result: dict) -> str:
    """The table of docs and README."""
    lines = [
        (
            "| run | parameters | Dice WT | Dice TC | Dice ET | HD95 WT/TC/ET mm | seconds a study"
            " | trained for |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, run in result["runs"].items():
        dice = " | ".join(f"{run['mean'][region]['dice']:.3f}" for region in REGIONS)
        distance = " / ".join(f"{run['mean'][region]['hd95_mm']:.1f}" for region in REGIONS)
        lines.append(
            f"| {name} | {run['parameters']:,} | {dice} | {distance} |"
            f" {run['seconds_a_study_median']:.2f} | {run['steps']} steps,"
            f" {run['training_seconds'] / 60:.0f} min |"
        )
    lines.append("")
    for region, d in result["differences"].items():
        lines.append(
            f"* distilled − baseline, {region}: {d['mean']:+.3f} (95 % {d['low']:+.3f} …"
            f" {d['high']:+.3f}, Wilcoxon p = {d['wilcoxon_p']:.3f})"
        )
    lines.append(
        f"\n{result['studies']} patients; {result['rules']['name']} rules. `{result['command']}`"
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
