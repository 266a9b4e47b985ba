"""What the study on 67 patients is trained with: kind of norm, learning rate, number of steps.

    python -m benchmarks.distillation.pilot --work runs/distillation --data COHORT --pool UNLABELLED

Trains the baseline of `evidence.yaml` on patients that teach in rotation 1, 8 of them held out, and
keeps its validation curves: `benchmarks/results/distillation/evidence_pilot.json` and `.md`. Goes on
where it was stopped.
"""

import argparse
import copy
import json
from itertools import product
from pathlib import Path

import yaml

from benchmarks.distillation import evidence
from benchmarks.distillation.run import HERE, prepared
from benchmarks.distillation.schedule import train, write_recipe
from benchmarks.provenance import processor, versions, write_results

NORMS, RATES = ("batch", "instance"), (3e-3, 1e-3)
STEPS, EVERY, HELD_OUT = 4000, 400, 8
RESULT = HERE.parents[1] / "benchmarks" / "results" / "distillation" / "evidence_pilot"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="of benchmarks/shipped/cohort.py")
    parser.add_argument("--pool", type=Path, required=True, help="unlabelled patients")
    parser.add_argument("--cores", default="0,1", help="one run at a time on each")
    given = parser.parse_args()
    protocol = yaml.safe_load((HERE / "evidence.yaml").read_text())
    (fold,) = evidence.folds(protocol, given.work / "evidence", given.data, given.pool, "1", "all")
    learn = json.loads(fold["cohort"].read_text())["studies"]
    values, arms = copy.deepcopy(protocol["recipe"]), {}
    student = values["runs"]["plain11"]["network"]
    validation = {"steps": STEPS, "validate_every": EVERY}
    values["data"]["validation"] = [row["id"] for row in learn[-HELD_OUT:]]
    values["runs"] = {}
    for norm in NORMS:
        network = {**student, "options": {**student["options"], "norm": norm}}
        values["runs"][f"{evidence.START}{norm}"] = {"network": network}
    for norm, rate in product(NORMS, RATES):
        start = f"{evidence.START}{norm}"
        optimiser = {**values["training"]["optimiser"], "rate": rate}
        arms[f"{norm}-{rate:g}"] = {
            "network": values["runs"][start]["network"],
            "init_from": start,
            "training": {**validation, "optimiser": optimiser},
        }
    values["runs"] |= arms
    work, cores = given.work / "evidence" / "pilot", [int(core) for core in given.cores.split(",")]
    recipe = write_recipe(values, work / "recipe.yaml")
    data = prepared({**fold, "work": work}, recipe)
    out = work / "runs"
    evidence.lend(protocol, recipe, list(arms), work.parent / "pilot_starts", data, out, cores)
    train(work / "recipe.yaml", data, out, list(arms), cores, [], work / "train.log")
    curves = {
        arm: {
            line["step"]: line["dice"]
            for line in map(json.loads, (out / arm / "log.jsonl").read_text().splitlines())
            if "dice" in line
        }
        for arm in arms
    }
    facts = {
        "command": "python -m benchmarks.distillation.pilot --work WORK --data COHORT --pool POOL",
        "machine": {"processor": processor()} | versions("numpy", "torch"),
        "patients": {"teach": len(learn) - HELD_OUT, "held out": HELD_OUT},
        "curves": curves,
    }
    write_results(RESULT, facts, table(curves))


def table(curves: dict[str, dict[int, dict[str, float]]]) -> str:
    """Mean Dice of the held-out patients in points, a row a step."""
    lines = [f"| steps | {' | '.join(curves)} |", "|---|" + "---|" * len(curves)]
    for step in next(iter(curves.values())):
        means = [f"{100 * curve[step]['mean']:.1f}" for curve in curves.values()]
        lines.append(f"| {step} | {' | '.join(means)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
