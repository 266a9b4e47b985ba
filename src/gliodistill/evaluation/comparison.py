"""Comparison of models on the same studies: paired differences, tests, effect sizes, ranking,
strata.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from os import PathLike

import numpy as np

from gliodistill.evaluation.comparability import (
    DEFAULT_METRICS,
    IncomparableError,
    why_incomparable,
)
from gliodistill.evaluation.contrasts import Contrast, contrast_as_dict, contrast_models, corrected
from gliodistill.evaluation.metrics import FACTS
from gliodistill.evaluation.ranking import Ranking, rank_models
from gliodistill.evaluation.scores import Scores
from gliodistill.evaluation.strata import read_strata, sequence_strata, truth_strata
from gliodistill.progress import track


@dataclass(frozen=True)
class Stratum:
    """One group of studies.

    Attributes:
        title: the criterion.
        name: of the group.
        studies: their number.
        contrasts: as those of all studies, without tests.
    """

    title: str
    name: str
    studies: int
    contrasts: tuple[Contrast, ...]


@dataclass(frozen=True)
class Comparison:
    """The comparison of several models.

    Attributes:
        models: name → scores, in the order given.
        metrics: compared.
        pairs: of models, compared.
        contrasts: pair by pair, region by region, metric by metric.
        ranking: of all models over all regions and metrics.
        strata: group by group.
    """

    models: Mapping[str, Scores]
    metrics: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    contrasts: tuple[Contrast, ...]
    ranking: Ranking
    strata: tuple[Stratum, ...]

    def __repr__(self) -> str:
        tests = "1 test" if self.tests == 1 else f"{self.tests} tests"
        return f"<Comparison of {', '.join(self.models)}: {len(self.studies)} studies, {tests}>"

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions compared."""
        return next(iter(self.models.values())).rules.regions

    @property
    def studies(self) -> list[str]:
        """Ids of all studies, including failed ones."""
        return next(iter(self.models.values())).ids

    @property
    def tests(self) -> int:
        """Number of tests in the correction."""
        return sum(contrast.holm_p is not None for contrast in self.contrasts)

    def of(self, pair: tuple[str, str]) -> list[Contrast]:
        """The contrasts of one pair."""
        return [
            contrast for contrast in self.contrasts if (contrast.first, contrast.second) == pair
        ]

    def value(self, model: str, study: str, region: str, metric: str) -> float | None:
        """One value; None if it is undefined or the model failed on the study."""
        return (
            self.models[model].studies[study][region][metric]
            if study in self.models[model].studies
            else None
        )

    def as_dict(self) -> dict[str, object]:
        """As JSON."""
        rules, ranking = next(iter(self.models.values())).rules, self.ranking
        tests = [
            {"models": list(pair), "p": p, "holm_p": ranking.holm_p[pair]}
            for pair, p in ranking.p_values.items()
        ]
        return {
            "rules": {"name": rules.name, "task": rules.task, "text": rules.text},
            "studies": len(self.studies),
            "models": {
                name: {"failed": dict(scores.failed), "provenance": dict(scores.provenance)}
                for name, scores in self.models.items()
            },
            "contrasts": [
                contrast_as_dict(contrast) | {"outcome": contrast.outcome}
                for contrast in self.contrasts
            ],
            "ranking": {
                "standings": [asdict(standing) for standing in ranking.standings],
                "tests": tests,
                "patients": ranking.patients,
                "cells": ranking.cells,
                "left_out": ranking.left_out,
                "failed": ranking.failed,
            },
            "strata": [
                asdict(stratum)
                | {"contrasts": [contrast_as_dict(one) for one in stratum.contrasts]}
                for stratum in self.strata
            ],
        }


def compare(
    models: Mapping[str, Scores],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    against: str | None = None,
    strata: str | PathLike[str] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare models that were scored on the same studies under the same rules.

    Per pair, region and metric: mean difference with its 95 % bootstrap interval, Wilcoxon's
    signed-rank test corrected by Holm over all tests made, effect sizes, wins and losses. A study
    on which a model failed, or with an undefined value, is left out of the affected pairs and
    counted. In the ranking, a failed model is last on that study.

    Args:
        models: name → scores; differences are the earlier minus the later.
        metrics: names of metrics with a better direction.
        against: compare each model with this one only, instead of all pairs; its values are then
            subtracted.
        strata: CSV file with more strata (see :func:`gliodistill.evaluation.strata.read_strata`).
        seed: of the resampling; the same seed gives the same output.

    Raises:
        IncomparableError: fewer than two models, other rules, studies or truths, or unusable
            metrics; all at once.
        EvaluationError: strata that cannot be used.

    Example:
        >>> import gliodistill as gd
        >>> _ = gd.write_cohort("patients", 2, seed=1, spacing=6.0, jobs=1)
        >>> scores = gd.evaluate("patients", "patients", jobs=1)
        >>> comparison = gd.compare({"student": scores, "baseline": scores})
        >>> contrast = comparison.contrasts[0]
        >>> contrast.region, contrast.metric, contrast.wins, contrast.ties
        ('WT', 'dice', 0, 2)
    """
    problems = why_incomparable(models, metrics=metrics, against=against)
    if problems:
        raise IncomparableError(problems)
    scored = next(iter(models.values()))
    pairs = (
        [(name, against) for name in models if name != against]
        if against is not None
        else list(combinations(models, 2))
    )
    divided = truth_strata(_truth_ml(models.values())) + sequence_strata(
        scored.provenance.get("sequences", ""), scored.ids
    )
    divided += read_strata(strata, scored.ids) if strata is not None else []

    groups = [
        ("", "", tuple(scored.ids)),
        *((one.title, name, ids) for one in divided for name, ids in one.groups.items()),
    ]
    kinds = [
        (pair, region, metric)
        for pair in pairs
        for region in scored.rules.regions
        for metric in metrics
    ]
    whole, *parts = [
        Stratum(
            title,
            name,
            len(ids),
            tuple(contrast_models(models, *kind, ids, seed) for kind in kinds),
        )
        for title, name, ids in track(groups, "comparing")
    ]
    return Comparison(
        models,
        tuple(metrics),
        tuple(pairs),
        corrected(whole.contrasts),
        _ranking(models, metrics, seed),
        tuple(parts),
    )


def _ranking(models: Mapping[str, Scores], metrics: Sequence[str], seed: int) -> Ranking:
    every, regions = (
        next(iter(models.values())).ids,
        next(iter(models.values())).rules.regions,
    )
    cells = [
        (region, metric, -1.0 if FACTS[metric].better == "higher" else 1.0)
        for region in regions
        for metric in metrics
    ]
    values = np.full((len(models), len(every), len(cells)), np.nan)
    for m, scores in enumerate(models.values()):
        for s, id in enumerate(every):
            if id in scores.studies:
                found = [
                    (scores.studies[id][region][metric], sign) for region, metric, sign in cells
                ]
                values[m, s] = [np.nan if value is None else sign * value for value, sign in found]
    failed = np.array([[id not in scores.studies for id in every] for scores in models.values()])
    return rank_models(list(models), values, failed, seed=seed)


def _truth_ml(models: Iterable[Scores]) -> dict[str, dict[str, float]]:
    """Study → region → volume of the reference; without studies on which every model failed."""
    found: dict[str, dict[str, float]] = {}
    for scores in models:
        for id, regions in scores.studies.items():
            found.setdefault(
                id, {region: values["truth_ml"] or 0.0 for region, values in regions.items()}
            )
    return found
