"""Modality dropout: sequences are removed from patches at random."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ModalityDropout:
    """Remove each sequence of a patch with the same probability, but never all.

    A draw that removes all is repeated, so that ``p = 0.5`` makes all subsets equally likely, apart
    from the patches of ``keep_all``.

    Args:
        p: probability that each sequence is dropped.
        keep_all: probability that a patch keeps all sequences, before ``p`` applies.

    Example:
        >>> ModalityDropout(p=1.0).draw((True, False, False, False), np.random.default_rng(0))
        (True, False, False, False)
    """

    p: float = 0.0
    keep_all: float = 0.0

    def draw(self, present: tuple[bool, ...], random: np.random.Generator) -> tuple[bool, ...]:
        """Draw the ``present`` sequences that a patch keeps."""
        if self.keep_all and random.random() < self.keep_all:
            return present
        there = np.flatnonzero(present)
        if self.p == 1:
            kept = random.choice(there, 1)
        else:
            while not len(kept := there[random.random(len(there)) >= self.p]):
                pass
        return tuple(channel in kept for channel in range(len(present)))
