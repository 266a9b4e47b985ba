"""Comparisons on made-up scores, against SciPy and counting by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gliodistill.errors import EvaluationError
from gliodistill.evaluation.comparability import IncomparableError, why_incomparable
from gliodistill.evaluation.comparison import compare
from gliodistill.evaluation.conclusions import cautions, conclusion
from gliodistill.evaluation.rules import get_rules
from gliodistill.evaluation.scores import Scores
from made_up_scores import IDS, RULES, scores, two


def test_every_number_of_a_pair() -> None:
    models = two()
    comparison = compare(models)
    assert [(c.region, c.metric) for c in comparison.contrasts] == [
        (r, m) for r in RULES.regions for m in ("dice", "hd95_mm")
    ]
    p = []
    for contrast in comparison.contrasts:
        a, b = (
            np.array(models[name].values(contrast.region, contrast.metric)) for name in ("a", "b")
        )
        better = (a > b) if contrast.metric == "dice" else (a < b)
        assert (contrast.n, contrast.undefined, contrast.failed) == (24, 0, 0)
        assert (contrast.wins, contrast.ties, contrast.losses) == (
            better.sum(),
            (a == b).sum(),
            24 - better.sum() - (a == b).sum(),
        )
        assert contrast.difference is not None and contrast.dz is not None
        assert contrast.difference.mean == pytest.approx((a - b).mean())
        assert (contrast.first_mean, contrast.second_mean) == (
            pytest.approx(a.mean()),
            pytest.approx(b.mean()),
        )
        assert contrast.dz == pytest.approx(stats.ttest_rel(a, b).statistic / np.sqrt(24))
        p.append(stats.wilcoxon(a, b).pvalue)
    # Holm over the six tests, by its definition as a maximum of products.
    ordered = sorted(p)
    for contrast, own in zip(comparison.contrasts, p, strict=True):
        expected = max(min(1.0, (6 - j) * ordered[j]) for j in range(6) if ordered[j] <= own)
        assert contrast.holm_p == pytest.approx(expected)
    assert comparison.tests == 6


def test_all_pairs_or_against_one() -> None:
    models = {name: scores(0.5) for name in "abc"}
    assert compare(models).pairs == (("a", "b"), ("a", "c"), ("b", "c"))
    against = compare(models, against="a", metrics=["nsd", "dice"][1:])
    assert against.pairs == (("b", "a"), ("c", "a"))
    assert [s.model for s in against.ranking.standings] == ["a", "b", "c"]
    assert against.tests == 6


def test_failed_and_undefined_are_left_out_and_counted() -> None:
    models = two()
    failing = scores(np.linspace(0.5, 0.9, 24), failed=("s03", "s07"))
    failing.studies["s00"]["ET"]["dice"] = None
    comparison = compare({"a": models["a"], "b": failing})
    by_region = {
        c.region: (c.n, c.undefined, c.failed) for c in comparison.contrasts if c.metric == "dice"
    }
    assert by_region == {"WT": (22, 0, 2), "TC": (22, 0, 2), "ET": (21, 1, 2)}
    assert comparison.ranking.failed == 2 * 6
    assert comparison.ranking.left_out == 1
    assert comparison.as_dict()["models"]["b"]["failed"] == {
        "s03": "image is truncated",
        "s07": "image is truncated",
    }
    said = " ".join(cautions(comparison))
    assert "b failed on 2 of 24 studies" in said and "undefined in up to 1 studies" in said


def test_outcomes() -> None:
    base = np.linspace(0.5, 0.8, 24)
    better = compare({"a": scores(base + 0.05, 4.0), "b": scores(base, 5.0)})
    assert {c.outcome for c in better.contrasts} == {"first"}
    said = conclusion(better, ("a", "b"))
    assert said[:3] == (
        "Is a better than b?",
        "Yes, in all 6",
        "a is better than b in all 6 comparisons and worse in none.",
    )
    assert said.details.startswith(
        "It is better in WT Dice by 0.0500 [0.0500, 0.0500], in WT HD95 by 1.00 mm [1.00, 1.00], in"
        " TC Dice"
    )
    worse = compare({"b": scores(base, 5.0), "a": scores(base + 0.05, 4.0)})
    assert {c.outcome for c in worse.contrasts} == {"second"}
    assert conclusion(worse, ("b", "a"))[2:] == said[2:]
    assert conclusion(worse, ("b", "a")).word == "No, a is, in all 6"
    some = compare({"a": scores(base + 0.05), "b": scores(base)})
    assert conclusion(some, ("a", "b")).word == "Yes, in 3 of 6"
    assert conclusion(some, ("a", "b")).details.endswith(
        "No difference is shown in WT HD95, TC HD95 and ET HD95."
    )
    # More overlap, but farther away.
    apart = compare({"a": scores(base + 0.05, 6.0), "b": scores(base, 5.0)})
    assert conclusion(apart, ("a", "b")).sentence == "Neither a nor b is better throughout."
    # Noise around zero.
    noise = np.random.default_rng(1).normal(0, 0.05, 24)
    same = compare({"a": scores(base + noise), "b": scores(base)}, metrics=["dice"])
    assert {c.outcome for c in same.contrasts} == {"open"}
    assert conclusion(same, ("a", "b"))[1:] == (
        "Not shown",
        "No difference between a and b is shown.",
        "",
    )


@pytest.mark.parametrize(("losers", "loss"), [(2, -0.6), (2, -0.1)])
def test_many_small_gains_and_few_large_losses_are_unclear(losers: int, loss: float) -> None:
    """Whether the mean is against the ranks, or only uncertain."""
    change = np.full(24, 0.01) + np.arange(24) * 1e-4
    change[:losers] = loss
    comparison = compare({"a": scores(0.7 + change), "b": scores(0.7)}, metrics=["dice"])
    assert {c.outcome for c in comparison.contrasts} == {"unclear"}
    said = conclusion(comparison, ("a", "b"))
    assert said.sentence == "No difference between a and b is shown."
    assert (
        "In WT Dice, TC Dice and ET Dice the test finds a difference that the interval of the mean"
        in said.details
    )


def test_strata_by_the_truth_a_table_and_sequences(tmp_path: Path) -> None:
    half = {"sequences": f"FLAIR: {', '.join(IDS[:6])}; T1+T2: {', '.join(IDS[6:])}"}
    table = tmp_path / "sites.csv"
    table.write_text(
        "id,site\n" + "".join(f"{id},{'North' if id < 's08' else 'South'}\n" for id in IDS)
    )
    base = np.linspace(0.4, 0.8, 24)
    gain = np.where(np.arange(24) % 2 == 0, 0.1, -0.02)
    models = {"a": scores(base + gain, provenance=half), "b": scores(base, provenance=half)}
    strata = {(s.title, s.name): s for s in compare(models, strata=table).strata}
    assert [name for _, name in strata] == [
        "enhancing", "not enhancing", "up to 17.7 ml", "17.7 to 25.3 ml", "over 25.3 ml", "FLAIR", "T1+T2", "North", "South",
    ]  # fmt: skip
    assert [s.studies for s in strata.values()] == [12, 12, 8, 8, 8, 6, 18, 8, 16]
    dice = {
        name: next(c for c in s.contrasts if c.metric == "dice") for (_, name), s in strata.items()
    }
    assert dice["enhancing"].difference is not None and dice["not enhancing"].difference is not None
    assert dice["enhancing"].difference.mean == pytest.approx(0.1)
    assert dice["not enhancing"].difference.mean == pytest.approx(-0.02)
    assert dice["enhancing"].holm_p is None and dice["enhancing"].outcome == "open"


def test_everything_wrong_is_said_at_once() -> None:
    fewer = scores(0.5, ids=IDS[:-2])
    other_rules = Scores(get_rules("plain", "met"), fewer.studies)
    other_truth = scores(0.5)
    other_truth.studies["s04"]["TC"]["truth_ml"] = 9.0
    with pytest.raises(IncomparableError) as caught:
        compare(
            {"a": scores(0.5), "b": other_rules, "c": other_truth},
            metrics=["dice", "truth_ml", "beauty"],
            against="z",
        )
    problems = caught.value.problems
    for part in (
        "no model z to compare with: there are a, b, c",
        "rules differ: a, c plain for gli; b plain for met",
        "truth_ml has no better direction: choose from ",
        "beauty is not a metric of these scores: choose from ",
        "b lacks 2 of 24 studies: s22, s23",
        "s04 has another reference: TC 5.000 ml in a, 9.000 ml in c",
    ):
        assert any(part in line for line in problems), part
    assert len(problems) == 6
    assert "6 problems" in str(caught.value)


def test_fewer_than_two_models_and_other_tolerances() -> None:
    assert why_incomparable({"a": scores(0.5)}) == ["fewer than two models: a"]
    wide = Scores(get_rules("plain", tolerance_mm=3.0), scores(0.5).studies)
    (problem,) = why_incomparable({"a": scores(0.5), "b": wide})
    assert problem.startswith("rules differ in their settings")


def test_nothing_scored_by_both() -> None:
    all_failed = scores(0.5, failed=IDS)
    comparison = compare({"a": scores(0.5), "b": all_failed})
    assert {(c.n, c.failed, c.difference, c.outcome) for c in comparison.contrasts} == {
        (0, 24, None, "open")
    }
    assert [s.model for s in comparison.ranking.standings] == ["a", "b"]
    with pytest.raises(EvaluationError, match="nothing to rank"):
        compare({"a": all_failed, "b": all_failed})


def test_json_is_plain_and_the_same_twice() -> None:
    text = json.dumps(compare(two()).as_dict(), allow_nan=False)
    assert text == json.dumps(compare(two()).as_dict(), allow_nan=False)
    said = json.loads(text)
    assert said["rules"]["name"] == "plain" and said["studies"] == 24
    contrast = said["contrasts"][0]
    assert (
        set(contrast["difference"]) == {"mean", "low", "high"}
        and 0 <= contrast["wilcoxon_p"] <= contrast["holm_p"] <= 1
    )
    assert "holm_p" not in said["strata"][0]["contrasts"][0]
    assert said["ranking"]["tests"][0]["models"] == ["a", "b"]
