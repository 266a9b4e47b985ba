"""Compression: distillation from a frozen large teacher into a small student, across architectures
(Xu et al., MIUA 2022).

Loss = segmentation + a · T² · KL(teacher ‖ student) + b · attention transfer over stages. From the
paper: the combination of soft targets and feature attention. Our reading: T = 4, the weights a, b
and the choice of stages. Any other loss of ``gliodistill.distillation`` can be added or used
instead.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gliodistill.methods.base import Batch, Method, Needs
from gliodistill.methods.registry import register_method
from gliodistill.methods.segmentation import Outputs
from gliodistill.networks import Network

DEFAULT: Mapping[str, Mapping[str, Any]] = {"soft_target": {"weight": 0.1}}


@register_method("compression", needs=Needs(trained={"teacher": "one"}))
class Compression(Method):
    """Segmentation loss + distillation losses towards a frozen teacher.

    Args:
        student: the network to train.
        outputs: of both networks.
        teacher: frozen, in evaluation mode, run once per batch on all sequences.
        losses: name → weight, stages and options (:class:`gliodistill.distillation.Distiller`); by
            default soft targets only.

    Raises:
        RecipeError: a loss, option or stage that does not exist or is out of range.
    """

    def __init__(
        self,
        student: Network,
        outputs: Outputs,
        *,
        teacher: Network,
        losses: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(student, outputs)
        self.teacher = self.freeze(teacher)
        self.distiller = self.distil_from(teacher, DEFAULT if losses is None else losses)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms ``segmentation`` and one for each distillation loss, weighted."""
        with self.distiller.hooked():
            heads = self.student(batch.image)
            terms = {"segmentation": self.segmentation(heads, batch)}
            if self.distiller:
                targets = self.ask(self.teacher, batch)
                terms |= self.distiller.terms(heads[0], targets, batch.regions, batch.known)
        return terms
