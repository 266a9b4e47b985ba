"""From scores to tables and pictures: every figure of the docs comes from here."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from gliodistill.evaluation.statistics import paired_difference
from gliodistill.studies.labels import REGIONS

mpl.use("Agg")
import matplotlib.pyplot as plt

Runs = dict[str, Any]


def values(
    runs: Runs, row: str, metric: str = "dice", subset: str | None = None
) -> NDArray[np.float64]:
    """One row's scores, seeds × studies × regions: on all test studies, or on the few where
    ``subset`` was scored.
    """
    every = [run for _, run in sorted(seeds_of(runs, row).items())]
    return np.asarray(
        [
            (run["subsets"][subset] if subset else next(iter(run["scores"].values())))[metric]
            for run in every
        ],
        dtype=np.float64,
    )


def row_of(run: str) -> str:
    """The row that a run belongs to: its name without the seed."""
    base, _, seed = run.rpartition("-")
    return base if seed.isdecimal() else run


def seeds_of(runs: Runs, row: str) -> Runs:
    """The runs of a row: itself, or one a seed."""
    return {name: run for name, run in runs.items() if row in (name, row_of(name))}


def difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> dict[str, dict[str, Any]]:
    """Row a minus row b, seeds averaged within each study, paired over studies; and the mean of
    each seed's own difference.
    """
    result = {}
    for index, region in enumerate((*REGIONS, "mean")):
        sides = [side.mean(2) if region == "mean" else side[:, :, index] for side in (a, b)]
        found = paired_difference(sides[0].mean(0), sides[1].mean(0))
        same = len(sides[0]) == len(sides[1])
        per_seed = [round(float(x), 4) for x in (sides[0] - sides[1]).mean(1)] if same else []
        result[region] = {
            "mean": found.mean,
            "low": found.low,
            "high": found.high,
            "wilcoxon_p": found.wilcoxon_p,
            "per_seed": per_seed,
        }
    return result


def row_table(
    runs: Runs, rows: list[dict[str, Any]], latency: dict[str, float]
) -> tuple[str, dict[str, Any]]:
    """A Markdown table of rows, each with its difference from its baseline; and those differences
    for JSON.
    """
    lines = [
        (
            "| row | parameters | GFLOP a patch | ms a brain | Dice WT | Dice TC | Dice ET | mean |"
            " HD95 mm WT / TC / ET | against | mean Dice difference [95 %] | Wilcoxon p |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    differences = {}
    for row in rows:
        name = row["row"]
        if not seeds_of(runs, name):
            continue
        run = next(iter(seeds_of(runs, name).values()))
        dice, distance = values(runs, name), values(runs, name, "hd95_mm")
        means = dice.mean((0, 1))
        spread = f" ± {100 * dice.mean((1, 2)).std(ddof=1):.1f}" if len(dice) > 1 else ""
        cells = [
            row.get("title", name),
            f"{run['parameters']:,}",
            f"{run['gflops_a_patch']:.1f}",
            f"{latency[name]:.0f}" if name in latency else "–",
            *(f"{100 * m:.1f}" for m in means),
            f"{100 * means.mean():.1f}{spread}",
            " / ".join(f"{m:.1f}" for m in distance.mean((0, 1))),
        ]
        for other in row.get("against", [None]):
            if other is None or not seeds_of(runs, other):
                lines.append("| " + " | ".join([*cells, "–", "–", "–"]) + " |")
                continue
            _check_same(runs, name, other)
            found = differences[f"{name} − {other}"] = difference(dice, values(runs, other))
            d = found["mean"]
            text = f"{100 * d['mean']:+.1f} [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"
            lines.append("| " + " | ".join([*cells, other, text, _p(d["wilcoxon_p"])]) + " |")
            cells = [""] * len(cells)
    return "\n".join(lines), differences


def _check_same(runs: Runs, row: str, other: str) -> None:
    """Refuse to pair rows that were scored on different studies."""
    scored = {
        next(iter(run["scores"].values()))["studies"]
        for name in (row, other)
        for run in seeds_of(runs, name).values()
    }
    if len(scored) > 1:
        raise SystemExit(f"{row} and {other} were scored on different studies")


def subset_table(
    runs: Runs, rows: dict[str, list[str]], subsets: list[str], dedicated: str | None
) -> tuple[str, dict[str, Any]]:
    """Dice of every subset of sequences, a column a row; the average over subsets, and its
    differences to what each row is held against.
    """
    columns = [row for row in rows if seeds_of(runs, row)]
    if dedicated and all(seeds_of(runs, f"{dedicated}-{slug(s)}") for s in subsets):
        columns.append(dedicated)
    table = {}
    for column in columns:
        per_subset = [
            (
                values(runs, f"{column}-{slug(s)}")
                if column == dedicated
                else values(runs, column, subset=s)
            )
            for s in subsets
        ]
        table[column] = np.stack(per_subset)  # subsets × seeds × studies × regions
    lines = [
        "| sequences | " + " | ".join(f"{c} WT / TC / ET" for c in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for index, subset in enumerate(subsets):
        cells = [
            " / ".join(f"{100 * m:.1f}" for m in table[c][index].mean((0, 1))) for c in columns
        ]
        lines.append(f"| {subset.replace('+', ' + ')} | " + " | ".join(cells) + " |")
    means = [" / ".join(f"{100 * m:.1f}" for m in table[c].mean((0, 1, 2))) for c in columns]
    lines.append("| **mean of 15** | " + " | ".join(f"**{m}**" for m in means) + " |")
    pairs = [
        (row, other)
        for row, others in rows.items()
        for other in others
        if row in columns and other in columns
    ]
    differences = {
        f"{row} − {other}, mean of 15": difference(table[row].mean(0), table[other].mean(0))
        for row, other in pairs
    }
    return "\n".join(lines), differences


def slug(subset: str) -> str:
    """A subset in the name of a run: ``t1ce_flair``."""
    return subset.lower().replace("+", "_")


def difference_lines(differences: dict[str, Any]) -> str:
    """One line a comparison, every region."""
    lines = []
    for name, found in differences.items():
        parts = [
            f"{r} {100 * d['mean']:+.1f} [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"
            for r, d in found.items()
        ]
        seeds = ", ".join(f"{100 * x:+.1f}" for x in found["mean"]["per_seed"])
        lines.append(
            f"* {name}: {'; '.join(parts)}; p"
            f" {_p(found['mean']['wilcoxon_p'])}{f'; each seed {seeds}' if seeds else ''}"
        )
    return "\n".join(lines)


def forest(differences: dict[str, Any], path: Path, title: str) -> None:
    """Mean differences in Dice with their intervals, a line a comparison."""
    names = list(differences)[::-1]
    figure, axes = plt.subplots(1, 4, figsize=(13, 0.9 + 0.34 * len(names)), sharey=True)
    for axis, region in zip(axes, ("mean", *REGIONS), strict=True):
        for place, name in enumerate(names):
            d = differences[name][region]
            colour = "#1b7837" if d["low"] > 0 else "#b2182b" if d["high"] < 0 else "#555555"
            axis.plot([100 * d["low"], 100 * d["high"]], [place, place], color=colour, lw=2)
            axis.plot(100 * d["mean"], place, "o", color=colour, ms=5)
        axis.axvline(0, color="black", lw=0.8)
        axis.set_title("mean of regions" if region == "mean" else region, fontsize=10)
        axis.set_xlabel("Dice points", fontsize=9)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_ylim(-0.6, len(names) - 0.4)
    axes[0].set_yticks(range(len(names)), names, fontsize=9)
    figure.suptitle(title, fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
