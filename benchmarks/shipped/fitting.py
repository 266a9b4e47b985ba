"""What is fitted on held-out patients only: calibration, clean-up rules, predicted Dice, flags."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.shipped.held_out import RULES
from gliodistill.studies.labels import REGIONS
from gliodistill.trust.calibration import Calibration
from gliodistill.trust.expected_quality import QualityModel, QualityRow, fit_quality

Found = dict[str, dict[str, Any]]
"""Study → subset → what :func:`benchmarks.shipped.held_out.score` found."""
WRONG = 0.5
"""A study is wrong if the Dice of a region is below."""
LIMITS = np.arange(0.3, 0.86, 0.05)
FLAGGED_WRONG = 0.9


def calibration_table(made: Calibration) -> str:
    """Temperatures and calibration errors, over all subsets and of subsets with their own."""
    lines = [
        "| region | sequences | temperature below / above 0 | ECE before | ECE after |",
        "|---|---|---|---|---|",
    ]
    parts = {"all subsets": made.regions, **made.subsets}
    for region in REGIONS:
        for name, regions in parts.items():
            if part := regions.get(region):
                lines.append(
                    f"| {region} | {name.replace('+', ' + ')} | {part.below:.2f} / {part.above:.2f}"
                    f" | {part.ece_before:.3f} | {part.ece_after:.3f} |"
                )
    return "\n".join(lines)


def choose_rules(found: Found, fold_of: dict[str, str]) -> dict[str, Any]:
    """The clean-up rules with the best mean Dice over studies and their subsets; and what choosing
    is worth: each fold with the rules that the other folds choose.
    """
    ids = sorted(found)
    table = np.array(
        [np.mean([subset["cleaned"] for subset in found[id].values()], axis=0) for id in ids]
    )  # studies × rules × regions
    folds = np.array([fold_of[id] for id in ids])
    by_others = np.empty(table.shape[::2])
    for fold in set(folds):
        others = table[folds != fold] if (folds != fold).any() else table
        by_others[folds == fold] = table[folds == fold, int(others.mean((0, 2)).argmax())]
    best = int(table.mean((0, 2)).argmax())
    return {
        "rules": [rule for rule in RULES[best] if not rule.endswith("=0")],
        "dice_before": table[:, 0].mean(0).tolist(),
        "dice": table[:, best].mean(0).tolist(),
        "dice_by_rules_of_other_folds": by_others.mean(0).tolist(),
    }


def quality_rows(found: Found) -> list[QualityRow]:
    """A row for each study, subset and region that was predicted."""
    return [
        QualityRow(id, region, values, facts["dice"][REGIONS.index(region)])
        for id, subsets in sorted(found.items())
        for facts in subsets.values()
        for region, values in facts["features"].items()
    ]


def fit_trust(found: Found, fitted_on: str) -> tuple[QualityModel, dict[str, Any]]:
    """The model that predicts Dice, with the limit of its flag, and how often flags are right.

    The limit is the lowest that flags :data:`FLAGGED_WRONG` of the wrong studies, each predicted
    without its patient; the one that separates them best if none does. Flags of another kind
    (thick slices, unusual images) are counted apart, as they say something of the images.
    """
    rows = quality_rows(found)
    flags = [
        (wrong, predicted, other)
        for id in sorted(found)
        for wrong, predicted, other in _predicted(found[id], _without(rows, id, fitted_on))
    ]
    wrong = np.array([flag[0] for flag in flags])
    shares = []
    for limit in LIMITS:
        raised = np.array([predicted < limit for _, predicted, _ in flags])
        shares.append((_share(raised[wrong]), _share(raised[~wrong])))
    enough = [number for number, (caught, _) in enumerate(shares) if caught >= FLAGGED_WRONG]
    best = enough[0] if enough else int(np.argmax([caught - false for caught, false in shares]))
    model = fit_quality(rows, fitted_on, round(float(LIMITS[best]), 2))
    either = np.array([other or predicted < LIMITS[best] for _, predicted, other in flags])
    told = {
        "wrong": int(wrong.sum()),
        "right": int((~wrong).sum()),
        "limit": model.low,
        "wrong_flagged": shares[best][0],
        "right_flagged": shares[best][1],
        "wrong_flagged_by_any": _share(either[wrong]),
        "right_flagged_by_any": _share(either[~wrong]),
        "mae": {region: part.mae for region, part in model.regions.items()},
        "mae_of_mean": {region: part.mae_of_mean for region, part in model.regions.items()},
        "spearman": {region: part.spearman for region, part in model.regions.items()},
    }
    return model, told


def _without(rows: list[QualityRow], patient: str, fitted_on: str) -> QualityModel:
    return fit_quality([row for row in rows if row.patient != patient], fitted_on)


def _predicted(subsets: dict[str, Any], model: QualityModel) -> Iterable[tuple[bool, float, bool]]:
    """Of each subset: whether it is wrong, the lowest predicted Dice (1 if all regions are empty),
    and whether another flag is raised.
    """
    for facts in subsets.values():
        predicted = model.predict(facts["features"])
        other = set(facts["flags"]) - {"low_quality"}
        yield min(facts["dice"]) < WRONG, min(predicted.values(), default=1.0), bool(other)


def _share(raised: Any) -> float:
    return float(raised.mean()) if len(raised) else float("nan")
