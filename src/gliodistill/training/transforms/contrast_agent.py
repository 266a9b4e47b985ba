"""Contrast agent: absent or late, so that T1CE looks like T1."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.studies.sequence import MRSequence
from gliodistill.training.transforms.base import Patch, PatchTransform, smooth_field
from gliodistill.training.transforms.registry import register

GONE = 0.5
"""Share of T1 from which on the reference has no ET: less than half of the enhancement is left."""
ET = "ET"


@dataclass(frozen=True)
class ContrastAgentDraw:
    """How much of the enhancement is missing.

    Attributes:
        share: 3×3×3, share of T1 in T1CE at control points over the patch.
    """

    share: NDArray[np.float64]


@register("contrast_agent")
class ContrastAgent(PatchTransform[ContrastAgentDraw]):
    """Mix T1 into T1CE, as if the contrast agent were absent, too little or late.

    T1CE becomes (1 − w)·T1CE + w·T1. ET is defined by the enhancement that T1CE shows. Where w is
    0.5 or more, the reference therefore has no ET; its voxels stay in TC and WT. Nothing happens to
    patches without T1 or T1CE, and to those of which the student is not given T1CE: other sequences
    do not show how much contrast agent there was.

    Args:
        p: probability that a patch is transformed.
        missing: least and greatest w of the patch; drawn evenly.
        everywhere: probability that w is the same everywhere; otherwise it varies smoothly from 0
            to its greatest value.
    """

    def __init__(
        self,
        *,
        p: float = 0.0,
        missing: tuple[float, float] = (0.3, 1.0),
        everywhere: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.missing = missing
        self.everywhere = everywhere

    def draw(self, channels: int, random: np.random.Generator) -> ContrastAgentDraw:
        """Draw w at control points."""
        share = np.full((3, 3, 3), random.uniform(*self.missing))
        if random.random() >= self.everywhere:
            share *= random.uniform(0.0, 1.0, share.shape)
        return ContrastAgentDraw(share)

    def apply(self, patch: Patch, drawn: ContrastAgentDraw) -> None:
        """Mix, and remove ET from the reference where the enhancement is gone."""
        if not {MRSequence.T1, MRSequence.T1CE} <= set(patch.sequences):
            return
        number = patch.sequences.index(MRSequence.T1CE)
        late, plain = patch.levels[number], patch.levels[patch.sequences.index(MRSequence.T1)]
        if not (patch.kept[number] and plain.any()):
            return
        share = smooth_field(drawn.share, late.shape).numpy()
        both = (late > 0) & (plain > 0)
        mixed = np.rint(late + share * (plain.astype(np.float32) - late))
        late[both] = mixed[both].astype(np.uint8)
        patch.clear(ET, both & (share >= GONE))
