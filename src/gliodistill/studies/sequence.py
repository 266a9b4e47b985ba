"""The four MRI sequences of the brain-tumour protocol, and their spellings."""

from enum import StrEnum


class MRSequence(StrEnum):
    """An MRI sequence. The order of definition is the canonical channel order."""

    T1 = "T1"
    T1CE = "T1CE"
    T2 = "T2"
    FLAIR = "FLAIR"


SPELLINGS: dict[MRSequence, tuple[str, ...]] = {
    MRSequence.T1: ("t1", "t1w", "t1n", "t1native", "t1wi", "t1pre", "t1weighted"),
    MRSequence.T1CE: (
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
    MRSequence.T2: ("t2", "t2w", "t2wi", "t2weighted"),
    MRSequence.FLAIR: ("flair", "fla", "fl", "t2f", "t2flair", "t2wflair", "flairw"),
}
"""The usual names, for messages and docs; rules understand more."""
