"""Split a name into words, each with its kind.

It is split at everything that is not a letter or digit, and compound words (``AxT1PostGd``) by the
vocabulary of :mod:`~gliodistill.studies.vocabulary`.
"""

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache

from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.vocabulary import CONTRAST_LIKE, FUSED, KIND_OF, NEUTRAL_LIKE, Kind

SEQUENCE_KINDS = {Kind.T1: MRSequence.T1, Kind.T2: MRSequence.T2, Kind.FLAIR: MRSequence.FLAIR}
CLOSE = (*SEQUENCE_KINDS, Kind.CONTRAST, Kind.POST, Kind.PRE, Kind.NOT, Kind.NATIVE)
CLOSE += (Kind.SUSPECT, Kind.INVERSION, Kind.STAR, Kind.NEUTRAL, Kind.MOVED)
"""Kinds that may occur between a sequence and its attributes; a part of the study's name may not.
"""
_BEFORE = {"ax", "axial", "sag", "cor", "tra", "pre", "post", "gd", "ce", "gad", "km", "contrast"}
"""Words that may be joined to a following sequence (``AxT1``, ``ceT1w``)."""
_ABOUT = (Kind.CONTRAST, Kind.NATIVE, Kind.NOT, Kind.PRE, Kind.POST)
_SHORT = {"c": Kind.CONTRAST, "n": Kind.NATIVE}
LONGEST = 40
"""Longest run of letters in the vocabulary."""
_SPM = r"(?:w[rm]?|r[wm]?|m[wr]?)"
"""Prefixes of SPM: warped, resliced, bias-corrected."""


@dataclass(frozen=True)
class Word:
    """A word as written, and its kind."""

    text: str
    kind: Kind
    bare: bool = field(default=True, kw_only=True)
    """Whether it is between separators."""


def words_of(name: str) -> tuple[Word, ...]:
    """Split a name into words."""
    name = re.sub(r"(?i)space-[a-z0-9]+", " ", name)  # BIDS: the grid it lies on
    name = re.sub(r"(?i)(?<=t2)\*", " star ", name)
    found: list[Word] = []
    for chunk in re.findall(r"(?<![^\W_])[cC]-(?![^\W_])|[^\W_]+|[+]", name):
        found += _chunk(chunk, first=not found)
    return _in_context(found)


def _chunk(chunk: str, first: bool) -> list[Word]:
    """The words of one run of letters and digits."""
    low = chunk.lower()
    if low in ("+", "c-"):
        return [Word(chunk, Kind.SUSPECT)]
    if len(chunk) > LONGEST:
        return [Word(chunk, Kind.NAME)]
    if cut := _cut(chunk):
        return cut
    spm = re.fullmatch(rf"({_SPM})((?:t1|t2|flair).*)", low) if first else None
    if spm and (cut := _cut(chunk[len(spm[1]) :])):
        return [Word(chunk[: len(spm[1])], Kind.MOVED, bare=False), *cut]
    if re.fullmatch(r"m?w?r?c[1-6](t1|t2|flair).*", low):
        return [Word(chunk, Kind.DERIVED)]  # SPM: a map of one tissue
    number = re.fullmatch(r"(.*[a-z])(\d+)", low)
    if number and number[1] not in ("t", "c") and (cut := _cut(chunk[: len(number[1])])):
        return [*cut, Word(number[2], Kind.NAME)]  # T1CE2: a series number
    if _hides_contrast(low):
        return [Word(chunk, Kind.SUSPECT)]
    parts = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])|[^A-Za-z0-9]+", chunk)
    if len(parts) > 1 and "".join(parts) == chunk:
        words = [w for part in parts for w in _cut(part) or [Word(part, Kind.NAME)]]
        if any(word.kind is not Kind.NAME for word in words):
            return [replace(word, bare=False) for word in words]
    return [Word(chunk, Kind.NAME)]


def _cut(chunk: str) -> list[Word]:
    """A run of letters split into known words; empty if impossible."""
    words, at = [], 0
    texts = [part for text in _known(chunk.lower()) or () for part in FUSED.get(text, (text,))]
    for text in texts:
        kind = Kind.LINK if text == "2" else KIND_OF[text] if text in KIND_OF else _SHORT[text]
        words.append(Word(chunk[at : at + len(text)], kind, bare=len(texts) == 1))
        at += len(text)
    return words


