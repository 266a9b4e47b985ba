"""What a comparison says, in sentences that claim no more than the tests bear."""

from collections.abc import Sequence
from typing import NamedTuple

from gliodistill.evaluation.comparison import Comparison
from gliodistill.evaluation.contrasts import LEVEL, Contrast
from gliodistill.evaluation.metrics import FACTS

FEW = 10
"""Below so many studies, bootstrap intervals are too narrow."""


class Verdict(NamedTuple):
    """Whether one of two models is better.

    Attributes:
        question: "Is A better than B?".
        word: its answer in a few words.
        sentence: the answer as a sentence.
        details: where, by how much, and where nothing is shown; may be empty.
    """

    question: str
    word: str
    sentence: str
    details: str


def verdict(comparison: Comparison, pair: tuple[str, str]) -> Verdict:
    """Whether one of two models is better: the answer, and what it rests on.

    Where no difference is found the answer is that none is shown, which does not say that the
    models are equal.
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
            f"In {_names(found['unclear'])} the test finds a difference that the mean, with its"
            " interval, does not bear out."
        )
    if found["open"] and len(found["open"]) < len(contrasts):
        details.append(f"No difference is shown in {_names(found['open'])}.")
    return Verdict(f"Is {first} better than {second}?", word, sentence, " ".join(details))


def cautions(comparison: Comparison) -> list[str]:
    """What a reader must know beside the verdict: few studies, failures, values left out."""
    lines = []
    most = max(contrast.n for contrast in comparison.contrasts)
    if most < FEW:
        lines.append(
            f"Only {most} studies: intervals over so few are too narrow, and differences easily"
            " missed."
        )
    for name, scores in comparison.models.items():
        if scores.failed:
            lines.append(
                f"{name} failed on {len(scores.failed)} of {len(comparison.studies)} studies. They"
                " are left out of its paired differences, which may flatter it; in the ranking it"
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
    """How the verdict came about."""
    return (
        "Differences are paired over the same studies; in brackets their 95 % bootstrap intervals."
        " A model is called better where Wilcoxon’s signed-rank test, corrected by Holm over all"
        f" {comparison.tests} tests made here, gives p < {LEVEL:g}, and the interval lies on the"
        " same side."
    )


def _gains(contrasts: Sequence[Contrast]) -> str:
    """Where the better one is better, and by how much, whichever of the two it is."""
    return _listed([f"in {_name(contrast)} by {_gain(contrast)}" for contrast in contrasts])


def _gain(contrast: Contrast) -> str:
    assert contrast.difference is not None
    fact, (mean, low, high, _) = FACTS[contrast.metric], contrast.difference
    ends = (
        abs(mean),
        *sorted((abs(low), abs(high))),
    )  # a model is only called better where zero is beyond both ends
    by, least, most = (f"{value:{fact.format.lstrip('+')}}" for value in ends)
    return f"{by}{f' {fact.unit}' if fact.unit else ''} [{least}, {most}]"


def _names(contrasts: Sequence[Contrast]) -> str:
    return _listed([_name(contrast) for contrast in contrasts])


def _name(contrast: Contrast) -> str:
    return f"{contrast.region} {FACTS[contrast.metric].title}"


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
