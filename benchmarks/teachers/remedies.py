"""Other ways of distilling the same students, on the validation studies only: PLAN.md, Remedies.

``python -m benchmarks.teachers.remedies OUT --seeds 0 --only soft_at_1 light`` adds runs to the
experiments that :mod:`benchmarks.teachers.table` made in OUT, and writes what all of them reach on
the validation studies to ``benchmarks/results/teachers/nnunet_remedies.json`` and ``.md``. No test
study is read.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.provenance import write_results
from benchmarks.teachers.trained import NAME
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.labels import REGIONS
from gliodistill.training.run import train

RESULTS = Path(__file__).parents[1] / "results" / "teachers" / "nnunet_remedies"
STAGES = [
    ["encoder0", "encoder.stages.0"],
    ["encoder1", "encoder.stages.1"],
    ["bottleneck", "encoder.stages.2"],
    ["decoder1", "decoder.stages.0"],
    ["decoder0", "decoder.stages.1"],
]
REMEDIES: dict[str, dict[str, Any]] = {
    "light": {"losses": {"channel_wise": {"weight": 0.003, "temperature": 4}}},
    "soft_at_1": {"losses": {"soft_target": {"weight": 1.0, "temperature": 1}}},
    "soft_at_4": {"losses": {"soft_target": {"weight": 0.1, "temperature": 4}}},
    "attention": {
        "losses": {
            "soft_target": {"weight": 0.1, "temperature": 4},
            "attention_transfer": {"weight": 0.1, "taps": STAGES},
        },
        "live": True,
    },
}
"""Name → losses, and whether the teacher runs on the patches."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=list(REMEDIES), default=[])
    options = parser.parse_args()
    for seed in options.seeds:
        add(options.out, seed, options.only)
    found = {
        folder.name.removeprefix("distilled-"): scores(folder / "experiment")
        for folder in sorted(options.out.glob("distilled-*"))
    }
    rows = {
        run: [found[seed][run] for seed in found if run in found[seed]]
        for run in ("baseline", "distilled", *REMEDIES)
    }
    gains = {run: [gain(found[seed], run) for seed in found if run in found[seed]] for run in rows}
    text = table(rows, gains)
    write_results(RESULTS, {"remedies": REMEDIES, "dice": found, "gain": gains}, text)
    print(text)


def add(out: Path, seed: int, names: list[str]) -> None:
    """Train the named remedies of a seed, next to its baseline, from the same first weights."""
    folder = out / f"distilled-{seed}"
    experiment = folder / "experiment"
    values = yaml.safe_load((experiment / "recipe.yaml").read_text())
    for name in names:
        run = json.loads(json.dumps(values["runs"]["distilled"]))
        asked = run["method"]["options"]
        asked["losses"] = REMEDIES[name]["losses"]
        asked["teacher"]["live"] = REMEDIES[name].get("live", False)
        values["runs"][name] = run
    if names:
        file = out / f"remedies-{seed}.yaml"
        file.write_text(yaml.safe_dump(values, sort_keys=False))
        data = out / "nnUNet_raw" / NAME
        train(Recipe.open(file), data, experiment, resume=True, only=names, jobs=1)


def scores(experiment: Path) -> dict[str, dict[str, float]]:
    """Run → Dice by region on the validation studies, at the last step."""
    summaries = (
        (file.parent.name, json.loads(file.read_text()))
        for file in sorted(experiment.glob("*/summary.json"))
    )
    return {
        name: {region: round(said["dice"][region], 4) for region in (*REGIONS, "mean")}
        for name, said in summaries
    }


def gain(found: dict[str, dict[str, float]], run: str) -> float:
    """Difference of the means to the baseline of the same seed."""
    return round(found[run]["mean"] - found["baseline"]["mean"], 4)


def table(rows: dict[str, list[dict[str, float]]], gains: dict[str, list[float]]) -> str:
    """As Markdown."""
    lines = [
        "Mean Dice on the 12 validation studies, and the difference to the baseline of each seed.",
        "", "| run | seeds | WT | TC | ET | mean | − baseline, by seed |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for run, each in rows.items():
        if each:
            means = (f"{np.mean([one[r] for one in each]):.3f}" for r in (*REGIONS, "mean"))
            seeds = "–" if run == "baseline" else " ".join(f"{value:+.3f}" for value in gains[run])
            lines.append(f"| {run} | {len(each)} | {' | '.join(means)} | {seeds} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
