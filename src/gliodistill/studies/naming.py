"""Read file names: one of the four sequences, a label map, something else, or undecided.

One reader for every layout; docs/layouts.md has its rules as a table. A name is cut into words at
everything that is not a letter or digit, and compound words (``AxT1PostGd``) are split by the
vocabulary of :mod:`~gliodistill.studies.vocabulary`. If words allow two readings, the reading is
*undecided* and the user must be asked.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from gliodistill.errors import StudyError
from gliodistill.studies.sequence import SPELLINGS, MRSequence
from gliodistill.studies.tokens import CLOSE, SEQUENCE_KINDS, Word, words_of
from gliodistill.studies.vocabulary import T1_LIKE, TIME, Kind


@dataclass(frozen=True)
class Reading:
    """The reading of a name.

    Attributes:
        sequence: the sequence, if certain, or None.
        label: whether it is a label map.
        candidates: for an undecided name, the possible sequences.
        why: for an undecided name, what is unclear; for any other that is none of the four, what it
            is.
        spelling: the understood words, as written.
        key: words of the study's name and time, as they are written, with ``_`` between.
        rest: everything that is not the sequence, as it is written, with ``_`` between.
        unknown: words that are on no list.
        after: whether ``post`` is the only word for contrast.
        post: whether ``post`` or ``pre`` occurs without meaning contrast.
    """

    sequence: MRSequence | None = None
    label: bool = False
    candidates: frozenset[MRSequence] = frozenset()
    why: str = ""
    spelling: str = ""
    key: str = ""
    rest: str = ""
    unknown: tuple[str, ...] = ()
    after: bool = False
    post: bool = False

    @property
    def undecided(self) -> bool:
        """Whether the user must be asked."""
        return bool(self.candidates)

    @property
    def plain(self) -> bool:
        """Whether the name is only the sequence."""
        return self.sequence is not None and not self.rest

    def doubted(self, why: str, *more: MRSequence) -> "Reading":
        """The same name, undecided: its sequence, or one ``more``."""
        own = self.candidates if self.sequence is None else {self.sequence}
        return replace(self, sequence=None, candidates=frozenset({*own, *more}), why=why)


def read_name(name: str) -> Reading:
    """Read a file's name without its ending, or a part of it."""
    return _name_of(name, _resolve(words_of(name)))


def read_declared(name: str) -> Reading:
    """Read a name that declares a sequence (a column, a channel): a word on no list makes it
    nothing.
    """
    reading = read_name(name)
    return Reading(why=f"unknown word {reading.unknown[0]!r}") if reading.unknown else reading


def parse_sequence(spelling: str) -> MRSequence:
    """The sequence that ``spelling`` declares (case and separators do not count).

    Raises:
        StudyError: it is none of the four, or cannot be decided.
    """
    reading = read_declared(spelling)
    if reading.sequence is not None:
        return reading.sequence
    raise StudyError(
        f"cannot decide the sequence: {reading.why}" if reading.undecided else "unknown sequence",
        field="sequence",
        got=repr(spelling),
        expected="; ".join(f"{s}: {', '.join(n)}" for s, n in SPELLINGS.items()),
    )


@dataclass(frozen=True)
class _Verdict:
    """The resolved reading and its words."""

    reading: Reading
    words: tuple[Word, ...]
    used: frozenset[int]
    aside: frozenset[int] = frozenset()
    """Words of a registration's target: part neither of spelling nor of name."""


def _name_of(name: str, conclusion: _Verdict) -> Reading:
    """Tell the words that made the reading from those of the study's name."""
    words, used = conclusion.words, conclusion.used
    neutral = {Kind.NEUTRAL, Kind.MOVED, Kind.INVERSION, Kind.STAR, Kind.ANATOMY}
    left = [i for i in range(len(words)) if i not in used and i not in conclusion.aside]
    key = [words[i].text for i in left if words[i].kind not in neutral]
    unknown = tuple(
        w.text
        for w in (words[i] for i in left)
        if w.kind is Kind.NAME and not re.fullmatch(TIME, w.text.lower())
    )
    span = sorted(used)
    spelling = "_".join(words[i].text for i in span)
    if span and not left and not conclusion.aside:
        spelling = name
    elif span and (found := _as_written(name, [words[i].text for i in span])):
        spelling = found
    return replace(
        conclusion.reading,
        spelling=spelling,
        key="_".join(key),
        rest="_".join(words[i].text for i in range(len(words)) if i not in used),
        unknown=unknown,
        post=any(words[i].kind in (Kind.POST, Kind.PRE) for i in left),
    )


def _as_written(name: str, texts: list[str]) -> str | None:
    """The part of ``name`` that consists of these words, separators as they are."""
    match = re.search(r"[\W_]*".join(re.escape(text) for text in texts), name)
    return match[0] if match else None


