"""Models against each other over the same studies: paired differences, tests, effect sizes,
ranking, strata.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from os import PathLike
from typing import Literal

import numpy as np

from gliodistill.errors import EvaluationError
from gliodistill.evaluation.metrics import FACTS
from gliodistill.evaluation.ranking import Ranking, rank_models
from gliodistill.evaluation.scores import Scores
from gliodistill.evaluation.statistics import (
    PairedDifference,
    cohens_dz,
    holm,
    paired_difference,
    rank_biserial,
)
from gliodistill.evaluation.strata import read_strata, sequence_strata, truth_strata
from gliodistill.progress import track

DEFAULT_METRICS = ("dice", "hd95_mm")
LEVEL = 0.05
"""Family-wise error rate of the verdicts."""

SHOWN = 12
"""How many ids a line about a problem names."""

Outcome = Literal["first", "second", "unclear", "open"]


class IncomparableError(EvaluationError):
    """Scores that cannot be compared.

    Attributes:
        problems: every one found, a line each.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"cannot compare, {many}: {' | '.join(problems)}")


@dataclass(frozen=True)
class Contrast:
    """Two models in one region and metric, over the studies in which both have a value.

    Differences are ``first - second`` in the metric's unit, so that below zero is better where
    lower is better.

    Attributes:
        first, second: the models.
        region, metric: what is compared.
        n: studies that count.
        undefined: studies left out because the metric is undefined in at least one of the two.
        failed: studies left out because at least one of the two failed on them.
        first_mean, second_mean: over the studies that count; None where there are none.
        wins, ties, losses: studies in which the first is better, equal, worse.
        difference: with its interval and uncorrected p-value; None with fewer than two studies, as
        are all below.
        rank_biserial, dz: effect sizes of the difference; None also where they are undefined.
        holm_p: the p-value corrected over all tests of the comparison; None in strata, where
            nothing is tested.
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
        """1 where higher is better, -1 where lower is."""
        return 1 if FACTS[self.metric].better == "higher" else -1

    @property
    def outcome(self) -> Outcome:
        """Which model is better, if the corrected test says that they differ.

        The test judges ranks, the estimate is a mean. Only where the mean's interval lies on the
        side of the ranks is a model called better; many small gains with few large losses are a
        difference, but an unclear one.
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


@dataclass(frozen=True)
class Stratum:
    """One group of studies.

    Attributes:
        title: what divides the studies.
        name: of the group.
        studies: how many it has.
        contrasts: as those of the whole, without tests.
    """

    title: str
    name: str
    studies: int
    contrasts: tuple[Contrast, ...]


@dataclass(frozen=True)
class Comparison:
    """Everything that is said about the models.

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

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions compared."""
        return next(iter(self.models.values())).rules.regions

    @property
    def studies(self) -> list[str]:
        """Ids of all studies, those that failed too."""
        return _studies(next(iter(self.models.values())))

    @property
    def tests(self) -> int:
        """How many tests the correction is over."""
        return sum(contrast.holm_p is not None for contrast in self.contrasts)

    def of(self, pair: tuple[str, str]) -> list[Contrast]:
        """The contrasts of one pair."""
        return [
            contrast for contrast in self.contrasts if (contrast.first, contrast.second) == pair
        ]

    def value(self, model: str, study: str, region: str, metric: str) -> float | None:
        """One value; None where it is undefined or the model failed on the study."""
        return (
            self.models[model].studies[study][region][metric]
            if study in self.models[model].studies
            else None
        )

    def as_dict(self) -> dict[str, object]:
        """As JSON holds it."""
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
                _contrast_as_dict(contrast) | {"outcome": contrast.outcome}
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
                | {"contrasts": [_contrast_as_dict(one) for one in stratum.contrasts]}
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
    in which a model failed or a value is undefined is left out of the pairs it would belong to, and
    counted. In the ranking a model that failed is last on that study.

    Args:
        models: name → scores; differences are the earlier one's values less the later one's.
        metrics: names of metrics with a better direction.
        against: compare each model with this one only, instead of all pairs; its values are then
            subtracted.
        strata: CSV file with more strata (see :func:`gliodistill.evaluation.strata.read_strata`).
        seed: of the resampling: equal input gives equal output.

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
        scored.provenance.get("sequences", ""), _studies(scored)
    )
    divided += read_strata(strata, _studies(scored)) if strata is not None else []

    groups = [
        ("", "", tuple(_studies(scored))),
        *((one.title, name, ids) for one in divided for name, ids in one.groups.items()),
    ]
    kinds = [
        (pair, region, metric)
        for pair in pairs
        for region in scored.rules.regions
        for metric in metrics
    ]
    whole, *parts = [
        Stratum(title, name, len(ids), tuple(_contrast(models, *kind, ids, seed) for kind in kinds))
        for title, name, ids in track(groups, "comparing")
    ]
    return Comparison(
        models,
        tuple(metrics),
        tuple(pairs),
        _corrected(whole.contrasts),
        _ranking(models, metrics, seed),
        tuple(parts),
    )


