"""Statistics of paired differences over the same studies."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import EvaluationError

FLIPS = 100_000
"""Most sign flips of the permutation test."""


class PairedDifference(NamedTuple):
    """Mean of ``a - b`` over studies, its 95 % interval, and a test of no difference.

    Attributes:
        mean: mean difference.
        low, high: ends of the percentile bootstrap interval, 2.5 % and 97.5 %.
        wilcoxon_p: two-sided Wilcoxon signed-rank p-value over the studies that differ, 1 if none
            does; exact for up to 16 of them, and up to 50 without tied differences, else from the
            normal distribution.
    """

    mean: float
    low: float
    high: float
    wilcoxon_p: float


class Interval(NamedTuple):
    """A mean and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


def paired_difference(
    a: Sequence[float], b: Sequence[float], seed: int = 0, *, resamples: int = 10_000
) -> PairedDifference:
    """Compare two models on the same studies.

    The interval is :func:`mean_interval` of the differences.

    Args:
        a: one finite value per study.
        b: the same of the other model, in the same order of studies.
        seed: of the resampling.
        resamples: how many.

    Raises:
        EvaluationError: lengths that differ, fewer than two studies, or a value that is not finite.
    """
    differences = _differences(a, b)
    low, high = mean_interval(differences, seed, resamples=resamples)
    return PairedDifference(float(differences.mean()), low, high, _wilcoxon(differences))


def mean_interval(
    values: Sequence[float] | NDArray[np.float64], seed: int = 0, *, resamples: int = 10_000
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a mean over studies (Efron & Tibshirani 1993, chapter
    13).

    The same ``seed`` gives the same output. With fewer than about 10 studies the interval is too
    narrow; reports say so.

    Args:
        values: one finite value per study, at least two.
        seed: of the resampling.
        resamples: how many.
    """
    sample = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, 2_000_000 // sample.size)
    for start in range(0, resamples, step):
        stop = min(resamples, start + step)
        means[start:stop] = sample[
            generator.integers(0, sample.size, (stop - start, sample.size))
        ].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def student_interval(values: Sequence[float]) -> Interval:
    """Mean of a few independent values with its 95 % Student t interval.

    For a few seeds, for which a bootstrap would be too narrow.

    Args:
        values: one finite value per repetition, at least two.

    Raises:
        EvaluationError: fewer than two values, or one that is not finite.
    """
    from scipy.stats import t

    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size < 2 or not np.isfinite(sample).all():
        raise EvaluationError(
            "no interval", field="values", got=list(values), expected="two finite values or more"
        )
    reach = t.ppf(0.975, sample.size - 1) * sample.std(ddof=1) / np.sqrt(sample.size)
    mean = float(sample.mean())
    return Interval(mean, mean - float(reach), mean + float(reach))


def rank_biserial(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Matched-pairs rank-biserial correlation, the effect size of the Wilcoxon signed-rank test.

    ``(W⁺ - W⁻) / (W⁺ + W⁻)`` with the rank sums of the positive and the negative differences ``a -
    b``, equal differences left out and tied ones given their mean rank (Kerby, Comprehensive
    Psychology 2014, 3:11).

    Args:
        a: one finite value per study.
        b: the same of the other model, in the same order of studies.

    Returns:
        -1 (b larger in every study) … 1 (a larger in every study); None if no study differs.

    Raises:
        EvaluationError: as :func:`paired_difference`.
    """
    from scipy.stats import rankdata

    differences = _differences(a, b)
    differing = differences[differences != 0]
    if differing.size == 0:
        return None
    ranks = rankdata(np.abs(differing))
    return float((ranks * np.sign(differing)).sum() / ranks.sum())


def cohens_dz(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Cohen's d_z: mean difference ``a - b`` over the sample standard deviation of the differences.

    The standardised effect of a paired design (Lakens, Frontiers in Psychology 2013, 4:863,
    equation 6); it exceeds the d of two independent groups if the models' values are correlated.

    Returns:
        None if all differences are equal.

    Raises:
        EvaluationError: as :func:`paired_difference`.
    """
    differences = _differences(a, b)
    if np.ptp(differences) == 0:
        return None
    return float(differences.mean() / differences.std(ddof=1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: it controls the family-wise error rate under any dependence.

    The smallest of m values is multiplied by m, the next by m - 1, …; none may fall below one
    before it, none exceeds 1 (Holm, Scandinavian Journal of Statistics 1979, 6:65-70).

    Args:
        p_values: of the whole family, 0 … 1, in any order.

    Returns:
        the adjusted values in the order given.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(
        1.0, np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    )
    return [float(value) for value in adjusted]


def sign_flip_tests(differences: NDArray[np.float64], seed: int = 0) -> list[float]:
    """Two-sided p-value of a sign-flip permutation test, for each column.

    The statistic is a column's sum; p is the share of sign flips of the rows in which it is at
    least as far from zero. All flips are used if there are at most 100 000, else 100 000 random
    ones and the observed one (Phipson & Smyth 2010).

    Args:
        differences: rows × columns; whole or half numbers, so that sums are exact and no tolerance
            is needed.
        seed: of the random flips.
    """
    observed = np.abs(differences.sum(axis=0))
    reached, drawn = np.zeros(observed.size, dtype=np.int64), 0
    for signs in _flips(len(differences), seed):
        reached += (np.abs(signs @ differences) >= observed).sum(axis=0)
        drawn += len(signs)
    if drawn < 2 ** len(differences):
        reached, drawn = reached + 1, drawn + 1
    return [float(count) / drawn for count in reached]


def _differences(a: Sequence[float], b: Sequence[float]) -> NDArray[np.float64]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or first.size < 2:
        got = f"{first.shape} and {second.shape}"
        raise EvaluationError(
            "values are not paired", got=got, expected="two rows of one length, at least 2"
        )
    differences: NDArray[np.float64] = first - second
    if not np.isfinite(differences).all():
        raise EvaluationError(
            "values are not finite",
            got=f"{int((~np.isfinite(differences)).sum())} of {differences.size}",
        )
    return differences


def _wilcoxon(differences: NDArray[np.float64]) -> float:
    from scipy.stats import rankdata, wilcoxon

    differing = differences[differences != 0]
    if differing.size == 0:
        return 1.0
    if 2**differing.size <= FLIPS:
        # Exact with ties too, for which SciPy is slow or uses a normal approximation.
        return sign_flip_tests((rankdata(np.abs(differing)) * np.sign(differing))[:, None])[0]
    return float(wilcoxon(differing).pvalue)


def _flips(rows: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Signs +1 and -1 for each row: all combinations, or FLIPS random ones, a few million numbers
    at a time.
    """
    every = 2**rows <= FLIPS
    generator = np.random.default_rng(seed)
    total = 2**rows if every else FLIPS
    step = max(1, 4_000_000 // rows)
    for start in range(0, total, step):
        ways = np.arange(start, min(total, start + step))
        bits = (
            (ways[:, None] >> np.arange(rows)) & 1
            if every
            else generator.integers(0, 2, (ways.size, rows), dtype=np.int8)
        )
        yield np.where(bits == 1, 1.0, -1.0)
