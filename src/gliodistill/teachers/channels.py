"""What the channels of another tool's outputs are, and how they become those of WT, TC and ET."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import LabelError, RecipeError
from gliodistill.logits import probabilities
from gliodistill.studies.label_names import by_names
from gliodistill.studies.labels import REGION_TISSUES, REGIONS, Tissue

BACKGROUND = "background"
NEST = 0.05
"""Probability by which a region may exceed the one around it in outputs that are still nested."""
SHARE = 1e-3
"""Share of voxels that may do so by more."""
SUM = 0.02
"""Difference from 1 of a sum of class probabilities that is rounding."""


@dataclass(frozen=True)
class Channels:
    """The meaning of output channels.

    Attributes:
        kind: ``regions`` (independent probabilities) or ``classes`` (they sum to 1).
        members: for WT, TC and ET, the channels whose sum is the region's probability.
        count: number of channels.
    """

    kind: Literal["regions", "classes"]
    members: tuple[tuple[int, ...], ...]
    count: int

    @classmethod
    def named(cls, names: Sequence[str], field: str) -> "Channels":
        """From names in order: WT, TC and ET, or ``background`` and tissues (NCR, ED, ET, …).

        Raises:
            RecipeError: other names, one twice, or a region that no channel belongs to.
        """
        tissues = {str(tissue): tissue for tissue in Tissue}
        if len(set(names)) == len(names) and set(names) == set(REGIONS):
            return cls("regions", tuple((list(names).index(r),) for r in REGIONS), len(names))
        if len(set(names)) == len(names) and BACKGROUND in names:
            others = [name for name in names if name != BACKGROUND]
            if set(others) <= set(tissues):
                members = tuple(
                    tuple(i for i, name in enumerate(names) if tissues.get(name) in within)
                    for within in (REGION_TISSUES[region] for region in REGIONS)
                )
                if all(members):
                    return cls("classes", members, len(names))
        raise RecipeError(
            "channels that are not understood",
            field=field,
            got=", ".join(map(str, names)),
            expected=f"{', '.join(REGIONS)} in any order, or {BACKGROUND} and tissues"
            f" ({', '.join(tissues)}) in any order",
        )

    @classmethod
    def of_labels(cls, description: Mapping[str, Any], file: str | PathLike[str]) -> "Channels":
        """From nnU-Net's ``dataset.json``: its regions in their order, or its labels by code.

        Raises:
            LabelError: labels that are not understood, or that fit no convention.
        """
        labels = description.get("labels")
        if not isinstance(labels, Mapping) or not labels:
            raise LabelError(
                "labels that are not understood", file=file, field="labels", got=labels,
                expected="names and codes",
            )  # fmt: skip
        convention = by_names(labels, str(file))
        wanted = [
            frozenset(code for code, tissue in convention.codes.items() if tissue in within)
            for within in (REGION_TISSUES[region] for region in REGIONS)
        ]
        told = {name: value for name, value in labels.items() if name != "ignore"}
        if any(isinstance(value, list) for value in told.values()):
            codes = [
                frozenset(value if isinstance(value, list) else [value]) for value in told.values()
            ]
            codes = [each for each in codes if each != {0}]
            if all(each in codes for each in wanted):
                return cls("regions", tuple((codes.index(each),) for each in wanted), len(codes))
            raise LabelError(
                "regions other than WT, TC and ET", file=file, field="labels", got=dict(labels),
                expected=f"codes of {convention.name}: "
                + ", ".join(f"{r} {sorted(w)}" for r, w in zip(REGIONS, wanted, strict=True)),
            )  # fmt: skip
        classes = sorted({0, *(int(value) for value in told.values())})
        members = tuple(tuple(classes.index(code) for code in sorted(each)) for each in wanted)
        return cls("classes", members, len(classes))

    def regions(self, probability: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of all channels (K X Y Z) → those of WT, TC, ET (3 X Y Z, float32)."""
        found = [probability[list(each)].sum(axis=0) for each in self.members]
        summed: NDArray[np.float32] = np.clip(np.stack(found), 0, 1, dtype=np.float32)
        return summed

    def shares(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of all channels (K X Y Z, float32) → their probabilities."""
        if self.kind == "regions":
            return probabilities(logits)
        shares: NDArray[np.float32] = np.exp(logits - logits.max(axis=0))
        shares /= shares.sum(axis=0)
        return shares

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of all channels (K X Y Z, float32) → probabilities of WT, TC, ET."""
        return self.regions(self.shares(logits))

    def check_count(self, found: int, file: str | PathLike[str]) -> None:
        """Raise LabelError if a file has another number of channels."""
        if found != self.count:
            raise LabelError(
                "another number of channels", file=file, field="channels", got=found,
                expected=self.count,
            )  # fmt: skip


def told_by_values(probability: NDArray[np.float32], file: str | PathLike[str]) -> Channels:
    """The meaning of channels from their values: three that are nested are WT, TC and ET by size.

    Args:
        probability: of all channels, K X Y Z in [0, 1].
        file: for errors.

    Raises:
        LabelError: the values do not decide it.
    """
    count = len(probability)
    if count == len(REGIONS):
        sizes = probability.reshape(count, -1).sum(axis=1, dtype=np.float64)
        outer = [int(index) for index in np.argsort(-sizes, kind="stable")]
        pairs = pairwise(outer)
        beyond = [
            float((probability[inner] > probability[around] + NEST).mean())
            for around, inner in pairs
        ]
        if max(beyond) <= SHARE:
            return Channels("regions", tuple((index,) for index in outer), count)
    sums_to_one = bool((np.abs(probability.sum(axis=0) - 1) < SUM).all())
    raise LabelError(
        "cannot tell which channel is what",
        file=file,
        field="channels",
        got=f"{count} channels"
        + (" that sum to 1: classes" if sums_to_one else " that are not nested"),
        expected="their names in order",
        hint="declare them, e.g. channels: [background, NCR, ED, ET], or [WT, TC, ET]",
    )
