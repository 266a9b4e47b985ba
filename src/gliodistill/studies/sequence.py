"""The four sequences of the brain-tumour protocol, and how the world spells them."""

import re
from enum import StrEnum

from gliodistill.errors import StudyError


class Sequence(StrEnum):
    """An MRI sequence. The order of definition is the canonical channel order."""

    T1 = "T1"
    T1CE = "T1CE"
    T2 = "T2"
    FLAIR = "FLAIR"

    @classmethod
    def parse(cls, spelling: str) -> "Sequence":
        """The sequence meant by ``spelling`` (case, ``-``, ``_``, blanks and a trailing ``w`` do
        not count).

        Raises:
            StudyError: no such spelling is known.
        """
        plain = re.sub(r"[^a-z0-9]", "", spelling.lower())
        for sequence, names in SPELLINGS.items():
            if plain in names:
                return sequence
        raise StudyError(
            "unknown sequence",
            field="sequence",
            got=repr(spelling),
            expected="; ".join(f"{s}: {', '.join(n)}" for s, n in SPELLINGS.items()),
        )


SPELLINGS: dict[Sequence, tuple[str, ...]] = {
    Sequence.T1: ("t1", "t1w", "t1n", "t1native", "t1wi", "t1pre", "t1weighted"),
    Sequence.T1CE: (
        "t1ce",
        "t1c",
        "t1gd",
        "t1wgd",
        "t1gdw",
        "t1wce",
        "t1post",
        "t1wpost",
        "t1km",
        "cet1",
        "cet1w",
        "t1contrast",
        "gdt1w",
    ),
    Sequence.T2: ("t2", "t2w", "t2wi", "t2weighted"),
    Sequence.FLAIR: ("flair", "fla", "fl", "t2f", "t2flair", "t2wflair", "flairw"),
}