def _kind(text: str) -> Kind | None:
    return Kind.T1 if text in FUSED else KIND_OF.get(text)


@lru_cache(maxsize=4096)
def _known(text: str, after: bool = False) -> tuple[str, ...] | None:
    """The fewest known words that make up ``text``: any may follow a sequence (``after``), few may
    precede one, and without a sequence all must be about contrast.
    """
    if _kind(text) is not None:
        return (text,)
    if after and text[:1] == "2":
        return ("2", *inner) if (inner := _known(text[1:])) else None
    found = []
    for end in range(2, len(text) - 1):
        head, kind = text[:end], _kind(text[:end])
        opens = kind in SEQUENCE_KINDS
        if kind is None or not (after or opens or kind in _ABOUT or head in _BEFORE):
            continue
        tail = _known(text[end:], after or opens)
        if not tail:
            continue
        follows = _kind(tail[0])
        stray = follows is Kind.NEUTRAL or (follows in SEQUENCE_KINDS and head not in _BEFORE)
        if after or opens or not stray:
            found.append((head, *tail))
    return min(found, key=len, default=None)


@lru_cache(maxsize=4096)
def _hides_contrast(text: str) -> bool:
    """Whether a word is composed of acquisition, processing and contrast terms (``FSGD``,
    ``mpragepost``).
    """
    ends = [(text[:i], text[i:]) for i in range(2, len(text) - 1)]
    return any(
        KIND_OF.get(one) in (Kind.CONTRAST, Kind.POST) and _is_neutral(other)
        for ends_of in ends
        for one, other in (ends_of, ends_of[::-1])
    )


@lru_cache(maxsize=4096)
def _is_neutral(text: str) -> bool:
    if KIND_OF.get(text) in (Kind.NEUTRAL, Kind.MOVED, Kind.POST):
        return True
    return any(_is_neutral(text[:i]) and _is_neutral(text[i:]) for i in range(2, len(text) - 1))


def _in_context(words: list[Word]) -> tuple[Word, ...]:
    """Resolve words whose meaning depends on their neighbours."""
    for i, word in enumerate(words):
        before = words[i - 1].kind if i else None
        low = word.text.lower()
        after = [w.text.lower() for w in words[i + 1 : i + 3]]
        kind = word.kind
        if before is Kind.T1 and low == "c" and kind is Kind.NAME:
            kind = Kind.CONTRAST
        elif before is Kind.T1 and low == "n" and kind is Kind.NAME:
            kind = Kind.NATIVE
        elif before is Kind.T2 and low == "f" and kind is Kind.NAME:
            kind = Kind.FLAIR
        elif low == "w" and after[:1] == ["o"]:  # w/o
            kind, words[i + 1] = Kind.NOT, replace(words[i + 1], kind=Kind.NEUTRAL)
        elif low == "o" and after[:1] == ["km"]:
            kind = Kind.NOT
        elif (low == "m" and after[:1] == ["km"]) or (low == "w" and before in SEQUENCE_KINDS):
            kind = Kind.NEUTRAL
        elif (
            low == "+"
            or (low == "c" and after[:1] == ["+"])
            or (low == "c" and before is Kind.CONTRAST)
        ):
            kind = Kind.CONTRAST
        elif low == "fluid" and i and words[i - 1].text.lower() == "dark":
            kind, words[i - 1] = Kind.FLAIR, replace(words[i - 1], kind=Kind.FLAIR)
        elif (kind is Kind.NAME and re.fullmatch(CONTRAST_LIKE, low)) or (
            low == "c" and kind is Kind.NAME and _near_t1(words[:i])
        ):
            kind = Kind.SUSPECT
        elif kind is Kind.NAME and re.fullmatch(NEUTRAL_LIKE, low):
            kind = Kind.NEUTRAL
        elif low == "2" and before in CLOSE and i + 1 < len(words):
            follows = words[i + 1]
            if follows.kind in SEQUENCE_KINDS or after[0].startswith(("mni", "sri")):
                kind = Kind.LINK
        words[i] = replace(word, kind=kind)
    return tuple(words)


def _near_t1(words: list[Word]) -> bool:
    """Whether a T1 precedes, with no part of the study's name in between."""
    for word in reversed(words):
        if word.kind is Kind.T1 or word.kind not in CLOSE:
            return word.kind is Kind.T1
    return False
