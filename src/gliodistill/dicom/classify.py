"""Which series is T1, T1CE, T2 and FLAIR: rules on names and attributes, then appearance, then one
choice for each sequence, every step with its reason.

What evidence cannot decide is left out and said, never guessed; a user decides it with
``--series T1CE=7``.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gliodistill.dicom.appearance import levels_at, points_over
from gliodistill.dicom.candidate import Candidate
from gliodistill.dicom.comparing import Case, compare, spaces
from gliodistill.dicom.rules import T1S, apply_rules
from gliodistill.errors import ImageError, StudyError
from gliodistill.images.volume import Volume
from gliodistill.studies.sequence import MRSequence
from gliodistill.trust.appearance_model import AppearanceModel

MOST_LEVELS = 8
"""Fewer different values than this are those of a mask, not of an image."""


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
    cases = [Case(candidate, apply_rules(candidate)) for candidate in candidates]
    forced = {s: find(said, candidates, s) for s, said in (overrides or {}).items()}
    _read(cases, reference is not None)
    if reference is not None:
        compare(cases, reference)
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


def _read(cases: list[Case], sampled: bool) -> None:
    """Read what may be one of the four, one at a time; what cannot be read, or is a mask, is none.

    Args:
        cases: of one patient.
        sampled: whether to keep samples, for comparison with others of the same space.
    """
    for together in spaces(cases):
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


def _some_values(volume: Volume) -> set[float]:
    """Different values of every slice, up to the number that tells an image from a mask."""
    found: set[float] = set()
    for k in range(volume.shape[2]):
        found.update(np.unique(volume.data[::2, ::2, k])[:MOST_LEVELS].tolist())
        if len(found) >= MOST_LEVELS:
            break
    return found


def _settle(cases: list[Case]) -> None:
    """A T1 of which nothing says whether there was contrast is one without, and is doubted."""
    for case in cases:
        if case.alive and case.found.open == T1S:
            case.found.open = frozenset({MRSequence.T1})
            case.found.doubts.append("nothing says whether it is one after contrast")


def _choose(
    cases: list[Case], forced: Mapping[MRSequence, str]
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


def _absent(sequence: MRSequence, cases: list[Case]) -> str:
    perhaps = [
        case.candidate.key
        for case in cases
        if case.alive and case.found.sequence is None and sequence in case.found.open
    ]
    hint = f"; may be {' or '.join(perhaps)}: decide with --series {sequence}=…" if perhaps else ""
    return f"absent{hint}"


def _thickness(case: Case) -> float:
    return max(case.candidate.grid.spacing) if case.candidate.grid else math.inf


RANKS: tuple[tuple[str, Callable[[Case], Any]], ...] = (
    ("nothing speaks against it", lambda case: bool(case.found.doubts)),
    ("it was acquired, the other reformatted", lambda case: case.found.derived),
    ("its slices are thinner", lambda case: round(_thickness(case), 1)),
    ("its voxels are smaller", lambda case: round(case.candidate.voxel_ml * 1000, 2)),
    ("it covers more", lambda case: -round(min(case.candidate.extent or (0,)), -1)),
)
"""What is better, the weightiest first: why → a number, the smaller the better."""


def _difference(one: Case, other: Case) -> str:
    keys = f"{one.candidate.key} rather than {other.candidate.key}"
    for why, rank in RANKS:
        if rank(one) != rank(other):
            return f"{keys}: {why}"
    one.found.doubts.append(f"{other.candidate.key} is just as good")
    return f"{keys}: alike in all; the first is taken"


def _opinion(case: Case, chosen: Mapping[MRSequence, str], forced: Iterable[str]) -> Opinion:
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
