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
        RecipeError: a tap that does not exist, attention without taps, a weight or temperature out of range.
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
        for option, got, fits, expected in (
            ("soft_target_weight", soft_target_weight, soft_target_weight >= 0, "0 or more"),
            ("attention_weight", attention_weight, attention_weight >= 0, "0 or more"),
            ("temperature", temperature, temperature > 0, "above 0"),
        ):
            if not fits:
                raise RecipeError("method option out of range", field=f"options.{option}", got=got, expected=expected)
        self.teacher = teacher.eval().requires_grad_(False)
        self.soft_target_weight, self.temperature, self.attention_weight = soft_target_weight, temperature, attention_weight
        self.attention_taps = pairs = attention_taps or []
        if attention_weight and not pairs:
            raise RecipeError("attention needs taps", field="options.attention_taps", expected=f"pairs from {', '.join(student.taps)}")
        if any(len(pair) != 2 for pair in pairs):
            raise RecipeError("taps come in pairs", field="options.attention_taps", got=pairs, expected="[student tap, teacher tap]")
        self._taps: tuple[FeatureTaps, FeatureTaps] | None = None
        if pairs:  # checked even where the weight is 0: a recipe's mistakes do not wait for their day
            taps = FeatureTaps(student, [own for own, _ in pairs]), FeatureTaps(teacher, [others for _, others in pairs])
            self._taps = taps if attention_weight else None

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms ``segmentation``, ``soft_target`` and ``attention``, weighted."""
        with ExitStack() as stack:
            taps = [stack.enter_context(reader) for reader in self._taps or ()]
            heads = self.student(batch.image)
            terms = {"segmentation": deeply_supervised(heads, batch.regions, self.outputs)}
            if self.soft_target_weight or self._taps:
                with torch.no_grad():
                    told = self.teacher(batch.complete)[0]
            if self.soft_target_weight:
                divergence = soft_target(heads[0], told, outputs=self.outputs, temperature=self.temperature)
                terms["soft_target"] = self.soft_target_weight * divergence
            if self._taps:
                # By name: one stage may stand in several pairs.
                pairs = [[reader[name] for reader, name in zip(taps, pair, strict=True)] for pair in self.attention_taps]
                terms["attention"] = self.attention_weight * attention_transfer([own for own, _ in pairs], [other for _, other in pairs])
        return terms
