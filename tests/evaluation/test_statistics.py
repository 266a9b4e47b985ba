"""Paired comparison against SciPy."""

import numpy as np
import pytest
from scipy import stats

from gliodistill.errors import EvaluationError
from gliodistill.evaluation.statistics import paired_difference


@pytest.mark.parametrize(("n", "seed"), [(5, 0), (12, 1), (60, 2)])
def test_agrees_with_scipy(n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    a = generator.beta(8, 2, n)
    b = a - 0.02 + 0.05 * generator.standard_normal(n)
    result = paired_difference(a.tolist(), b.tolist(), seed=7)
    oracle = stats.bootstrap((a - b,), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(3))
    low, high = oracle.confidence_interval
    assert result.mean == pytest.approx((a - b).mean())
    # Both ends carry the Monte Carlo error of 10 000 and 40 000 resamples: about 2 % of the interval's width.
    assert result.low == pytest.approx(low, abs=0.04 * (high - low))
    assert result.high == pytest.approx(high, abs=0.04 * (high - low))
    assert result.wilcoxon_p == pytest.approx(stats.wilcoxon(a, b).pvalue)


def test_equal_input_gives_equal_output_and_the_seed_counts() -> None:
    a, b = [0.8, 0.7, 0.9, 0.85], [0.7, 0.72, 0.8, 0.8]
    assert paired_difference(a, b, seed=1) == paired_difference(a, b, seed=1)
    swapped = paired_difference(b, a, seed=1)
    assert swapped.mean == pytest.approx(-paired_difference(a, b, seed=1).mean)


def test_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(11)
    covered = 0
    for seed in range(200):
        differences = generator.normal(0.03, 0.05, 30)
        result = paired_difference(differences.tolist(), np.zeros(30).tolist(), seed=seed, resamples=1000)
        covered += result.low <= 0.03 <= result.high
    assert 0.88 <= covered / 200 <= 0.985


def test_no_difference_at_all() -> None:
    assert paired_difference([0.5, 0.6], [0.5, 0.6], seed=0) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([], []), ([1.0, float("nan")], [1.0, 2.0])])
def test_what_is_not_paired_is_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(EvaluationError, match="values are not"):
        paired_difference(a, b, seed=0)
