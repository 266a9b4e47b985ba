"""Tables and fits of the shipped model's cross-validation, on made-up scores."""

import json

import numpy as np
import pytest
from benchmarks.shipped.fitting import RULES, choose_rules, fit_trust
from benchmarks.shipped.report import EVERY, write_report

from gliodistill.models.card import scores

IDS = [f"secret{number:02}" for number in range(12)]
STRATA = {id: ("challenge", "hospital")[number % 2] for number, id in enumerate(IDS)}


def made_up(seed, shift=0.0):
    random = np.random.default_rng(seed)
    return {
        id: {
            subset: (random.uniform(0.5, 0.8, 3) + shift).tolist()
            for subset in ("T1+T1CE+FLAIR", *((EVERY,) if STRATA[id] == "challenge" else ()))
        }
        for id in IDS
    }


def test_strata_are_compared_with_the_old_model_patient_by_patient(tmp_path):
    new = made_up(0, 0.1)
    old = {id: {s: (np.array(v) - 0.1).tolist() for s, v in new[id].items()} for id in IDS[:9]}
    write_report(new, old, STRATA, None, {}, tmp_path, "the command")
    page = (tmp_path / "cross_validation.md").read_text()
    found = json.loads((tmp_path / "cross_validation.json").read_text())
    assert page.count("| new − glioma@1 | +10.0 [+10.0, +10.0] |") == 3
    assert EVERY in found["strata"]["challenge"] and EVERY not in found["strata"]["hospital"]
    part = found["strata"]["hospital"]["T1+T1CE+FLAIR"]
    assert [row is None for row in part["old"]] == [False] * 4 + [True] * 2
    assert "secret" not in page + json.dumps(found)
    told = scores(f"\n## Cross-validation\n\n{page}")
    expected = np.mean([new[id][EVERY] for id in IDS if STRATA[id] == "challenge"], axis=0)
    assert list(told["four sequences"].values()) == pytest.approx(expected, abs=6e-4)


def answers(found):
    """Features that tell the Dice, and clean-up that helps by its number."""
    return {
        id: {
            subset: {
                "dice": dice,
                "flags": ["thick_slices"] if STRATA[id] == "hospital" else [],
                "features": {
                    region: {"expected_dice": value, "doubtful": 0.1, "log_ml": 1.0}
                    for region, value in zip(("WT", "TC", "ET"), dice, strict=True)
                },
                "cleaned": [[0.001 * number] * 3 for number in range(len(RULES))],
            }
            for subset, dice in subsets.items()
        }
        for id, subsets in found.items()
    }


def test_flags_catch_what_is_wrong_and_rules_are_chosen_on_other_folds():
    found = answers(made_up(1, -0.1))
    model, told = fit_trust(found, "tests")
    assert told["wrong"] + told["right"] == 18 and told["wrong"] > 3 and told["right"] > 3
    assert told["wrong_flagged"] >= 0.9 and told["right_flagged"] < 0.5
    assert told["right_flagged_by_any"] >= told["right_flagged"]
    assert told["mae"]["WT"] < told["mae_of_mean"]["WT"] and model.low == told["limit"]
    chosen = choose_rules(found, {id: f"fold{number % 3}" for number, id in enumerate(IDS)})
    assert chosen["rules"] == RULES[-1]
    assert chosen["dice"] == pytest.approx(chosen["dice_by_rules_of_other_folds"])
