"""Conclusions of a comparison, in sentences that claim no more than the tests support."""

from collections.abc import Sequence
from typing import NamedTuple

from gliodistill.evaluation.comparison import Comparison
from gliodistill.evaluation.contrasts import LEVEL, Contrast
from gliodistill.evaluation.metrics import FACTS

FEW = 10
"""Below this number of studies, bootstrap intervals are too narrow."""


class Conclusion(NamedTuple):
    """The conclusion about a pair of models.

    Attributes:
        question: "Is A better than B?".
        word: its answer in a few words.
        sentence: the answer as a sentence.
        details: regions and sizes of differences, and where none is shown; may be empty.
    """

    question: str
    word: str
    sentence: str
    details: str


def conclusion(comparison: Comparison, pair: tuple[str, str]) -> Conclusion:
    """Conclude whether one of two models is better.

    If no difference is found, the conclusion is that none is shown, not that the models are equal.
    """
    first, second = pair
    contrasts = comparison.of(pair)
    found = {
        kind: [one for one in contrasts if one.outcome == kind]
        for kind in ("first", "second", "unclear", "open")
    }
    details = []
    if found["first"] and found["second"]:
        word, sentence = "Each in part", f"Neither {first} nor {second} is better throughout."
        details = [
            f"{name} is better {_gains(found[kind])}."
            for name, kind in ((first, "first"), (second, "second"))
        ]
    elif found["first"] or found["second"]:
        kind, better, worse = (
            ("first", first, second) if found["first"] else ("second", second, first)
        )
        share = "all" if len(found[kind]) == len(contrasts) else f"{len(found[kind])} of"
        word = f"{'Yes' if kind == 'first' else f'No, {second} is'}, in {share} {len(contrasts)}"
        sentence = (
            f"{better} is better than {worse} in {share} {len(contrasts)} comparisons and worse in"
            " none."
        )
        details = [f"It is better {_gains(found[kind])}."]
    else:
        word, sentence = "Not shown", f"No difference between {first} and {second} is shown."
    if found["unclear"]:
        details.append(
            f"In {_names(found['unclear'])} the test finds a difference that the interval of the"
            " mean does not confirm."
        )
    if found["open"] and len(found["open"]) < len(contrasts):
        details.append(f"No difference is shown in {_names(found['open'])}.")
    return Conclusion(f"Is {first} better than {second}?", word, sentence, " ".join(details))


def cautions(comparison: Comparison) -> list[str]:
    """Cautions besides the conclusion: few studies, failures, values left out."""
    lines = []
    most = max(contrast.n for contrast in comparison.contrasts)
    if most < FEW:
        lines.append(
            f"Only {most} studies: intervals over so few are too narrow, and differences are easily"
            " missed."
        )
    for name, scores in comparison.models.items():
        if scores.failed:
            lines.append(
                f"{name} failed on {len(scores.failed)} of {len(comparison.studies)} studies. They"
                " are left out of its paired differences, which may favour it; in the ranking it"
                " is last on them."
            )
    for metric in comparison.metrics:
        left_out = max(
            contrast.undefined for contrast in comparison.contrasts if contrast.metric == metric
        )
        if left_out:
            lines.append(
                f"{FACTS[metric].title} is undefined in up to {left_out} studies of a pair and"
                " region; they are left out and counted."
            )
    return lines


def method(comparison: Comparison) -> str:
    """The method of the conclusions."""
    return (
        "Differences are paired over the same studies; in brackets their 95 % bootstrap intervals."
        " A model is called better if Wilcoxon’s signed-rank test, corrected by Holm over all"
        f" {comparison.tests} tests made here, gives p < {LEVEL:g} and the interval is on the"
        " same side."
    )


def _gains(contrasts: Sequence[Contrast]) -> str:
    """Regions and sizes of the better model's gains."""
    return _listed([f"in {_name(contrast)} by {_gain(contrast)}" for contrast in contrasts])


def _gain(contrast: Contrast) -> str:
    assert contrast.difference is not None
    fact, (mean, low, high, _) = FACTS[contrast.metric], contrast.difference
    ends = (
        abs(mean),
        *sorted((abs(low), abs(high))),
    )  # a model is only called better if zero is outside the interval
    by, least, most = (f"{value:{fact.format.lstrip('+')}}" for value in ends)
    return f"{by}{f' {fact.unit}' if fact.unit else ''} [{least}, {most}]"


def _names(contrasts: Sequence[Contrast]) -> str:
    return _listed([_name(contrast) for contrast in contrasts])


def _name(contrast: Contrast) -> str:
    return f"{contrast.region} {FACTS[contrast.metric].title}"


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
