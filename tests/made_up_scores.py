"""Scores without images, for what compares and shows them."""

import numpy as np

from gliodistill.evaluation.rules import get_rules
from gliodistill.evaluation.scores import Scores

RULES = get_rules("plain")
IDS = tuple(f"s{n:02}" for n in range(24))


def scores(
    dice: np.ndarray | float,
    hd95: np.ndarray | float = 5.0,
    *,
    ids: tuple[str, ...] = IDS,
    failed: tuple[str, ...] = (),
    provenance: dict[str, str] | None = None,
) -> Scores:
    """Scores with the same Dice and HD95 in every region; odd studies have no enhancing tumour,
    later ones larger tumours.
    """
    dices, distances = np.broadcast_to(dice, len(ids)), np.broadcast_to(hd95, len(ids))
    studies = {}
    for number, id in enumerate(ids):
        if id in failed:
            continue
        values = dict.fromkeys(RULES.metrics, None) | {
            "dice": float(dices[number]),
            "hd95_mm": float(distances[number]),
        }
        volumes = {"WT": 10.0 + number, "TC": 5.0, "ET": 2.0 * (number % 2 == 0)}
        studies[id] = {region: values | {"truth_ml": volumes[region]} for region in RULES.regions}
    return Scores(RULES, studies, dict.fromkeys(failed, "image is truncated"), provenance or {})


def two(seed: int = 0) -> dict[str, Scores]:
    """``a`` is a little better than ``b``."""
    generator = np.random.default_rng(seed)
    b = generator.uniform(0.6, 0.9, len(IDS))
    return {
        "a": scores(b + generator.normal(0.02, 0.02, len(IDS)), 4.0),
        "b": scores(b, 5.0 + generator.uniform(-1, 2, len(IDS))),
    }