def why_incomparable(
    models: Mapping[str, Scores],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    against: str | None = None,
) -> list[str]:
    """Everything that keeps models from being compared, a line each; empty if nothing does."""
    problems = []
    if len(models) < 2:
        problems.append(f"fewer than two models: {', '.join(models) or 'none'}")
    if against is not None and against not in models:
        problems.append(f"no model {against} to compare with: there are {', '.join(models)}")
    rules: dict[str, list[str]] = {}
    for name, scores in models.items():
        rules.setdefault(f"{scores.rules.name} for {scores.rules.task}", []).append(name)
    if len(rules) > 1:
        problems.append(
            "rules differ: "
            + "; ".join(f"{', '.join(names)} {kind}" for kind, names in rules.items())
        )
    elif len({scores.rules.text for scores in models.values()}) > 1:
        problems.append(
            f"rules differ in their settings: all are {next(iter(rules))}, but their texts are not"
            " the same (tolerance?)"
        )
    for metric in dict.fromkeys(metrics):
        known = sorted(
            {
                name
                for scores in models.values()
                for name in scores.rules.metrics
                if FACTS[name].better
            }
        )
        if metric not in known:
            reason = (
                "has no better direction"
                if metric in FACTS and not FACTS[metric].better
                else "is not a metric of these scores"
            )
            problems.append(f"{metric} {reason}: choose from {', '.join(known)}")
    every = sorted({id for scores in models.values() for id in _studies(scores)})
    for name, scores in models.items():
        missing = sorted(set(every) - set(_studies(scores)))
        if missing:
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            problems.append(
                f"{name} lacks {len(missing)} of {len(every)} studies:"
                f" {', '.join(missing[:SHOWN])}{more}"
            )
    return problems + _other_truths(models)


def _other_truths(models: Mapping[str, Scores]) -> list[str]:
    """Studies whose truth has another volume in another model's scores: another truth, or another
    grid.
    """
    seen: dict[tuple[str, str], tuple[str, float]] = {}
    found: dict[str, str] = {}
    for name, scores in models.items():
        for id, regions in scores.studies.items():
            for region, values in regions.items():
                volume = values.get("truth_ml")
                if volume is None:
                    continue
                before, known = seen.setdefault((id, region), (name, volume))
                if abs(known - volume) > 1e-6 * max(known, volume, 1e-3):
                    found.setdefault(
                        id,
                        f"{id} has another truth: {region} {known:.3f} ml in {before}, {volume:.3f}"
                        f" ml in {name}",
                    )
    return [found[id] for id in sorted(found)]


def _contrast(
    models: Mapping[str, Scores],
    pair: tuple[str, str],
    region: str,
    metric: str,
    ids: Sequence[str],
    seed: int,
) -> Contrast:
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


def _corrected(contrasts: Sequence[Contrast]) -> tuple[Contrast, ...]:
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


def _ranking(models: Mapping[str, Scores], metrics: Sequence[str], seed: int) -> Ranking:
    every, regions = (
        _studies(next(iter(models.values()))),
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


def _studies(scores: Scores) -> list[str]:
    return sorted({*scores.studies, *scores.failed})


def _truth_ml(models: Iterable[Scores]) -> dict[str, dict[str, float]]:
    """Study → region → volume of the truth; studies that every model failed on are not known."""
    found: dict[str, dict[str, float]] = {}
    for scores in models:
        for id, regions in scores.studies.items():
            found.setdefault(
                id, {region: values["truth_ml"] or 0.0 for region, values in regions.items()}
            )
    return found


def _contrast_as_dict(contrast: Contrast) -> dict[str, object]:
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
