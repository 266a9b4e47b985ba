"""Which series is T1, T1CE, T2 and FLAIR: rules on names and attributes, then appearance, then one
choice for each sequence, every step with its reason.

What evidence cannot decide is left out and said, never guessed; a user decides it with
``--series T1CE=7``.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.dicom.appearance import levels_at, points_over
from gliodistill.dicom.candidate import Candidate
from gliodistill.dicom.rules import T1S, Finding, apply_rules
from gliodistill.errors import ImageError, StudyError
from gliodistill.images.volume import Volume
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

MOST_LEVELS = 8
"""Fewer different values than this are those of a mask, not of an image."""


Names = Sequence[MRSequence]


@dataclass(frozen=True)
class Opinion:
    """What one candidate was taken for.

    Attributes:
        key: of the candidate.
        name: what it is called.
        sequence: which of the four; None if none, or if it cannot be told.
        other: what else it is; None where it is one of the four, or cannot be told.
        used: whether it was chosen for its sequence.
        evidence: why.
        doubts: what speaks against it, or what is not clear.
    """

    key: str
    name: str
    sequence: MRSequence | None
    other: str | None
    used: bool
    evidence: tuple[str, ...]
    doubts: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "key": self.key,
            "name": self.name,
            "sequence": self.sequence and str(self.sequence),
            "other": self.other,
            "used": self.used,
            "evidence": list(self.evidence),
            "doubts": list(self.doubts),
        }


@dataclass(frozen=True)
class Choice:
    """The answer for one patient or study.

    Attributes:
        opinions: one a candidate, in their order.
        chosen: sequence → key.
        rules: sequence → the rule that chose among several, or why it is absent.
    """

    opinions: tuple[Opinion, ...]
    chosen: Mapping[MRSequence, str]
    rules: Mapping[MRSequence, str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "series": [opinion.as_dict() for opinion in self.opinions],
            "chosen": {str(s): key for s, key in self.chosen.items()},
            "rules": {str(s): rule for s, rule in self.rules.items()},
        }


@dataclass(eq=False)
class _Case:
    """A candidate while it is classified."""

    candidate: Candidate
    found: Finding
    levels: NDArray[np.uint8] | None = None

    @property
    def alive(self) -> bool:
        return self.found.other is None


def classify(
    candidates: Sequence[Candidate],
    reference: AppearanceModel | None = None,
    overrides: Mapping[MRSequence, str] | None = None,
) -> Choice:
    """Tell the four sequences from everything else.

    Args:
        candidates: of one study of one patient.
        reference: what the sequences look like; None leaves appearance out.
        overrides: sequence → key, number, UID or description of the candidate to take; see
            :func:`find`.

    Raises:
        StudyError: an override that fits no candidate, or several.
    """
    cases = [_Case(candidate, apply_rules(candidate)) for candidate in candidates]
    forced = {s: find(said, candidates, s) for s, said in (overrides or {}).items()}
    _read(cases, reference is not None)
    if reference is not None:
        _compare(cases, reference)
    _settle(cases)
    chosen, rules = _choose(cases, forced)
    return Choice(tuple(_opinion(case, chosen, forced.values()) for case in cases), chosen, rules)


def find(said: str, candidates: Sequence[Candidate], sequence: MRSequence) -> str:
    """The key of the candidate that a user names: by key, else by name, exactly or by a part of it.

    Raises:
        StudyError: none fits, or several do.
    """
    wanted = said.strip().casefold()
    for matches in (
        [c for c in candidates if c.key.casefold() == wanted],
        [c for c in candidates if wanted in (name.casefold() for name in c.names)],
        [c for c in candidates if any(wanted in name.casefold() for name in c.names)],
    ):
        if len(matches) == 1:
            if matches[0].refused is None:
                return matches[0].key
            raise StudyError(
                f"the series for {sequence} is no volume",
                field="--series",
                got=f"{matches[0].key}: {matches[0].refused}",
            )
        if matches:
            break
    raise StudyError(
        f"{'several series' if matches else 'no series'} for {sequence}",
        field="--series",
        got=said,
        expected="one of "
        + ", ".join(f"{c.key} ({c.names[0] if c.names else '–'})" for c in (matches or candidates)),
    )


def _read(cases: list[_Case], sampled: bool) -> None:
    """Read what may be one of the four, one at a time; what cannot be read, or is a mask, is none.

    Args:
        cases: of one patient.
        sampled: whether to keep samples, for comparison with others of the same space.
    """
    for together in _spaces(cases):
        points = points_over([case.candidate.grid for case in together if case.candidate.grid])
        for case in together:
            try:
                volume = case.candidate.load()
            except ImageError as error:
                why = " ".join(filter(None, (error.problem, str(error.got or ""))))
                case.found.exclude("no volume", why)
                continue
            values = _some_values(volume)
            if len(values) < MOST_LEVELS:
                what = "a drawn region" if len(values) > 1 else "empty"
                case.found.exclude(what, f"only {len(values)} different values")
            elif sampled:
                case.levels = levels_at(points, volume)


def _spaces(cases: list[_Case]) -> Iterable[list[_Case]]:
    """What may be one of the four, by the space that it lies in."""
    spaces: dict[Any, list[_Case]] = {}
    for case in cases:
        if case.alive:
            spaces.setdefault(case.candidate.frame, []).append(case)
    return spaces.values()


def _some_values(volume: Volume) -> set[float]:
    """Different values of every slice, up to the number that tells an image from a mask."""
    found: set[float] = set()
    for k in range(volume.shape[2]):
        found.update(np.unique(volume.data[::2, ::2, k])[:MOST_LEVELS].tolist())
        if len(found) >= MOST_LEVELS:
            break
    return found


def _compare(cases: list[_Case], reference: AppearanceModel) -> None:
    """Let appearance decide what is open, and doubt what it contradicts; within one space."""
    for together in _spaces(cases):
        ordered = sorted(together, key=lambda case: len(case.found.open))
        for case, margins in _margins(ordered[:MOST_TOGETHER], reference):
            _weigh(case, margins)


def _margins(
    cases: list[_Case], reference: AppearanceModel
) -> list[tuple[_Case, dict[MRSequence, float]]]:
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


def _best(cases: list[_Case], score: Callable[[Names], float]) -> list[MRSequence]:
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


def _weigh(case: _Case, margins: Mapping[MRSequence, float]) -> None:
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


def _settle(cases: list[_Case]) -> None:
    """A T1 of which nothing says whether there was contrast is one without, and is doubted."""
    for case in cases:
        if case.alive and case.found.open == T1S:
            case.found.open = frozenset({MRSequence.T1})
            case.found.doubts.append("nothing says whether it is one after contrast")


def _choose(
    cases: list[_Case], forced: Mapping[MRSequence, str]
) -> tuple[dict[MRSequence, str], dict[MRSequence, str]]:
    """One candidate for each sequence, and why that one."""
    chosen: dict[MRSequence, str] = {}
    rules: dict[MRSequence, str] = {}
    for sequence in MRSequence:
        if sequence in forced:
            chosen[sequence], rules[sequence] = forced[sequence], "taken by --series"
            continue
        options = [
            case
            for case in cases
            if case.found.sequence is sequence and case.candidate.key not in forced.values()
        ]
        if not options:
            rules[sequence] = _absent(sequence, cases)
            continue
        ranked = sorted(options, key=lambda case: [rank(case) for _, rank in RANKS])
        chosen[sequence] = ranked[0].candidate.key
        if len(ranked) > 1:
            rules[sequence] = _difference(ranked[0], ranked[1])
    return chosen, rules


def _absent(sequence: MRSequence, cases: list[_Case]) -> str:
    perhaps = [
        case.candidate.key
        for case in cases
        if case.alive and case.found.sequence is None and sequence in case.found.open
    ]
    hint = f"; may be {' or '.join(perhaps)}: decide with --series {sequence}=…" if perhaps else ""
    return f"absent{hint}"


def _thickness(case: _Case) -> float:
    return max(case.candidate.grid.spacing) if case.candidate.grid else math.inf


RANKS: tuple[tuple[str, Callable[[_Case], Any]], ...] = (
    ("nothing speaks against it", lambda case: bool(case.found.doubts)),
    ("it was acquired, the other reformatted", lambda case: case.found.derived),
    ("its slices are thinner", lambda case: round(_thickness(case), 1)),
    ("its voxels are smaller", lambda case: round(case.candidate.voxel_ml * 1000, 2)),
    ("it covers more", lambda case: -round(min(case.candidate.extent or (0,)), -1)),
)
"""What is better, the weightiest first: why → a number, the smaller the better."""


def _difference(one: _Case, other: _Case) -> str:
    keys = f"{one.candidate.key} rather than {other.candidate.key}"
    for why, rank in RANKS:
        if rank(one) != rank(other):
            return f"{keys}: {why}"
    one.found.doubts.append(f"{other.candidate.key} is just as good")
    return f"{keys}: alike in all; the first is taken"


def _opinion(case: _Case, chosen: Mapping[MRSequence, str], forced: Iterable[str]) -> Opinion:
    key, found = case.candidate.key, case.found
    used = [s for s, taken in chosen.items() if taken == key]
    evidence = [*found.evidence, *(["taken by --series"] if key in forced else [])]
    return Opinion(
        key,
        case.candidate.names[0] if case.candidate.names else "",
        used[0] if used else found.sequence,
        None if used else found.other,
        bool(used),
        tuple(evidence),
        tuple(found.doubts),
    )
