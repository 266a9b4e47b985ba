"""What the channels of a model's logits are, and how they become those of WT, TC and ET."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.checks import check_keys, checked, require
from gliodistill.studies.labels import REGION_TISSUES, REGIONS, Tissue

BACKGROUND = "background"
"""Name of the first class of a ``classes`` model."""


@dataclass(frozen=True)
class Outputs:
    """What the channels of the logits are.

    Attributes:
        kind: ``"regions"`` (independent sigmoids, exactly WT, TC, ET) or ``"classes"`` (softmax
            over tissues).
        names: the regions; or ``"background"`` followed by tissues (ED, NCR, ET, …).

    Raises:
        PackageError: another kind or other names.
    """

    kind: str = "regions"
    names: tuple[str, ...] = REGIONS

    def __post_init__(self) -> None:
        require(
            self.kind in ("regions", "classes"), "outputs.kind", self.kind, "regions or classes"
        )
        if self.kind == "regions":
            require(self.names == REGIONS, "outputs.names", self.names, str(REGIONS))
        else:
            tissues = {str(tissue) for tissue in Tissue}
            proper = (
                self.names[:1] == (BACKGROUND,)
                and set(self.names[1:]) <= tissues
                and len(set(self.names)) == len(self.names) > 1
            )
            require(
                proper,
                "outputs.names",
                self.names,
                f"{BACKGROUND}, then some of {', '.join(sorted(tissues))}",
            )

    def members(self, region: str) -> list[int]:
        """Channels of a ``classes`` model whose tissue belongs to ``region``."""
        return [
            i for i, name in enumerate(self.names) if i and Tissue(name) in REGION_TISSUES[region]
        ]

    def region_logits(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (K X Y Z) → logits of WT, TC, ET (3 X Y Z, float32): log(p / (1 − p)) of each
        region's probability p.

        Of ``classes`` p is the sum of the softmax over the tissues of the region, so one threshold
        means the same for both kinds, the regions are nested, and what is returned is smooth enough
        to be interpolated.
        """
        if self.kind == "regions":
            return logits
        scores = np.full((len(REGIONS), *logits.shape[1:]), -np.inf, dtype=np.float32)
        for score, region in zip(scores, REGIONS, strict=True):
            if members := self.members(region):
                others = [i for i in range(len(logits)) if i not in members]
                np.subtract(
                    np.logaddexp.reduce(logits[members]),
                    np.logaddexp.reduce(logits[others]),
                    out=score,
                )
        return scores

    @classmethod
    def from_dict(cls, values: object) -> "Outputs":
        """From JSON, strictly."""
        values = check_keys(values, ("kind", "names"), "outputs")
        return checked(
            "outputs", lambda: cls(values["kind"], tuple(str(n) for n in values["names"]))
        )
