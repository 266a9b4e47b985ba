"""Compression: a frozen big teacher teaches a small student across architectures (Xu et al., MIUA
2022).

Loss = segmentation + a · T² · KL(teacher ‖ student) + b · attention transfer over stages. That soft
targets and feature attention are combined is the paper's; T = 4, the weights a, b and the choice of
stages are our reading. Any other loss of ``gliodistill.distillation`` may stand beside them or in
their place.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from gliodistill.distillation import Distiller
from gliodistill.networks import Network
from gliodistill.training.losses import Outputs, deeply_supervised
from gliodistill.training.sampling import Batch

DEFAULT: Mapping[str, Mapping[str, Any]] = {"soft_target": {"weight": 0.1}}


class Compression:
    """Segmentation loss + what the student owes a frozen teacher.

    Args:
        student: learns.
        outputs: of both networks.
        teacher: frozen, in evaluation mode, run once a batch on all sequences.
        losses: name → weight, stages and options (:class:`gliodistill.distillation.Distiller`); by
            default soft targets alone.

    Raises:
        RecipeError: a loss, option or stage that does not exist or is out of range.
    """

    TRAINED: ClassVar = ("teacher",)

    def __init__(
        self,
        student: Network,
        outputs: Outputs,
        *,
        teacher: Network,
        losses: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.student, self.outputs = student, outputs
        self.teacher = teacher.eval().requires_grad_(False)
        self.distiller = Distiller(student, teacher, outputs, DEFAULT if losses is None else losses)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms ``segmentation`` and one for each distillation loss, weighted."""
        with self.distiller.listening():
            heads = self.student(batch.image)
            terms = {
                "segmentation": deeply_supervised(
                    heads, batch.regions, self.outputs, known=batch.known
                )
            }
            if self.distiller:
                with torch.no_grad():
                    told = self.teacher(batch.complete)[0]
                terms |= self.distiller.terms(heads[0], told, batch.regions, batch.known)
        return terms
