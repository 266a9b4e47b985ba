"""Supervised training on labels only: for teachers, and for the baseline of every student."""

from torch import Tensor

from gliodistill.methods.base import Batch, Method
from gliodistill.methods.registry import register_method


@register_method("supervised")
class Supervised(Method):
    """Deeply supervised soft Dice + cross-entropy.

    Args:
        student: the network to train.
        outputs: what its logits mean.
    """

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """One term, ``segmentation``."""
        return {"segmentation": self.segmentation(self.student(batch.image), batch)}
