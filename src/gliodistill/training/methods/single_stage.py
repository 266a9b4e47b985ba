"""Single stage: teacher and student learn in the same iteration; the student has only some
sequences (Choi et al., CMPB 2023).

Loss = Σ wᵢ CE(teacherᵢ) + Σ wᵢ CE(studentᵢ) + β · Barlow Twins(z_S, z_T). The paper's: one stage,
Barlow Twins between the two latents, deeply supervised cross-entropy on both paths. Our reading:
the latent is the bottleneck, its voxels are the samples, λ = 5e-3, wᵢ = 2⁻ⁱ normalised (a coarsest
head of weight 0 is a head less: ``deep_supervision``), β, and by default Dice beside the
cross-entropy, as nnU-Net, the paper's backbone, has it. The run's ``sequences`` are the student's.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from gliodistill.distillation import Distiller
from gliodistill.networks import Network
from gliodistill.training.losses import Outputs, deeply_supervised
from gliodistill.training.sampling import Batch

DEFAULT: Mapping[str, Mapping[str, Any]] = {
    "barlow_twins": {"weight": 1e-3, "taps": [("bottleneck", "bottleneck")]}
}


class SingleStage:
    """Both networks learn to segment; the student's latent is drawn to the teacher's, and the
    teacher's to the student's.

    Args:
        student: learns from its sequences.
        outputs: of both networks.
        teacher: learns beside it from all sequences; in a recipe its name and options.
        losses: name → weight, stages and options (:class:`gliodistill.distillation.Distiller`); by
            default Barlow Twins at the bottleneck, with a weight of ours.
        dice: whether Dice stands beside the cross-entropy.

    Raises:
        RecipeError: a loss, option or stage that does not exist or is out of range.
    """

    LEARNING: ClassVar = {"teacher": "complete"}

    def __init__(
        self,
        student: Network,
        outputs: Outputs,
        *,
        teacher: Network,
        losses: dict[str, dict[str, Any]] | None = None,
        dice: bool = True,
    ) -> None:
        self.student, self.teacher, self.outputs, self.dice = student, teacher, outputs, dice
        self.distiller = Distiller(student, teacher, outputs, DEFAULT if losses is None else losses)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms ``segmentation`` (student), ``teacher`` (its segmentation) and one for each
        distillation loss, weighted.
        """
        with self.distiller.listening():
            heads, told = self.student(batch.image), self.teacher(batch.complete)
            return {
                "segmentation": deeply_supervised(
                    heads, batch.regions, self.outputs, dice=self.dice, known=batch.known
                ),
                "teacher": deeply_supervised(
                    told, batch.regions, self.outputs, dice=self.dice, known=batch.known
                ),
                **self.distiller.terms(heads[0], told[0], batch.regions, batch.known),
            }
