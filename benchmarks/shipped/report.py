"""Cross-validation of the shipped recipe: tables from the scores of all folds."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.distillation.score import SUBSETS, subset_name
from benchmarks.shipped.calibration import table
from gliodistill import __version__
from gliodistill.evaluation.statistics import mean_interval, paired_difference
from gliodistill.evaluation.strata import truth_strata
from gliodistill.files import make_folder, write_text
from gliodistill.studies.labels import REGIONS

ROOT = Path(__file__).parents[2]
EVERY = subset_name(SUBSETS[-1])
Scores = NDArray[np.float64]
NAMED = {"four sequences": EVERY, "FLAIR + T1CE": "T1CE+FLAIR", "FLAIR alone": "FLAIR"}


def write_report(
    done: list[Path],
    folds: int,
    rules: dict[str, Any],
    calibrated: dict[str, Any],
    out: Path,
    command: str,
) -> None:
    """``cross_validation.json``, ``.md`` and its first table: the folds ``done`` of ``folds``, what
    ``rules`` do, and calibration.
    """
    if not done:
        raise SystemExit("no fold has been scored")
    student, volumes = (_joined(done, name) for name in ("student", "volumes"))
    teacher = _joined(done, "teacher") if (done[0] / "scores" / "teacher.json").exists() else None
    dice = {
        subset: np.asarray(student["subsets"][subset]["dice"])
        for subset in map(subset_name, SUBSETS)
    }
    hd95 = np.asarray(student["subsets"][EVERY]["hd95_mm"])
    taught = None if teacher is None else np.asarray(teacher["scores"][EVERY]["dice"])
    cleaned = _cleaned(rules)
    found = {
        "command": command,
        "folds": [int(fold.name.removeprefix("fold")) for fold in done],
        "of_folds": folds,
        "patients": len(hd95),
        "rules": student["rules"],
        "versions": {"gliodistill": __version__},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "parameters": student["parameters"],
        "seconds_a_fold": {
            run["name"]: round(run["seconds"] / len(done)) for run in (student, teacher) if run
        },
        "subsets": {subset: {"dice": values.tolist()} for subset, values in dice.items()},
        "hd95_mm": hd95.tolist(),
        "teacher": None if taught is None else {"dice": taught.tolist()},
        "volumes_ml": volumes["volumes_ml"],
        "clean_up": rules,
        "calibration": calibrated,
        "differences": {
            **(
                {}
                if taught is None
                else {"student − teacher, four sequences": difference(dice[EVERY], taught)}
            ),
            "FLAIR + T1CE − four sequences": difference(dice["T1CE+FLAIR"], dice[EVERY]),
            "FLAIR + T1CE − four sequences, both cleaned up": difference(
                cleaned["T1CE+FLAIR"], cleaned[EVERY]
            ),
        },
    }
    make_folder(out)
    write_text(out / "cross_validation.json", json.dumps(found, indent=1))
    scores = os.path.relpath(out / "cross_validation.json", ROOT)
    pages = _pages(found, dice, hd95, taught, scores)
    write_text(out / "cross_validation.md", "\n\n".join(pages) + "\n")
    write_text(out / "cross_validation_summary.md", pages[0] + "\n")


def _cleaned(rules: dict[str, Any]) -> dict[str, Scores]:
    """Dice after clean-up that other folds chose, of each of ``NAMED``."""
    every = {EVERY: rules["chosen_by_other_folds"], **rules["fewer"]}
    return {subset: np.asarray(every[subset]) for subset in NAMED.values()}


def _joined(folds: list[Path], name: str) -> dict[str, Any]:
    """One run's scores, fold after fold."""
    joined: dict[str, Any] = {}
    for fold in folds:
        part = json.loads((fold / "scores" / f"{name}.json").read_text())
        if not joined:
            joined = {**part, "name": name}
            continue
        for kind in ("scores", "subsets"):
            for subset, scores in part.get(kind, {}).items():
                for metric in ("dice", "hd95_mm"):
                    joined[kind][subset][metric] += scores[metric]
        if "seconds" in part:
            joined["seconds"] += part["seconds"]
        if "volumes_ml" in part:
            joined["volumes_ml"] += part["volumes_ml"]
    if joined.get("subsets"):
        joined["subsets"][EVERY] = joined["scores"][EVERY]
    return joined


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


def _pages(
    found: dict[str, Any], dice: dict[str, Scores], hd95: Scores, taught: Scores | None, scores: str
) -> list[str]:
    head = (
        f"| {found['patients']} patients | WT Dice | TC Dice | ET Dice | HD95 mm WT / TC / ET"
        " |\n|---|---|---|---|---|"
    )
    rows = [
        _row(f"**{name}**", dice[subset], hd95 if subset == EVERY else None)
        for name, subset in NAMED.items()
    ]
    cleaned = _cleaned(found["clean_up"])
    rows += [
        _row(f"{name}, threshold and clean-up chosen on other folds", cleaned[subset], None)
        for name, subset in NAMED.items()
    ]
    if taught is not None:
        rows.append(_row("its teacher, four sequences", taught, None))
    every = "| sequences | WT Dice | TC Dice | ET Dice |\n|---|---|---|---|"
    subsets = [
        _row(subset.replace("+", " + "), values, None, short=True)
        for subset, values in dice.items()
    ]
    volumes = {
        str(number): dict(zip(REGIONS, row, strict=True))
        for number, row in enumerate(found["volumes_ml"])
    }
    groups = []
    for strata in truth_strata(volumes):
        for name, members in strata.groups.items():
            those = dice[EVERY][[int(number) for number in members]]
            groups.append(_row(f"{strata.title}: {name} ({len(those)})", those, None, short=True))
    lines = [f"* {name}: {_told(d)}" for name, d in found["differences"].items()]
    folds = (
        ""
        if len(found["folds"]) == found["of_folds"]
        else f" Folds {', '.join(map(str, found['folds']))} of {found['of_folds']} so far."
    )
    empty = "; ".join(
        part.partition(" (")[0] for part in found["rules"].split(". ") if " empty: " in part
    )
    note = (
        "Means with 95 % bootstrap intervals over patients, each scored once, on their own 1 mm"
        " grid, by networks that never saw them, at a threshold of 0.5 and before any clean-up"
        f" rule but where it says so; what ships: threshold {found['clean_up']['threshold']},"
        f" {', '.join(found['clean_up']['rules'])}.{folds} {empty}. Command: `{found['command']}`;"
        f" every score: `{scores}`."
    )
    return [
        "\n".join([head, *rows]),
        "\n".join(lines),
        "Every subset:\n\n" + "\n".join([every, *subsets]),
        "Calibration, four sequences, around the tumour; by mean predicted probability →"
        " how often the region is there:\n\n" + table(found["calibration"]),
        "Four sequences, by kind of tumour (number of patients):\n\n"
        + "\n".join([every.replace("sequences", "group"), *groups]),
        note,
    ]


def _row(name: str, dice: Scores, hd95: Scores | None, *, short: bool = False) -> str:
    cells = []
    for column in dice.T:
        low, high = mean_interval(column)
        cells.append(f"{100 * column.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]")
    if not short:
        cells.append("" if hd95 is None else " / ".join(f"{m:.1f}" for m in hd95.mean(0)))
    return "| " + " | ".join([name, *cells]) + " |"


def _told(found: dict[str, Any]) -> str:
    parts = (f"{region} {in_points(d)}" for region, d in found.items())
    return "; ".join(parts) + f"; p {found['mean']['wilcoxon_p']:.3f}"
