"""Thresholds of the check: derived from the right registrations of one half of the patients, judged
on the other half.
"""

from typing import Any

import numpy as np

from benchmarks.alignment.wrong import WRONG_MM
from gliodistill.alignment.registration import AGREEING_MM, OVERLAPPING, PEAKED, SHARP, SIMILAR

RIGHT, RAW = "right", "raw heads"
RIGHT_MM = 2.0
"""Error, 95 % over the brain, of a registration that is right; of raw heads, whose headers may be
wrong by as much, :data:`WRONG_MM` is allowed.
"""

PASSING = 90.0
"""Share of right registrations, in percent, within each threshold before the margin. A doubtful one
is still used, so that a wrong one that passes costs more than a right one that is doubted.
"""

MARGIN = 1.1
"""Factor between them and a threshold: few pairs are measured."""


def noticed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Right and wrong registrations that the check leaves out, doubts and passes.

    Patients of even numbers derive the thresholds, those of odd numbers are counted.
    """
    chosen_on, judged = ([row for row in rows if row["number"] % 2 == half] for half in (0, 1))
    right = groups(chosen_on)[RIGHT]
    return {
        "similar": SIMILAR,
        "overlapping": OVERLAPPING,
        "peaked": PEAKED,
        "agreeing_mm": AGREEING_MM,
        "sharp": SHARP,
        "derived": derived(right) | {"right": len(right)} if right else {},
        "counts": {
            name: {"n": len(some)} | _counts(some) for name, some in groups(judged).items() if some
        },
    }


def derived(right: list[dict[str, Any]]) -> dict[str, float]:
    """Thresholds that let right registrations pass, with a margin."""
    disagreement = np.percentile([row["disagreement"] for row in right], PASSING)
    sharpness = np.percentile([row["sharpness"] for row in right], 100 - PASSING)
    return {
        "agreeing_mm": float(np.ceil(2 * disagreement * MARGIN) / 2),
        "sharp": float(np.floor(100 * sharpness / MARGIN) / 100),
    }


def groups(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by what is known of them."""

    found = [row for row in rows if row["kind"] == "found"]
    optima = [row for row in rows if row["kind"] == "wrong optimum"]
    right = [row for row in found if row["p95"] <= (WRONG_MM if row["group"] == RAW else RIGHT_MM)]
    wrong = [row for row in found if row["p95"] > WRONG_MM]
    return {
        RIGHT: right,
        f"{RIGHT_MM:g} to {WRONG_MM:g} mm off": [
            row for row in found if row not in right and row not in wrong
        ],
        f"more than {WRONG_MM:g} mm off": wrong,
        f"wrong optimum, {WRONG_MM:g} to 10 mm off": [row for row in optima if row["p95"] <= 10],
        "wrong optimum, more than 10 mm off": [row for row in optima if row["p95"] > 10],
        "scans of two patients": [row for row in rows if row["kind"] == "wrong patient"],
    }


def _counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    left_out = [
        row["similarity"] < SIMILAR or row["overlap"] < OVERLAPPING or row["sharpness"] < PEAKED
        for row in rows
    ]
    doubtful = [row["disagreement"] > AGREEING_MM or row["sharpness"] < SHARP for row in rows]
    return {
        "left_out": sum(left_out),
        "doubtful": sum(d and not out for d, out in zip(doubtful, left_out, strict=True)),
        "pass": sum(not d and not out for d, out in zip(doubtful, left_out, strict=True)),
    }
