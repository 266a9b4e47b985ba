"""Tables of a cross-validation: per stratum and subset, new against old, paired by patient."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.distillation.score import SUBSETS, subset_name
from benchmarks.shipped.fitting import calibration_table
from gliodistill import __version__
from gliodistill.evaluation.statistics import mean_interval, paired_difference
from gliodistill.files import make_folder, write_text
from gliodistill.studies.labels import REGIONS
from gliodistill.trust.calibration import Calibration

ROOT = Path(__file__).parents[2]
EVERY = subset_name(SUBSETS[-1])
Scores = NDArray[np.float64]
NAMED = {
    "four sequences": EVERY,
    "T1 + T1CE + FLAIR": "T1+T1CE+FLAIR",
    "FLAIR + T1CE": "T1CE+FLAIR",
    "FLAIR alone": "FLAIR",
}
ByStudy = dict[str, dict[str, list[float]]]
"""Study → subset → Dice of WT, TC, ET."""
FEW = 10


def write_report(
    new: ByStudy,
    old: ByStudy,
    stratum_of: dict[str, str],
    calibration: Calibration | None,
    fitted: dict[str, Any],
    out: Path,
    command: str,
) -> None:
    """Write ``cross_validation.json`` (every score, no ids) and ``cross_validation.md``.

    Args:
        new: scores of the folds.
        old: scores of the first version on some or all of these studies.
        stratum_of: study → stratum.
        calibration: fitted on the folds; None = not yet.
        fitted: clean-up rules and trust, as :mod:`benchmarks.shipped.fitting` tells them.
        out: folder.
        command: that made it.
    """
    strata: dict[str, Any] = {}
    for stratum in sorted({stratum_of[id] for id in new}):
        ids = [id for id in sorted(new) if stratum_of[id] == stratum]
        strata[stratum] = {
            subset: _compared(new, old, [id for id in ids if subset in new[id]], subset)
            for subset in map(subset_name, SUBSETS)
            if any(subset in new[id] for id in ids)
        }
    found = {
        "command": command,
        "versions": {"gliodistill": __version__},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "patients": len(new),
        "strata": strata,
        "calibration": None if calibration is None else calibration.to_dict(),
        **fitted,
    }
    make_folder(out)
    write_text(out / "cross_validation.json", json.dumps(found, indent=1, ensure_ascii=False))
    parts = [_named(new, strata), "Every subset:", _every(strata)]
    if calibration is not None:
        parts += [
            "Calibration, with each patient left out in turn:",
            calibration_table(calibration),
        ]
    if trust := fitted.get("trust"):
        parts.append(_trust(trust))
    if rules := fitted.get("clean_up"):
        parts.append(_clean_up(rules))
    parts.append(
        "Means with 95 % bootstrap intervals over patients, each scored once on the grid of its own"
        " images, by networks that had not seen the patient, at a threshold of 0.5, before"
        " clean-up. Differences are paired by patient; p: Wilcoxon's. The old model, `glioma@1`,"
        " was trained on 25 of the patients: for them the scores of its own cross-validation count,"
        " for all others those of the shipped weights. Intervals of fewer than"
        f" {FEW} patients are too narrow. Command: `{command}`; every score:"
        f" `{os.path.relpath(out / 'cross_validation.json', ROOT)}`."
    )
    write_text(out / "cross_validation.md", "\n\n".join(parts) + "\n")


def _compared(new: ByStudy, old: ByStudy, ids: list[str], subset: str) -> dict[str, Any]:
    """Scores of a subset, and the difference from the old model where it has scores."""
    both = [id for id in ids if subset in old.get(id, {})]
    sides = [np.array([side[id][subset] for id in both]) for side in (new, old)]
    return {
        "new": [new[id][subset] for id in ids],
        "old": [old.get(id, {}).get(subset) for id in ids],
        "difference": difference(*sides) if len(both) > 1 else None,
    }


def difference(a: Scores, b: Scores) -> dict[str, Any]:
    """Paired a − b of Dice (patients × regions), of each region and of their mean: mean, 95 %
    interval, Wilcoxon's p.
    """
    result = {}
    for index, region in enumerate((*REGIONS, "mean")):
        sides = [(side.mean(1) if region == "mean" else side[:, index]).tolist() for side in (a, b)]
        found = paired_difference(*sides)
        result[region] = {
            "mean": found.mean,
            "low": found.low,
            "high": found.high,
            "wilcoxon_p": found.wilcoxon_p,
        }
    return result


def in_points(found: dict[str, float]) -> str:
    """A :func:`difference` of one region, in points of Dice."""
    return f"{100 * found['mean']:+.1f} [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"


def _named(new: ByStudy, strata: dict[str, Any]) -> str:
    """The subsets that have a name: all patients (the model card reads their rows), then each
    stratum, new, old and their difference.
    """
    lines = [f"| {len(new)} patients | WT Dice | TC Dice | ET Dice | p |", "|---|---|---|---|---|"]
    for name, subset in NAMED.items():
        every = [np.array(s[subset]["new"]) for s in strata.values() if subset in s]
        if every:
            lines.append(f"| **{name}** | {_cells(np.concatenate(every))} | |")
    for stratum, subsets in strata.items():
        for name, subset in NAMED.items():
            if subset not in subsets:
                continue
            part = subsets[subset]
            label = f"{stratum} ({len(part['new'])}), {name}"
            lines.append(f"| {label} | {_cells(np.array(part['new']))} | |")
            old = [row for row in part["old"] if row is not None]
            if part["difference"] is None:
                continue
            lines.append(f"| glioma@1 ({len(old)}) | {_cells(np.array(old))} | |")
            cells = " | ".join(in_points(part["difference"][region]) for region in REGIONS)
            p = part["difference"]["mean"]["wilcoxon_p"]
            lines.append(f"| new − glioma@1 | {cells} | {p:.3f} |")
    return "\n".join(lines)


def _every(strata: dict[str, Any]) -> str:
    lines = [
        "| stratum | sequences | n | WT Dice | TC Dice | ET Dice |",
        "|---|---|---|---|---|---|",
    ]
    for stratum, subsets in strata.items():
        for subset, part in subsets.items():
            values = np.array(part["new"])
            name = subset.replace("+", " + ")
            lines.append(f"| {stratum} | {name} | {len(values)} | {_cells(values)} |")
    return "\n".join(lines)


def _trust(told: dict[str, Any]) -> str:
    errors = ", ".join(f"{region} {value:.3f}" for region, value in told["mae"].items())
    return (
        f"Predicted Dice: mean error {errors}, each patient left out in turn. Of {told['wrong']}"
        f" segmentations with a region below Dice 0.5, {100 * told['wrong_flagged']:.0f} % have a"
        f" predicted Dice below {told['limit']:g}; of the {told['right']} others"
        f" {100 * told['right_flagged']:.0f} %. With all flags:"
        f" {100 * told['wrong_flagged_by_any']:.0f} % and"
        f" {100 * told['right_flagged_by_any']:.0f} %."
    )


def _clean_up(told: dict[str, Any]) -> str:
    before, after, honest = (
        " ".join(f"{100 * value:.1f}" for value in told[key])
        for key in ("dice_before", "dice", "dice_by_rules_of_other_folds")
    )
    return (
        f"Clean-up rules chosen: {', '.join(told['rules']) or 'none'}. Mean Dice over subsets, WT TC"
        f" ET: {before} without, {after} with them, {honest} with those that other folds choose."
    )


def _cells(dice: Scores) -> str:
    return " | ".join(_interval(column) for column in dice.T)


def _interval(values: Scores) -> str:
    if len(values) < 2:
        return f"{100 * values.mean():.1f}"
    low, high = mean_interval(values)
    return f"{100 * values.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"
