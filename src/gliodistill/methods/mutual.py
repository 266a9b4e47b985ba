"""Mutual learning: two networks are trained together, each on the labels and on the other's output
(Zhang et al. 2018, Li et al. 2020).

Deep mutual learning (CVPR 2018, arXiv 1706.00384), eq. 6 and 8: each minimises its own loss plus
the divergence from the other's (detached) output. Weight and temperature are ours; the paper has
neither (1 and 1).
"""

from torch import Tensor

from gliodistill.distillation import mutual
from gliodistill.errors import RecipeError
from gliodistill.methods.base import Batch, Method, Needs
from gliodistill.methods.registry import register_method
from gliodistill.methods.segmentation import Outputs
from gliodistill.networks import Network


@register_method("mutual", needs=Needs(jointly_trained={"peer": "image"}))
class Mutual(Method):
    """Segmentation losses of both networks + their mutual distillation losses.

    Args:
        student: the network to train and export.
        outputs: of both networks.
        peer: trained together with it on the same image; in a recipe its name and options.
        weight: of the mutual losses.
        temperature: T of the soft targets.

    Raises:
        RecipeError: weight or temperature out of range.
    """

    def __init__(
        self,
        student: Network,
        outputs: Outputs,
        *,
        peer: Network,
        weight: float = 0.1,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(student, outputs)
        self.peer = self.train_jointly("peer", peer)
        self.weight, self.temperature = weight, temperature
        if weight < 0:
            raise RecipeError(
                "method option out of range",
                field="options.weight",
                got=weight,
                expected="0 or more",
            )
        if temperature <= 0:
            raise RecipeError(
                "method option out of range",
                field="options.temperature",
                got=temperature,
                expected="above 0",
            )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms ``segmentation`` (student), ``peer`` (its segmentation), ``mutual``."""
        heads, others = self.student(batch.image), self.peer(batch.image)
        return {
            "segmentation": self.segmentation(heads, batch),
            "peer": self.segmentation(others, batch),
            "mutual": (
                self.weight
                * mutual(heads[0], others[0], outputs=self.outputs, temperature=self.temperature)
            ),
        }
