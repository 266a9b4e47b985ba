"""Keep who the patient is out of everything that is shown or written."""

import re
from collections.abc import Iterable

from gliodistill.studies.tokens import words_of
from gliodistill.studies.vocabulary import Kind

LEAST_LETTERS = 3
"""Shorter parts of a name would take words out of any text."""

HIDDEN = "*"


class Mask:
    """Takes the names and ids of patients out of texts, which scanners' operators may have typed
    there.

    Words that tell of sequences (a patient called "T1") stay.

    Args:
        identities: (id, name, birth date) of each file.
    """

    def __init__(self, identities: Iterable[tuple[str, str, str]]) -> None:
        words: set[str] = set()
        for whole_id, name, birth in identities:
            words |= {whole_id.partition("@")[0].casefold(), birth, *name.split()}
        told = (word for word in words if len(word) >= LEAST_LETTERS and not _of_images(word))
        self._words = sorted(told, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """The text with every such word as ``*``; case and accents of the words count as typed."""
        for word in self._words:
            text = re.sub(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", HIDDEN, text, flags=re.I)
        return text


def _of_images(word: str) -> bool:
    return all(part.kind is not Kind.NAME for part in words_of(word))
