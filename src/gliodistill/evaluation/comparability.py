"""Whether scores of several models can be compared, and everything that keeps them from it."""

from collections.abc import Mapping, Sequence

from gliodistill.errors import EvaluationError
from gliodistill.evaluation.metrics import FACTS
from gliodistill.evaluation.scores import Scores

DEFAULT_METRICS = ("dice", "hd95_mm")
SHOWN = 12
"""Most ids named in a line about a problem."""


class IncomparableError(EvaluationError):
    """Scores that cannot be compared.

    Attributes:
        problems: every one found, a line each.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"cannot compare, {many}: {' | '.join(problems)}")


def why_incomparable(
    models: Mapping[str, Scores],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    against: str | None = None,
) -> list[str]:
    """The reasons why models cannot be compared, a line each; empty if there are none."""
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
            f"rules differ in their settings: all are {next(iter(rules))}, but their texts differ"
            " (tolerance?)"
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
    every = sorted({id for scores in models.values() for id in scores.ids})
    for name, scores in models.items():
        missing = sorted(set(every) - set(scores.ids))
        if missing:
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            problems.append(
                f"{name} lacks {len(missing)} of {len(every)} studies:"
                f" {', '.join(missing[:SHOWN])}{more}"
            )
    return problems + _other_truths(models)


def _other_truths(models: Mapping[str, Scores]) -> list[str]:
    """Studies whose reference has another volume in another model's scores: another reference, or
    another grid.
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
                        f"{id} has another reference: {region} {known:.3f} ml in {before},"
                        f" {volume:.3f}"
                        f" ml in {name}",
                    )
    return [found[id] for id in sorted(found)]
