"""The study behind the demo: the demo with six seeds, and its results.

``python -m benchmarks.demo.study runs/demo-study`` runs what ``gliodistill demo`` runs once a seed
(stopped, it goes on where it was). It writes ``src/gliodistill/demo/study.json``, which the demo's
page quotes, and a table and a figure into ``benchmarks/results/demo/``. ``--seed`` runs one seed
and writes nothing there: 0 is the seed on which settings are chosen, and others can run side by
side.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl

from gliodistill.demo.run import run_models
from gliodistill.demo.scenario import DEVELOPMENT_SEED, Scenario
from gliodistill.demo.study import (
    BASELINE,
    DISTILLED,
    RESULT,
    TEACHER_RUN,
    DemoStudy,
    Dice,
    dice_of,
    mean_dice,
)
from gliodistill.evaluation.statistics import Interval
from gliodistill.files import write_text
from gliodistill.models.package import versions_in_use
from gliodistill.networks import default_precision
from gliodistill.recipes.schema import Recipe

mpl.use("Agg")
import matplotlib.pyplot as plt

SEEDS = (6, 7, 8, 9, 10, 11)
RESULTS = Path(__file__).parents[1] / "results" / "demo"
RUNS = (TEACHER_RUN, BASELINE, DISTILLED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the demos, one a seed")
    parser.add_argument("--seed", type=int, help="run this seed only; no result is written")
    given = parser.parse_args()
    if given.seed is not None:
        report(given.seed, run(given.out, given.seed))
        return
    found = {}
    for seed in SEEDS:
        found[seed] = run(given.out, seed)
        report(seed, found[seed])
    recipe, scenario = Recipe.open("demo"), Scenario()
    study = DemoStudy(
        found,
        asdict(scenario) | {"fingerprint": scenario.fingerprint(recipe)},
        DEVELOPMENT_SEED,
        {"precision": str(default_precision()).removeprefix("torch.")}
        | versions_in_use("gliodistill", "numpy", "torch", "openvino"),
    )
    study.write(RESULT)
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_text(RESULTS / "demo_study.md", table(study))
    draw(study, RESULTS / "demo_study.png")


def run(out: Path, seed: int) -> Dice:
    """One demo; Dice of its test studies."""
    demo = run_models(out / f"seed-{seed}", "demo", seed, Scenario())
    return dice_of({name: result.scores for name, result in demo.results.items()})


def report(seed: int, dice: Dice) -> None:
    means = ", ".join(f"{name} {mean_dice(dice, name).mean():.3f}" for name in RUNS)
    print(f"seed {seed}: {means}", flush=True)


def table(study: DemoStudy) -> str:
    """Mean Dice in points, a row a seed."""
    lines = [
        "| seed | teacher | baseline | distilled | distilled − baseline [95 %] |",
        "|---|---|---|---|---|",
    ]
    for seed, dice in study.seeds.items():
        means = [f"{100 * mean_dice(dice, name).mean():.1f}" for name in RUNS]
        lines.append(row([str(seed), *means], study.differences()[seed]))
    means = [f"{100 * study.mean(name):.1f}" for name in RUNS]
    lines.append(row(["**mean**", *means], study.difference()))
    settings = study.settings
    note = (
        f"Dice in points, mean of WT, TC and ET over {settings['testing']} test studies a seed;"
        f" {settings['labelled']} labelled and {settings['unlabelled']} unlabelled studies."
        " A seed's interval: bootstrap over its test studies. The mean's interval: Student t over"
        f" the seeds. Settings were chosen only with seed {study.development_seed}."
        f" Computed in {study.machine['precision']} with torch {study.machine['torch']}."
        " Dice of every study: `src/gliodistill/demo/study.json`; script:"
        " `benchmarks/demo/study.py`."
    )
    return "\n".join([*lines, "", note, ""])


def row(cells: list[str], found: Interval) -> str:
    points = [f"{100 * value:+.1f}" for value in found]
    return f"| {' | '.join(cells)} | {points[0]} [{points[1]}, {points[2]}] |"


def draw(study: DemoStudy, path: Path) -> None:
    """Left: the three models, a line a seed. Right: the differences with their intervals."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for seed, dice in study.seeds.items():
        means = [100 * float(mean_dice(dice, name).mean()) for name in (BASELINE, DISTILLED)]
        teacher = 100 * float(mean_dice(dice, TEACHER_RUN).mean())
        left.plot([0, 1], means, "o-", color="#0b5c8a", alpha=0.75, label=f"seed {seed}")
        left.plot([2], [teacher], "s", color="#888888")
    left.set_xticks([0, 1, 2], ["baseline", "distilled", "teacher"])
    left.set_xlim(-0.3, 2.3)
    left.set_ylabel("mean Dice of WT, TC, ET (points)")
    rows = [*study.differences().values(), study.difference()]
    for place, found in enumerate(rows):
        colour = "#b3400b" if place == len(rows) - 1 else "#0b5c8a"
        mean, low, high = (100 * value for value in found)
        right.plot([low, high], [place, place], color=colour, linewidth=2)
        right.plot([mean], [place], "o", color=colour)
    right.axvline(0, color="#888888", linewidth=1)
    names = [f"seed {seed}" for seed in study.seeds]
    right.set_yticks(range(len(rows)), [*names, "mean of seeds"])
    right.invert_yaxis()
    right.set_xlabel("distilled − baseline (points), 95 % interval")
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
