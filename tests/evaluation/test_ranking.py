"""Ranking over patients against counting by hand, every permutation, and SciPy."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from gliodistill.errors import EvaluationError
from gliodistill.evaluation.ranking import rank_models

NONE = np.nan


def no_failures(values: np.ndarray) -> np.ndarray:
    return np.zeros(values.shape[:2], dtype=bool)


def random_values(models: int, patients: int, cells: int, seed: int) -> np.ndarray:
    """Few distinct values, so that ties occur; later models are worse."""
    return (
        np.random.default_rng(seed).integers(0, 6, (models, patients, cells))
        + np.arange(models)[:, None, None] * 0.5
    )


def test_mean_ranks_counted_by_hand() -> None:
    # Two patients with two values each. Ranks of a: 1, 1.5 | 3, 1; of b: 2, 1.5 | 1, 2.5; of c: 3,
    # 3 | 2, 2.5.
    values = np.array([[[1, 4], [9, 1]], [[2, 4], [7, 2]], [[3, 5], [8, 2.0]]])
    ranking = rank_models(["a", "b", "c"], values, no_failures(values))
    assert {s.model: s.mean_rank for s in ranking.standings} == pytest.approx(
        {"a": 6.5 / 4, "b": 7 / 4, "c": 10.5 / 4}
    )
    assert [(s.model, s.position) for s in ranking.standings] == [("a", 1), ("b", 2), ("c", 3)]
    assert (ranking.patients, ranking.cells, ranking.left_out, ranking.failed) == (2, 4, 0, 0)


def test_a_failed_patient_is_last_and_an_undefined_value_is_left_out() -> None:
    values = np.array([[[1, 1], [NONE, NONE]], [[2, NONE], [1, 2]], [[3, 3], [2, 1.0]]])
    failed = np.array([[False, True], [False, False], [False, False]])
    ranking = rank_models(["a", "b", "c"], values, failed)
    # Cell 2 of patient 1 is undefined in b: left out for all. On patient 2 a is last twice.
    assert {s.model: s.mean_rank for s in ranking.standings} == pytest.approx(
        {"a": 7 / 3, "b": 5 / 3, "c": 6 / 3}
    )
    assert (ranking.patients, ranking.cells, ranking.left_out, ranking.failed) == (2, 3, 1, 2)


def test_where_all_failed_nothing_is_ranked() -> None:
    values = np.array([[[1.0], [NONE]], [[2.0], [NONE]]])
    failed = np.array([[False, True], [False, True]])
    ranking = rank_models(["a", "b"], values, failed)
    assert (ranking.patients, ranking.cells, ranking.left_out, ranking.failed) == (1, 1, 0, 0)
    with pytest.raises(EvaluationError, match="nothing to rank"):
        rank_models(["a", "b"], values[:, 1:], failed[:, 1:])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_few_patients_are_exchanged_in_every_way(seed: int) -> None:
    values = random_values(3, 7, 4, seed)
    names = ["a", "b", "c"]
    ranking = rank_models(names, values, no_failures(values))
    ranks = np.array(
        [
            [[stats.rankdata(values[:, p, c])[m] for c in range(4)] for p in range(7)]
            for m in range(3)
        ]
    )
    for (first, second), p in ranking.p_values.items():
        a, b = ranks[names.index(first)], ranks[names.index(second)]
        observed = abs(a.mean() - b.mean())
        reached = 0
        for exchange in product([False, True], repeat=7):
            swap = np.array(exchange)[:, None]
            left, right = np.where(swap, b, a), np.where(swap, a, b)
            reached += abs(left.mean() - right.mean()) >= observed - 1e-9
        assert p == pytest.approx(reached / 2**7)
    assert list(ranking.p_values) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert max(ranking.holm_p[pair] - p for pair, p in ranking.p_values.items()) >= 0


def test_many_patients_are_exchanged_at_random_as_scipy_does_it() -> None:
    values = np.random.default_rng(6).integers(0, 6, (2, 40, 6)).astype(float)
    ranking = rank_models(["a", "b"], values, no_failures(values))
    ranks = stats.rankdata(values, axis=0)
    differences = (ranks[0] - ranks[1]).sum(axis=1)
    oracle = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=40_000, vectorized=True
    )
    assert 0.01 < oracle.pvalue < 0.99
    spread = np.sqrt(oracle.pvalue * (1 - oracle.pvalue) * (1 / 40_000 + 1 / 100_000))
    assert ranking.p_values["a", "b"] == pytest.approx(oracle.pvalue, abs=5 * spread)


def test_intervals_of_the_mean_rank_as_scipys_bootstrap() -> None:
    values = random_values(3, 30, 6, 9)
    ranking = rank_models(["a", "b", "c"], values, no_failures(values), seed=3)
    ranks = stats.rankdata(values, axis=0).mean(axis=2)
    for standing in ranking.standings:
        sample = ranks["abc".index(standing.model)]
        oracle = stats.bootstrap(
            (sample,), np.mean, n_resamples=30_000, method="percentile"
        ).confidence_interval
        width = oracle.high - oracle.low
        assert standing.low == pytest.approx(oracle.low, abs=0.05 * width)
        assert standing.high == pytest.approx(oracle.high, abs=0.05 * width)
        assert standing.best <= standing.position <= standing.worst


def test_positions_tell_clear_from_unclear_orders() -> None:
    clear = np.stack([np.zeros((20, 3)), np.ones((20, 3))])
    first, second = rank_models(["a", "b"], clear, no_failures(clear)).standings
    assert (first.mean_rank, first.best, first.worst, first.first) == (1.0, 1, 1, 1.0)
    assert (second.mean_rank, second.best, second.worst, second.first) == (2.0, 2, 2, 0.0)
    equal = np.zeros((2, 20, 3))
    both = rank_models(["a", "b"], equal, no_failures(equal))
    assert [(s.mean_rank, s.position, s.first) for s in both.standings] == [
        (1.5, 1, 1.0),
        (1.5, 1, 1.0),
    ]
    assert both.p_values["a", "b"] == 1.0


def test_no_difference_is_found_about_as_often_as_promised() -> None:
    generator = np.random.default_rng(0)
    found = 0
    for seed in range(60):
        values = generator.normal(size=(2, 12, 6)) + generator.normal(size=(1, 12, 1))
        found += (
            rank_models(["a", "b"], values, no_failures(values), seed=seed).p_values["a", "b"]
            <= 0.05
        )
    assert found <= 8


def test_equal_input_gives_equal_output() -> None:
    values = random_values(3, 25, 6, 5)
    assert rank_models(["a", "b", "c"], values, no_failures(values), seed=1) == rank_models(
        ["a", "b", "c"], values, no_failures(values), seed=1
    )
