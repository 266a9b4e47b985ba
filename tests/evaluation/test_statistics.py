"""Paired comparison against SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gliodistill.errors import EvaluationError
from gliodistill.evaluation.statistics import (
    cohens_dz,
    holm,
    paired_difference,
    rank_biserial,
    student_interval,
)


@pytest.mark.parametrize(("n", "seed"), [(5, 0), (12, 1), (60, 2)])
def test_agrees_with_scipy(n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    a = generator.beta(8, 2, n)
    b = a - 0.02 + 0.05 * generator.standard_normal(n)
    result = paired_difference(a.tolist(), b.tolist(), seed=7)
    oracle = stats.bootstrap(
        (a - b,), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(3)
    )
    low, high = oracle.confidence_interval
    assert result.mean == pytest.approx((a - b).mean())
    # Both ends carry the Monte Carlo error of 10 000 and 40 000 resamples: about 2 % of the
    # interval's width.
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
        result = paired_difference(
            differences.tolist(), np.zeros(30).tolist(), seed=seed, resamples=1000
        )
        covered += result.low <= 0.03 <= result.high
    assert 0.88 <= covered / 200 <= 0.985


def test_no_difference_at_all() -> None:
    assert paired_difference([0.5, 0.6], [0.5, 0.6], seed=0) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("a", "b"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([], []), ([1.0, float("nan")], [1.0, 2.0])]
)
def test_what_is_not_paired_is_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(EvaluationError, match="values are not"):
        paired_difference(a, b, seed=0)


# Dice of two models on twelve studies, in hundredths: two equal pairs, several tied differences.
A = [91, 85, 78, 93, 66, 88, 71, 95, 80, 59, 87, 82]
B = [89, 86, 70, 93, 60, 83, 74, 92, 80, 50, 80, 83]


def test_wilcoxon_is_exact_with_ties() -> None:
    assert paired_difference(A, B).wilcoxon_p == pytest.approx(
        0.042969, abs=1e-6
    )  # pingouin 0.7.0, wilcoxon, as below
    signs = [
        2.0,
        2.0,
        2.0,
        -1.0,
        3.0,
    ]  # ranks 3, 3, 3, 1, 5: of 32 ways four have a sum of 13 or more, or -13 or less
    assert paired_difference(signs, [0.0] * 5).wilcoxon_p == 4 / 32


@pytest.mark.parametrize("n", [6, 13, 16, 17, 30])
def test_wilcoxon_as_scipys_exact_distribution(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.3, 1, n)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert paired_difference(differences.tolist(), [0.0] * n).wilcoxon_p == pytest.approx(expected)


def test_students_interval_as_scipy_gives_it() -> None:
    values = [0.05, 0.11, 0.02, 0.08, 0.07]
    found = student_interval(values)
    expected = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    np.testing.assert_allclose((found.low, found.high), expected, rtol=1e-12)
    assert found.mean == pytest.approx(0.066)


@pytest.mark.parametrize("values", [[], [0.1], [0.1, float("nan")]])
def test_no_students_interval_of_too_little(values: list[float]) -> None:
    with pytest.raises(EvaluationError, match="two finite values"):
        student_interval(values)


def test_effect_sizes_as_other_programs_give_them() -> None:
    assert rank_biserial(A, B) == pytest.approx(0.727273, abs=1e-6)  # pingouin 0.7.0, wilcoxon: RBC
    assert cohens_dz(A, B) == pytest.approx(
        2.519355 / np.sqrt(12), abs=1e-6
    )  # pingouin's paired t: d_z = t / sqrt(n)


@pytest.mark.parametrize(("n", "seed"), [(7, 0), (40, 1)])
def test_effect_sizes_follow_from_scipys_statistics(n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = (generator.integers(0, 12, n).astype(float).tolist() for _ in range(2))
    differing = [x - y for x, y in zip(a, b, strict=True) if x != y]
    positive = stats.wilcoxon(
        differing, alternative="greater"
    ).statistic  # the sum of the positive ranks
    total = len(differing) * (len(differing) + 1) / 2
    assert rank_biserial(a, b) == pytest.approx(2 * positive / total - 1)
    assert rank_biserial(b, a) == pytest.approx(1 - 2 * positive / total)
    assert cohens_dz(a, b) == pytest.approx(stats.ttest_rel(a, b).statistic / np.sqrt(n))


def test_effect_sizes_at_their_ends() -> None:
    assert rank_biserial([3, 4, 5], [1, 1, 1]) == 1.0
    assert rank_biserial([1, 1, 1], [3, 4, 5]) == -1.0
    assert rank_biserial([1, 2], [1, 2]) is None
    assert cohens_dz([2, 3, 4], [1, 2, 3]) is None


def test_holm_as_statsmodels_gives_it() -> None:
    p = [0.041, 0.0004, 0.041, 0.92, 0.013, 0.0261, 0.5, 0.0004, 1.0, 0.0002]
    adjusted = [
        0.205,
        0.0036,
        0.205,
        1.0,
        0.091,
        0.1566,
        1.0,
        0.0036,
        1.0,
        0.002,
    ]  # statsmodels 0.15.0, multipletests: holm
    assert holm(p) == pytest.approx(adjusted, abs=1e-12)
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_the_stepwise_procedure_rejects(p: list[float]) -> None:
    """Holm 1979 as he wrote it: from the smallest on, stop at the first that is not small enough."""
    level, adjusted, going = 0.05, holm(p), True
    for step, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        threshold = level / (len(p) - step)
        going = going and p[index] <= threshold
        assert adjusted[index] >= p[index]
        if abs(p[index] - threshold) > 1e-9:
            assert (adjusted[index] <= level) == going or abs(adjusted[index] - level) < 1e-9