# Rules, in the order of docs/layouts.md


def _resolve(words: tuple[Word, ...]) -> _Verdict:
    kinds = [word.kind for word in words]
    everything = frozenset(i for i, k in enumerate(kinds) if k is not Kind.NAME)
    there = frozenset(SEQUENCE_KINDS[k] for k in kinds if k in SEQUENCE_KINDS)
    if Kind.DERIVED in kinds or (len(words) > 1 and words[0].text in ("y", "iy") and there):
        return _Verdict(Reading(why="a mask or a map made of an image"), words, everything)
    if Kind.LABEL in kinds:
        return _label(words, there)
    moving, aside = _moving(words)
    if moving is None:
        why = "names a registration target, not the image itself"
        return _Verdict(Reading(candidates=there, why=why), words, everything)
    return replace(_image(words, moving), aside=aside)


def _label(words: tuple[Word, ...], there: frozenset[MRSequence]) -> _Verdict:
    used = frozenset(i for i, word in enumerate(words) if word.kind is Kind.LABEL)
    if any(word.kind is Kind.ANATOMY or word.text.lower() == "brain" for word in words):
        return _Verdict(Reading(why="labels of anatomy"), words, used)
    if there:
        why = "names a sequence and a label map"
        return _Verdict(Reading(candidates=there, why=why), words, used)
    return _Verdict(Reading(label=True), words, used)


def _moving(words: tuple[Word, ...]) -> tuple[tuple[int, ...] | None, frozenset[int]]:
    """The words of X in ``X to Y``, and those of ``to Y``; None for X where only Y is named."""
    kinds = [word.kind for word in words]
    for i, kind in enumerate(kinds):
        if kind is not Kind.LINK or i + 1 == len(words):
            continue
        if any(k in SEQUENCE_KINDS or k is Kind.OTHER for k in kinds[:i]):
            end = i + 2
            while end < len(words) and kinds[end] in CLOSE and kinds[i + 1] in SEQUENCE_KINDS:
                end += 1
            return tuple(range(i)), frozenset(range(i, end))
        if kinds[i + 1] in SEQUENCE_KINDS:
            return None, frozenset()
    return tuple(range(len(words))), frozenset()


def _image(words: tuple[Word, ...], moving: Iterable[int]) -> _Verdict:
    """The image that the words ``moving`` name."""
    place = list(moving)
    time = _time(words, place)
    place = [i for i in place if i != time]
    named = [i for i in place if words[i].kind in SEQUENCE_KINDS]
    there = frozenset(SEQUENCE_KINDS[words[i].kind] for i in named)
    told = frozenset(i for i in place if words[i].kind not in (Kind.NAME, Kind.NEUTRAL, Kind.MOVED))
    kinds = {words[i].kind for i in place if any(_beside(words, i, j) for j in named)}
    if Kind.CONTRAST in kinds:
        there = frozenset(MRSequence.T1CE if s is MRSequence.T1 else s for s in there)

    def ask(why: str) -> _Verdict:
        return _Verdict(Reading(candidates=there, why=why), words, told)

    if not there:
        return _Verdict(_nameless([words[i] for i in place]), words, told)
    span = range(min(named), max(named))
    if there == {MRSequence.T2, MRSequence.FLAIR}:
        if any(words[i].kind in (Kind.MOVED, Kind.NAME) for i in span if i in place):
            return ask("names two sequences")
        there = frozenset({MRSequence.FLAIR})
    if len(there) > 1:
        inverted = there == {MRSequence.T1, MRSequence.FLAIR}
        why = ": a T1 with inversion, or a FLAIR" if inverted else ""
        return ask(f"names two sequences{why}")
    if MRSequence.T2 in there and Kind.STAR in kinds:
        return _Verdict(Reading(why="T2*, none of the four sequences"), words, told)
    if Kind.OTHER in kinds:
        return ask("names a sequence and another image")
    if Kind.INVERSION in kinds and MRSequence.FLAIR not in there:
        return ask("names an inversion, which changes the contrast of a T1 or T2")
    if not there & {MRSequence.T1, MRSequence.T1CE}:
        return _weighted(words, place, named, next(iter(there)), told)
    return _t1(words, place, named, told)


def _nameless(words: list[Word]) -> Reading:
    """Names without a sequence."""
    texts = [word.text.lower() for word in words]
    if ct1 := [word.text for word in words if word.text.lower().startswith("ct1")]:
        why = f"{ct1[0]} may be T1 after contrast (as LUMIERE and HD-GLIO call it), or a CT"
        return Reading(candidates=frozenset({MRSequence.T1CE}), why=why)
    if made := [text for text in texts if text in T1_LIKE]:
        why = f"{made[0].upper()} is a T1, and does not say whether it is one after contrast"
        return Reading(candidates=frozenset({MRSequence.T1, MRSequence.T1CE}), why=why)
    others = " ".join(word.text for word in words if word.kind is Kind.OTHER)
    return Reading(why=f"{others}, none of the four sequences" if others else NAMELESS)


