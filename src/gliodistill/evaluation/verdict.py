"""What a comparison says, in sentences that claim no more than the tests bear."""

from collections.abc import Sequence

from gliodistill.evaluation.comparison import LEVEL, Comparison, Contrast
from gliodistill.evaluation.metrics import FACTS

FEW = 10
"""Below so many studies, bootstrap intervals are too narrow."""


def verdict(comparison: Comparison, pair: tuple[str, str]) -> tuple[str, str]:
    """Whether one of two models is better: the answer, and what it rests on.

    A difference counts where the corrected test finds one and mean and ranks point the same way. "Better" needs one in
    some region and metric, and none in the other direction; where none is found the answer is that none is shown, which
    does not say that the models are equal.
    """
    first, second = pair
    contrasts = comparison.of(pair)
    kinds = {kind: [one for one in contrasts if one.outcome == kind] for kind in ("first", "second", "contradictory", "open")}
    if kinds["first"] and kinds["second"]:
        answer = f"Neither {first} nor {second} is better throughout."
    elif kinds["first"] or kinds["second"]:
        better, worse = pair if kinds["first"] else (second, first)
        answer = f"{better} is better than {worse}."
    else:
        answer = f"No difference between {first} and {second} is shown."
    details = [
        f"{name} is better in {_listed([_gain(one) for one in kinds[kind]])}."
        for name, kind in ((first, "first"), (second, "second"))
        if kinds[kind]
    ]
    if kinds["contradictory"]:
        details.append(
            f"In {_listed([_name(one) for one in kinds['contradictory']])} most studies favour one model and the mean the other."
        )
    if kinds["open"]:
        details.append(f"No difference is shown in {_listed([_name(one) for one in kinds['open']])}.")
    return answer, " ".join(details)


def cautions(comparison: Comparison) -> list[str]:
    """What a reader must know beside the verdict: few studies, failures, values left out."""
    lines = []
    most = max(contrast.n for contrast in comparison.contrasts)
    if most < FEW:
        lines.append(f"Only {most} studies: intervals over so few are too narrow, and differences easily missed.")
    for name, scores in comparison.models.items():
        if scores.failed:
            lines.append(
                f"{name} failed on {len(scores.failed)} of {len(comparison.studies)} studies. They are left out of its paired differences, "
                "which may flatter it; in the ranking it is last on them."
            )
    for metric in comparison.metrics:
        left_out = max(contrast.undefined for contrast in comparison.contrasts if contrast.metric == metric)
        if left_out:
            lines.append(
                f"{FACTS[metric].title} is undefined in up to {left_out} studies of a pair and region; they are left out and counted."
            )
    return lines


def method(comparison: Comparison) -> str:
    """How the verdict came about."""
    return (
        f"Differences are paired over the same studies. A difference is called shown where Wilcoxon’s signed-rank test, corrected by Holm "
        f"over all {comparison.tests} tests made here, gives p < {LEVEL:g}, and mean and ranks point the same way."
    )


def _name(contrast: Contrast) -> str:
    return f"{contrast.region} {FACTS[contrast.metric].title}"


def _gain(contrast: Contrast) -> str:
    """How much the better one is better, whichever it is."""
    assert contrast.difference is not None
    fact, difference = FACTS[contrast.metric], contrast.difference
    by, *ends = (abs(value) if value * difference.mean > 0 else -abs(value) for value in (difference.mean, difference.low, difference.high))
    low, high = sorted(ends)
    shown = (f"{value:{fact.format.lstrip('+')}}".replace("-", "−") for value in (by, low, high))
    unit = f" {fact.unit}" if fact.unit else ""
    return "{} by {}{unit} (95 % interval {} to {})".format(_name(contrast), *shown, unit=unit)


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
