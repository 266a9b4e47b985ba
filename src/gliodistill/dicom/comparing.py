"""What series look like decides between the sequences that their names leave open, and doubts what
it contradicts.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.dicom.candidate import Candidate
from gliodistill.dicom.rules import T1S, Finding
from gliodistill.studies.sequence import MRSequence
from gliodistill.trust.appearance import facts_of
from gliodistill.trust.appearance_model import AppearanceModel

SURE = 5.0
"""Natural logarithm: an appearance must be e⁵ times likelier than the next to be believed where
names leave it open."""

DOUBTFUL = 6.0
"""And e⁶ times likelier than what the name says to be told as a doubt."""

EARLIER = 1.5
"""By how much it is likelier that the first of two T1 is the one without contrast."""

TWICE = 8.0
"""By how much it is less likely that two series are of one sequence than of two."""

MOST_TOGETHER, MOST_TRIED = 12, 5000
"""Series of one space that are compared, and ways to name them that are all tried."""

Names = Sequence[MRSequence]


@dataclass(eq=False)
class Case:
    """A candidate while it is classified.

    Attributes:
        candidate: what it is of.
        found: what its names say, and then its appearance.
        levels: samples of its image at the points of its space (levels of 0 to 255).
    """

    candidate: Candidate
    found: Finding
    levels: NDArray[np.uint8] | None = None

    @property
    def alive(self) -> bool:
        """Whether it may be one of the four."""
        return self.found.other is None


def compare(cases: list[Case], reference: AppearanceModel) -> None:
    """Let appearance decide what is open, and doubt what it contradicts; within one space."""
    for together in spaces(cases):
        ordered = sorted(together, key=lambda case: len(case.found.open))
        for case, margins in _margins(ordered[:MOST_TOGETHER], reference):
            _weigh(case, margins)


def _margins(
    cases: list[Case], reference: AppearanceModel
) -> list[tuple[Case, dict[MRSequence, float]]]:
    """How likely each name of each case is (natural logarithm, the likeliest 0), the others being
    named as suits it best.
    """
    images, pairs = facts_of([case.levels for case in cases if case.levels is not None])
    single = [
        {s: reference.image_likelihood(images[n], s) if n in images else 0.0 for s in MRSequence}
        for n in range(len(cases))
    ]
    double = {
        (one, other, a, b): reference.pair_likelihood(facts, (a, b))
        + _by_time(cases[one].candidate, cases[other].candidate, a, b)
        for (one, other), facts in pairs.items()
        for a in MRSequence
        for b in MRSequence
    }

    def alike(names: Names) -> float:
        own = sum(single[n][s] for n, s in enumerate(names))
        return own + sum(double[one, other, names[one], names[other]] for one, other in pairs)

    def score(names: Names) -> float:
        return alike(names) - TWICE * (len(names) - len(set(names)))

    options = [case.found.open for case in cases]
    best = _best(cases, score)
    result = []
    for n, case in enumerate(cases):
        if n not in images:
            continue
        scores: dict[MRSequence, float] = {}
        for s in MRSequence:
            renamed = [*best[:n], s, *best[n + 1 :]]
            if len(case.found.open) > 1:
                own = [*options[:n], frozenset({s}), *options[n + 1 :]]
                scores[s] = score(_climb(renamed, own, score))
            else:
                # A name is doubted by what the images look like, however often each occurs; two
                # names may have been exchanged.
                swaps = [
                    [best[n] if m == other else name for m, name in enumerate(renamed)]
                    for other, name in enumerate(best)
                    if name is s and other != n
                ]
                scores[s] = max(map(alike, [renamed, *swaps]))
        top = max(scores.values())
        result.append((case, {s: value - top for s, value in scores.items()}))
    return result


def _by_time(one: Candidate, other: Candidate, a: MRSequence, b: MRSequence) -> float:
    """A T1 without contrast comes before one with it."""
    if {a, b} != T1S or not one.time or not other.time or one.time == other.time:
        return 0.0
    first = a if one.time < other.time else b
    return EARLIER if first is MRSequence.T1 else -EARLIER


def _best(cases: list[Case], score: Callable[[Names], float]) -> list[MRSequence]:
    """The likeliest names: all are tried where there are few, else the nearest best from each
    start.
    """
    options = [case.found.open for case in cases]
    ordered = [[s for s in MRSequence if s in some] for some in options]
    if math.prod(map(len, ordered)) <= MOST_TRIED:
        return list(max(product(*ordered), key=lambda names: score(list(names))))
    starts = [[some[n % len(some)] for some in ordered] for n in range(len(MRSequence))]
    return max((_climb(start, options, score) for start in starts), key=score)


def _climb(
    names: Names,
    options: Sequence[frozenset[MRSequence]],
    score: Callable[[Names], float],
) -> list[MRSequence]:
    """Change one name after the other while that makes all together likelier."""
    found, value = list(names), score(names)
    better = True
    while better:
        better = False
        for n, some in enumerate(options):
            for s in MRSequence:
                if s in some and s is not found[n]:
                    tried = [*found[:n], s, *found[n + 1 :]]
                    if (new := score(tried)) > value + 1e-9:
                        found, value, better = tried, new, True
    return found


def _weigh(case: Case, margins: Mapping[MRSequence, float]) -> None:
    """Use what the appearance says of a case."""
    found, ranked = case.found, sorted(margins, key=lambda s: -margins[s])
    inside = [s for s in ranked if s in found.open]
    if len(inside) > 1:
        margin = margins[inside[0]] - margins[inside[1]]
        said = f"resembles {inside[0]} rather than {inside[1]} ({_times(margin)})"
        if margin >= SURE:
            found.evidence.append(said)
            found.open = frozenset({inside[0]})
            if margin < DOUBTFUL or len(inside) > len(T1S):
                found.doubts.append(f"{inside[0]} by its appearance alone")
        elif found.open <= T1S:
            found.evidence.append(said)
            found.doubts.append("nothing says whether it is one after contrast")
            found.open = frozenset({inside[0]})
        else:
            found.doubts.append(f"{said}: not enough to tell")
    if inside and ranked[0] not in found.open and -margins[inside[0]] > DOUBTFUL:
        found.doubts.append(f"it resembles {ranked[0]} ({_times(-margins[inside[0]])})")


def _times(margin: float) -> str:
    return f"{math.exp(margin):.2g} times likelier" if margin < 9 else "far likelier"


def spaces(cases: list[Case]) -> Iterable[list[Case]]:
    """What may be one of the four, by the space that it lies in."""
    spaces: dict[Any, list[Case]] = {}
    for case in cases:
        if case.alive:
            spaces.setdefault(case.candidate.frame, []).append(case)
    return spaces.values()
