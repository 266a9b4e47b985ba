"""What the channels of a model's logits are, and how they become those of its task's regions."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gliodistill.checks import check_keys, checked, require
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.task import Task

BACKGROUND = "background"
"""Name of the first class of a ``classes`` model."""


@dataclass(frozen=True)
class OutputChannels:
    """The meaning of the logit channels.

    Attributes:
        kind: ``"regions"`` (independent sigmoids, exactly the task's regions) or ``"classes"``
            (softmax over tissues).
        names: the regions; or ``"background"`` followed by tissues (ED, NCR, ET, …).
        task: what the model segments.

    Raises:
        PackageError: another kind or other names.
    """

    kind: str = "regions"
    names: tuple[str, ...] = ("WT", "TC", "ET")
    task: Task = field(default_factory=glioma)

    def __post_init__(self) -> None:
        require(
            self.kind in ("regions", "classes"), "outputs.kind", self.kind, "regions or classes"
        )
        if self.kind == "regions":
            regions = self.task.names
            require(self.names == regions, "outputs.names", self.names, str(regions))
        else:
            tissues = {str(t) for region in self.task.regions for t in region.tissues}
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
            i for i, name in enumerate(self.names) if i and name in self.task.region(region).tissues
        ]

    def region_logits(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (K X Y Z) → logits of the regions (R X Y Z, float32): log(p / (1 − p)) of each
        region's probability p.

        For ``classes``, p is the sum of the softmax over the region's tissues. Thus one threshold
        works for both kinds, the regions are nested, and the result is smooth enough to
        interpolate.
        """
        if self.kind == "regions":
            return logits
        regions = self.task.names
        scores = np.full((len(regions), *logits.shape[1:]), -np.inf, dtype=np.float32)
        for score, region in zip(scores, regions, strict=True):
            if members := self.members(region):
                others = [i for i in range(len(logits)) if i not in members]
                np.subtract(
                    np.logaddexp.reduce(logits[members]),
                    np.logaddexp.reduce(logits[others]),
                    out=score,
                )
        return scores

    @classmethod
    def from_dict(cls, values: object, task: Task) -> "OutputChannels":
        """From JSON, strictly."""
        values = check_keys(values, ("kind", "names"), "outputs")
        return checked(
            "outputs", lambda: cls(values["kind"], tuple(str(n) for n in values["names"]), task)
        )
