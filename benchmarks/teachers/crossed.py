"""The mean of paired differences where every seed is scored on the same studies."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Crossed(NamedTuple):
    """A mean difference that holds for other seeds and for other studies.

    Attributes:
        mean: over seeds and studies.
        low, high: ends of its 95 % interval.
        p: two-sided, of no difference.
        by_seed: means over studies.
    """

    mean: float
    low: float
    high: float
    p: float
    by_seed: tuple[float, ...]


def crossed(differences: NDArray[np.float64]) -> Crossed:
    """Mean, interval and test with seeds and studies as crossed random effects.

    The variance of the mean is (MS_seeds + MS_studies − MS_rest) / (S · N), from the mean squares
    of the two-way table (Clark 1973, quasi-F), and no smaller than either effect alone makes it;
    degrees of freedom after Satterthwaite (1946). It supposes neither independent scores of a study
    with several seeds nor independent scores of a seed on several studies.

    Args:
        differences: S N, one row a seed, at least 2 × 2.
    """
    from scipy.stats import t

    seeds, studies = differences.shape
    mean = float(differences.mean())
    by_seed, by_study = differences.mean(1), differences.mean(0)
    rest = differences - by_seed[:, None] - by_study[None] + mean
    free = np.array([seeds - 1, studies - 1, (seeds - 1) * (studies - 1)])
    squares = np.array(
        [
            studies * ((by_seed - mean) ** 2).sum(),
            seeds * ((by_study - mean) ** 2).sum(),
            (rest**2).sum(),
        ]
    )
    of_seeds, of_studies, of_rest = squares / free
    both = of_seeds + of_studies - of_rest
    total, used = max(
        (both, both**2 / (np.array([of_seeds, of_studies, of_rest]) ** 2 / free).sum()),
        (of_seeds, free[0]),
        (of_studies, free[1]),
    )
    error = float(np.sqrt(total / differences.size))
    reach = float(t.ppf(0.975, used)) * error
    p = float(2 * t.sf(abs(mean) / error, used)) if error else float(mean == 0)
    return Crossed(mean, mean - reach, mean + reach, p, tuple(map(float, by_seed)))
