"""A foreign teacher as a network: its outputs come with the patch, as channels of it."""

import torch
from jaxtyping import Float
from torch import Tensor

from gliodistill.methods.segmentation import Outputs, regions_to_classes
from gliodistill.networks import Network

LEAST = 1e-6
"""Least share of a class, whose logarithm is its logit."""


class StoredOutputs(Network):
    """Returns the outputs that the sampler put behind the sequences of ``Batch.complete``.

    Args:
        first: channel of the logit of the first region; the others follow.
        count: how many regions there are.
        outputs: of the student: what is returned.
        teacher: its name, for errors.
    """

    def __init__(self, first: int, count: int, outputs: Outputs, teacher: str) -> None:
        super().__init__()
        self.first, self.count, self.outputs = first, count, outputs
        self.outputs_only = f"{teacher}, which gives outputs only"

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K X Y Z"], ...]:
        """Logits of the regions, or of the classes with the same probabilities."""
        logits = x[:, self.first : self.first + self.count]
        if self.outputs == "regions":
            return (logits,)
        nested = torch.cummin(logits.float().sigmoid(), dim=1).values
        return (regions_to_classes(nested).clamp_min(LEAST).log(),)
