"""Compression: a frozen big teacher teaches a small student across architectures (Xu et al., MIUA 2022).

Loss = segmentation + a · T² · KL(teacher ‖ student) + b · attention transfer over stages. That soft targets and
feature attention are combined is the paper's; T = 4, the weights a, b and the choice of stages are our reading.
"""

from contextlib import ExitStack

import torch
from torch import Tensor

from gliodistill.distillation import FeatureTaps, attention_transfer, soft_target
from gliodistill.errors import RecipeError
from gliodistill.networks import Network
from gliodistill.training.losses import Outputs, deeply_supervised
from gliodistill.training.sampling import Batch


class Compression:
    """Soft targets and attention transfer from a frozen teacher.

    Args:
        student: learns.
        outputs: of both networks.
        teacher: frozen, in evaluation mode, run once a batch.
        soft_target_weight: a; 0 leaves the term out.
        temperature: T.
        attention_weight: b; 0 leaves the term out.
        attention_taps: pairs ``[student tap, teacher tap]``.

    Raises:
        RecipeError: a tap that does not exist, or attention without taps.
    """

    def __init__(
        self,
        student: Network,
        outputs: Outputs,
        *,
        teacher: Network,
        soft_target_weight: float = 1.0,
        temperature: float = 4.0,
        attention_weight: float = 0.0,
        attention_taps: list[list[str]] | None = None,
    ) -> None:
        self.student, self.outputs = student, outputs
        self.teacher = teacher.eval().requires_grad_(False)
        self.soft_target_weight, self.temperature, self.attention_weight = soft_target_weight, temperature, attention_weight
        pairs = attention_taps or []
        if attention_weight and not pairs:
            raise RecipeError("attention needs taps", field="method.options.attention_taps", expected=f"pairs from {', '.join(student.taps)}")
        if not attention_weight:
            pairs = []
        if any(len(pair) != 2 for pair in pairs):
            raise RecipeError("taps come in pairs", field="method.options.attention_taps", got=pairs, expected="[student tap, teacher tap]")
        self._pairs = [(str(own), str(others)) for own, others in pairs]
        if self._pairs:
            self._student_taps = FeatureTaps(student, [own for own, _ in self._pairs])
            self._teacher_taps = FeatureTaps(self.teacher, [others for _, others in self._pairs])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms ``segmentation``, ``soft_target`` and ``attention``, weighted."""
        with ExitStack() as stack:
            if self._pairs:
                own = stack.enter_context(self._student_taps)
                others = stack.enter_context(self._teacher_taps)
            with torch.no_grad():
                told = self.teacher(batch.complete)[0]
            heads = self.student(batch.image)
            terms = {"segmentation": deeply_supervised(heads, batch.regions, self.outputs)}
            if self.soft_target_weight:
                divergence = soft_target(heads[0], told, outputs=self.outputs, temperature=self.temperature)
                terms["soft_target"] = self.soft_target_weight * divergence
            if self._pairs:
                terms["attention"] = self.attention_weight * attention_transfer(list(own.values()), list(others.values()))
        return terms
