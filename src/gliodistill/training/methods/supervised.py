"""Learning from the experts' labels alone: teachers, and the undistilled twin of every student."""

from torch import Tensor

from gliodistill.networks import Network
from gliodistill.training.losses import Outputs, deeply_supervised
from gliodistill.training.sampling import Batch


class Supervised:
    """Deeply supervised soft Dice + cross-entropy.

    Args:
        student: learns.
        outputs: what its logits mean.
    """

    def __init__(self, student: Network, outputs: Outputs) -> None:
        self.student, self.outputs = student, outputs

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """One term, ``segmentation``."""
        return {
            "segmentation": deeply_supervised(
                self.student(batch.image), batch.regions, self.outputs, known=batch.known
            )
        }
