"""Thresholds of the check, and what passes them."""

from typing import Any

import numpy as np

from benchmarks.alignment.wrong import WRONG_MM
from gliodistill.alignment.registration import AGREEING_MM, OVERLAPPING, SHARP, SIMILAR

RIGHT_MM = 2.0
"""Error, 95 % over the brain, of a registration that is right."""


def noticed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Right and wrong registrations that the check leaves out, doubts and passes."""
    return {
        "similar": SIMILAR,
        "overlapping": OVERLAPPING,
        "agreeing_mm": AGREEING_MM,
        "sharp": SHARP,
        "counts": {
            name: {"n": len(some)} | _counts(some) for name, some in groups(rows).items() if some
        },
    }


def groups(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by what is known of them."""

    def some(kind: str, low: float, high: float) -> list[dict[str, Any]]:
        return [row for row in rows if row["kind"] == kind and low < row["p95"] <= high]

    return {
        f"right, up to {RIGHT_MM:g} mm off": some("found", -1, RIGHT_MM),
        f"{RIGHT_MM:g} to {WRONG_MM:g} mm off": some("found", RIGHT_MM, WRONG_MM),
        f"more than {WRONG_MM:g} mm off": some("found", WRONG_MM, np.inf),
        f"wrong optimum, {WRONG_MM:g} to 10 mm off": some("wrong optimum", WRONG_MM, 10),
        "wrong optimum, more than 10 mm off": some("wrong optimum", 10, np.inf),
        "wrong patient": [row for row in rows if row["kind"] == "wrong patient"],
    }


def _counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    left_out = [row["similarity"] < SIMILAR or row["overlap"] < OVERLAPPING for row in rows]
    doubtful = [
        row["disagreement"] > AGREEING_MM or row["sharpness"] < SHARP for row in rows
    ]
    return {
        "left_out": sum(left_out),
        "doubtful": sum(d and not out for d, out in zip(doubtful, left_out, strict=True)),
        "pass": sum(not d and not out for d, out in zip(doubtful, left_out, strict=True)),
    }
