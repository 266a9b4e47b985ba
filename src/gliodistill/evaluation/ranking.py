"""Ranking of models over patients, regions and metrics, as in the BraTS challenges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import EvaluationError
from gliodistill.evaluation.statistics import holm, sign_flip_tests

RESAMPLES = 10_000


@dataclass(frozen=True)
class Standing:
    """The rank of one model.

    Attributes:
        model: its name.
        mean_rank: over all cells, 1 (best everywhere) … number of models.
        low, high: 95 % percentile interval of it over bootstrap resamples of the patients.
        position: 1 for the smallest mean rank; equal ones share the smaller number.
        best, worst: 2.5 % and 97.5 % percentile of the position over the resamples.
        first: share of the resamples in which it comes first (tied or not), 0 … 1.
    """

    model: str
    mean_rank: float
    low: float
    high: float
    position: int
    best: int
    worst: int
    first: float


@dataclass(frozen=True)
class Ranking:
    """The ranking of all models.

    Attributes:
        standings: best first.
        p_values: pair of models, in the order given → two-sided p-value of equal mean ranks.
        holm_p: the same, corrected by Holm over all pairs.
        patients: their number.
        cells: number of ranked cells (a patient's value of one region and metric).
        left_out: number of cells left out because a value is undefined.
        failed: number of cells in which a model is last because it failed on the patient.
    """

    standings: tuple[Standing, ...]
    p_values: Mapping[tuple[str, str], float]
    holm_p: Mapping[tuple[str, str], float]
    patients: int
    cells: int
    left_out: int
    failed: int


def rank_models(
    models: Sequence[str], values: NDArray[np.float64], failed: NDArray[np.bool_], *, seed: int = 0
) -> Ranking:
    """Rank models over patients, as the BraTS challenges do since 2017.

    In every cell (patient × region × metric) the models are ranked, 1 for the best, ties share the
    mean rank. A model's mean rank over all cells orders the models (Bakas et al. 2018,
    arXiv:1811.02629: "final ranking score"). A model that failed on a patient is last there in
    every cell. A cell that is undefined for a model that did not fail is left out for all. For each
    pair, a permutation test exchanges the patients' ranks of the two models (all permutations if
    there are at most 100 000, else 100 000 random ones including the observed one); the p-value is
    the share with at least the observed difference of mean ranks. The test is two-sided; the
    challenge uses one side, about half of this p.

    Args:
        models: their names.
        values: models × patients × cells of a patient; smaller is better; NaN is undefined.
        failed: models × patients.
        seed: of the resampling; the same seed gives the same output.

    Raises:
        EvaluationError: no cell that can be ranked.
    """
    from scipy.stats import rankdata

    last = np.where(failed[:, :, None], np.inf, values)
    # A cell undefined for one model is NaN for all; cells on which all failed are not ranked.
    ranks: NDArray[np.float64] = rankdata(last, axis=0, nan_policy="propagate")
    scored: NDArray[np.bool_] = np.asarray(~failed.all(axis=0))  # by at least one model
    ranked = ~np.isnan(ranks[0]) & scored[:, None]
    counts = ranked.sum(axis=1)
    counting = counts > 0
    if not counting.any():
        raise EvaluationError("nothing to rank", got="no value that is defined in every model")
    sums = np.where(ranked, ranks, 0.0).sum(axis=2)[:, counting]
    counts = counts[counting]

    generator = np.random.default_rng(seed)
    # A resample is given by how often each patient is drawn.
    weights = generator.multinomial(counts.size, np.full(counts.size, 1 / counts.size), RESAMPLES)
    resampled = (weights @ sums.T) / (weights @ counts)[:, None]
    positions = rankdata(resampled, axis=1, method="min")
    mean_ranks = sums.sum(axis=1) / counts.sum()
    own = rankdata(mean_ranks, method="min")
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    best, worst = np.percentile(positions, [2.5, 97.5], axis=0, method="inverted_cdf")
    standings = [
        Standing(
            name, float(mean_ranks[m]), float(low[m]), float(high[m]),
            int(own[m]), int(best[m]), int(worst[m]), float((positions[:, m] == 1).mean()),
        )
        for m, name in enumerate(models)
    ]  # fmt: skip
    pairs = list(combinations(range(len(models)), 2))
    p = sign_flip_tests(np.stack([sums[a] - sums[b] for a, b in pairs], axis=1), seed)
    named = [(models[a], models[b]) for a, b in pairs]
    return Ranking(
        standings=tuple(sorted(standings, key=lambda standing: standing.mean_rank)),
        p_values=dict(zip(named, p, strict=True)),
        holm_p=dict(zip(named, holm(p), strict=True)),
        patients=int(counting.sum()),
        cells=int(counts.sum()),
        left_out=int((~ranked[scored]).sum()),
        failed=int((failed[:, :, None] & ranked).sum()),
    )
