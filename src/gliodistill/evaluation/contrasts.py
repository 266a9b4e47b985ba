"""Contrasts of two models in a region and metric: differences, tests and effect sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np

from gliodistill.evaluation.metrics import FACTS
from gliodistill.evaluation.scores import Scores
from gliodistill.evaluation.statistics import (
    PairedDifference,
    cohens_dz,
    holm,
    paired_difference,
    rank_biserial,
)

LEVEL = 0.05
"""Family-wise error rate of the conclusions."""
Outcome = Literal["first", "second", "unclear", "open"]


@dataclass(frozen=True)
class Contrast:
    """Contrast of two models in one region and metric, over the studies in which both have a value.

    Differences are ``first - second`` in the metric's unit, so that below zero is better if lower
    is better.

    Attributes:
        first, second: the models.
        region, metric: what is compared.
        n: studies compared.
        undefined: studies left out because the metric is undefined in at least one of the two.
        failed: studies left out because at least one of the two failed on them.
        first_mean, second_mean: over the studies compared; None if there are none.
        wins, ties, losses: studies in which the first is better, equal, worse.
        difference: with its interval and uncorrected p-value; None with fewer than two studies, as
            are all below.
        rank_biserial, dz: effect sizes of the difference; None also if they are undefined.
        holm_p: the p-value corrected over all tests of the comparison; None in strata, which are
            not tested.
    """

    first: str
    second: str
    region: str
    metric: str
    n: int
    undefined: int
    failed: int
    first_mean: float | None
    second_mean: float | None
    wins: int
    ties: int
    losses: int
    difference: PairedDifference | None = None
    rank_biserial: float | None = None
    dz: float | None = None
    holm_p: float | None = None

    @property
    def sign(self) -> int:
        """1 if higher is better, -1 if lower is."""
        return 1 if FACTS[self.metric].better == "higher" else -1

    @property
    def outcome(self) -> Outcome:
        """Which model is better, if the corrected test says that they differ.

        The test compares ranks; the estimate is a mean. A model is called better only if the mean's
        interval is on the same side as the ranks. Many small gains with a few large losses are an
        unclear difference.
        """
        if (
            self.difference is None
            or self.rank_biserial is None
            or self.holm_p is None
            or self.holm_p >= LEVEL
        ):
            return "open"
        low, high = sorted((self.sign * self.difference.low, self.sign * self.difference.high))
        ranks = self.sign * self.rank_biserial
        return "first" if min(low, ranks) > 0 else "second" if max(high, ranks) < 0 else "unclear"


def contrast_models(
    models: Mapping[str, Scores],
    pair: tuple[str, str],
    region: str,
    metric: str,
    ids: Sequence[str],
    seed: int,
) -> Contrast:
    """The contrast of two models in one region and metric over the studies ``ids``, not corrected.

    Args:
        models: name → scores.
        pair: the two models.
        region: compared.
        metric: compared.
        ids: of the studies.
        seed: of the resampling.
    """
    first, second = (models[name].studies for name in pair)
    both = [id for id in ids if id in first and id in second]
    values = [(first[id][region][metric], second[id][region][metric]) for id in both]
    defined = [(a, b) for a, b in values if a is not None and b is not None]
    a, b = [value for value, _ in defined], [value for _, value in defined]
    gains = np.sign(np.subtract(a, b))
    contrast = Contrast(
        *pair,
        region,
        metric,
        n=len(defined),
        undefined=len(both) - len(defined),
        failed=len(ids) - len(both),
        first_mean=float(np.mean(a)) if a else None,
        second_mean=float(np.mean(b)) if b else None,
        wins=0,
        ties=int((gains == 0).sum()),
        losses=0,
    )
    contrast = replace(
        contrast,
        wins=int((gains == contrast.sign).sum()),
        losses=int((gains == -contrast.sign).sum()),
    )
    if len(defined) < 2:
        return contrast
    return replace(
        contrast,
        difference=paired_difference(a, b, seed),
        rank_biserial=rank_biserial(a, b),
        dz=cohens_dz(a, b),
    )


def corrected(contrasts: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """Contrasts with their p-values corrected by Holm over all of them."""
    adjusted = iter(
        holm(
            [
                contrast.difference.wilcoxon_p
                for contrast in contrasts
                if contrast.difference is not None
            ]
        )
    )
    return tuple(
        contrast if contrast.difference is None else replace(contrast, holm_p=next(adjusted))
        for contrast in contrasts
    )


def contrast_as_dict(contrast: Contrast) -> dict[str, object]:
    """A contrast as JSON holds it."""
    difference = contrast.difference
    facts = asdict(contrast) | {"difference": None, "wilcoxon_p": None}
    if difference is not None:
        facts["difference"] = {
            "mean": difference.mean,
            "low": difference.low,
            "high": difference.high,
        }
        facts["wilcoxon_p"] = difference.wilcoxon_p
    return (
        facts
        if contrast.holm_p is not None
        else {key: value for key, value in facts.items() if not key.endswith("_p")}
    )