NAMELESS = "no sequence in its name"


def _time(words: tuple[Word, ...], place: list[int]) -> int | None:
    """The last word where it is a point in time (``FLAIR_t1``), not a sequence: in small letters,
    after a word that can be no point in time itself, or after itself.
    """
    if len(place) < 2 or not re.fullmatch(r"t[12]", words[place[-1]].text):
        return None
    last, earlier = words[place[-1]], [words[i] for i in place[:-1]]
    kinds = [word.kind for word in earlier]
    if not last.bare or any(kind in (Kind.MOVED, Kind.OTHER) for kind in kinds):
        return None
    named = [word for word in earlier if word.kind in SEQUENCE_KINDS]
    whole = [word.text.lower() not in ("t1", "t2") or word.kind is last.kind for word in named]
    contrast = Kind.T1 in kinds and Kind.CONTRAST in kinds
    return place[-1] if len(named) and (all(whole) or contrast) else None


def _beside(words: tuple[Word, ...], one: int, other: int) -> bool:
    return all(words[i].kind in CLOSE for i in range(min(one, other) + 1, max(one, other)))


def _weighted(
    words: tuple[Word, ...],
    place: list[int],
    named: list[int],
    sequence: MRSequence,
    told: frozenset[int],
) -> _Verdict:
    """T2 or FLAIR; with contrast agent it is another image."""
    for i in place:
        kind, negated = words[i].kind, i > 0 and words[i - 1].kind is Kind.NOT
        if kind is Kind.CONTRAST and not negated and _beside(words, i, named[-1]):
            why = f"{sequence} after contrast"
            return _Verdict(Reading(candidates=frozenset({sequence}), why=why), words, told)
    kept = (Kind.T2, Kind.FLAIR, Kind.NATIVE, Kind.NOT, Kind.CONTRAST)
    used = frozenset(i for i in told if words[i].kind in kept)
    return _Verdict(Reading(sequence), words, used)


def _t1(
    words: tuple[Word, ...], place: list[int], named: list[int], told: frozenset[int]
) -> _Verdict:
    """T1, T1CE, or undecided."""
    t1 = named[0]

    def ask(why: str) -> _Verdict:
        both = frozenset({MRSequence.T1, MRSequence.T1CE})
        return _Verdict(Reading(candidates=both, why=why), words, told)

    agents, native, post, pre = [], [], [], []
    for i in place:
        kind = words[i].kind
        before = words[i - 1].kind if i else None
        if kind is Kind.CONTRAST and before is Kind.NOT:
            native.append(i)
        elif kind is Kind.CONTRAST and before is Kind.PRE:
            if not re.match("contr|kontr", words[i].text.lower()):
                return ask("may be T1 before contrast, or T1CE before treatment")
            native.append(i)
        elif kind is Kind.CONTRAST and i + 1 in place and words[i + 1].kind is Kind.NOT:
            return ask("holds T1 and words both for and against contrast")
        elif kind is Kind.CONTRAST:
            agents.append(i)
        elif kind is Kind.NATIVE:
            native.append(i)
        elif kind is Kind.POST:
            post.append(i)
        elif kind is Kind.PRE:
            pre.append(i)
        elif kind is Kind.SUSPECT:
            return ask(f"holds T1 and {words[i].text!r}, which may be a word for contrast")
    if any(not _beside(words, i, t1) for i in agents):
        return ask("holds T1 and a word for contrast, apart from each other")
    if agents and native:
        return ask("holds T1 and words both for and against contrast")
    if agents:
        used = frozenset(i for i in told if words[i].kind in (Kind.T1, Kind.CONTRAST))
        used |= {i for i in post if i + 1 in agents or i - 1 in agents}
        return _Verdict(Reading(MRSequence.T1CE), words, used)
    if post and (native or pre):
        return ask("holds T1 with both before and after")
    if post and (post[0] < t1 or not _beside(words, post[0], t1)):
        return ask("may be T1 after contrast, or T1 after treatment")
    if post:
        used = frozenset({t1, *post})
        return _Verdict(Reading(MRSequence.T1CE, after=True), words, used)
    used = frozenset(i for i in told if words[i].kind in (Kind.T1, Kind.NATIVE, Kind.NOT))
    used |= {i for i in (*native, *pre) if _beside(words, i, t1)}
    return _Verdict(Reading(MRSequence.T1), words, used)
