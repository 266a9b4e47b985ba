"""Mutual learning: two networks learn together, each from the labels and from the other (Zhang et
al. 2018, Li et al. 2020).

Deep mutual learning (CVPR 2018, arXiv 1706.00384), eq. 6 and 8: each minimises its own loss plus
the divergence from the other's output, which it takes as given. Weight and temperature are ours;
the paper has neither (1 and 1).
"""

from typing import ClassVar

from torch import Tensor

from gliodistill.distillation import mutual
from gliodistill.errors import RecipeError
from gliodistill.networks import Network
from gliodistill.training.losses import Outputs, deeply_supervised
from gliodistill.training.sampling import Batch


class Mutual:
    """Segmentation losses of both + what each owes the other.

    Args:
        student: learns and is exported.
        outputs: of both networks.
        peer: learns beside it from the same image; in a recipe its name and options.
        weight: of what each owes the other.
        temperature: T of the soft targets.

    Raises:
        RecipeError: weight or temperature out of range.
    """

    LEARNING: ClassVar = {"peer": "image"}

    def __init__(
        self,
        student: Network,
        outputs: Outputs,
        *,
        peer: Network,
        weight: float = 0.1,
        temperature: float = 1.0,
    ) -> None:
        self.student, self.peer, self.outputs, self.weight, self.temperature = (
            student,
            peer,
            outputs,
            weight,
            temperature,
        )
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
        """Terms ``segmentation`` (student), ``peer`` (its segmentation) and ``mutual``, weighted."""
        heads, others = self.student(batch.image), self.peer(batch.image)
        return {
            "segmentation": deeply_supervised(
                heads, batch.regions, self.outputs, known=batch.known
            ),
            "peer": deeply_supervised(others, batch.regions, self.outputs, known=batch.known),
            "mutual": (
                self.weight
                * mutual(heads[0], others[0], outputs=self.outputs, temperature=self.temperature)
            ),
        }
