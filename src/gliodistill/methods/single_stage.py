"""Single stage: teacher and student are trained in the same iteration; the student has only some
sequences (Choi et al., CMPB 2023).

Loss = Σ wᵢ CE(teacherᵢ) + Σ wᵢ CE(studentᵢ) + β · Barlow Twins(z_S, z_T). From the paper: one
stage, Barlow Twins between the two latents, deeply supervised cross-entropy on both paths. Our
reading: the latent is the bottleneck, its voxels are the samples, λ = 5e-3, wᵢ = 2⁻ⁱ normalised (a
coarsest head of weight 0 is one head fewer in ``deep_supervision``), β, and by default Dice in
addition to the cross-entropy, as in nnU-Net, the paper's backbone. The run's ``sequences`` are the
student's.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gliodistill.methods.base import Batch, Method, Needs
from gliodistill.methods.registry import register_method
from gliodistill.methods.segmentation import Outputs, SegmentationLoss
from gliodistill.networks import Network

DEFAULT: Mapping[str, Mapping[str, Any]] = {
    "barlow_twins": {"weight": 1e-3, "taps": [("bottleneck", "bottleneck")]}
}


@register_method("single_stage", needs=Needs(jointly_trained={"teacher": "complete"}))
class SingleStage(Method):
    """Segmentation losses of both networks + distillation losses between their latents, with
    gradients to both.

    Args:
        student: the network to train, on its sequences.
        outputs: of both networks.
        teacher: trained together with it on all sequences; in a recipe its name and options.
        losses: name → weight, stages and options (:class:`gliodistill.distillation.Distiller`); by
            default Barlow Twins at the bottleneck, with a weight of ours.
        dice: whether to add Dice to the cross-entropy of the segmentation loss.

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
        dice: bool = True,
    ) -> None:
        super().__init__(student, outputs)
        self.teacher, self.dice = self.train_jointly("teacher", teacher), dice
        self.segment_by(self.segmentation_loss)
        self.distiller = self.distil_from(teacher, DEFAULT if losses is None else losses)

    def segment_by(self, loss: SegmentationLoss) -> None:
        """Take the recipe's segmentation loss, without its Dice where ``dice`` is false."""
        super().segment_by(loss if self.dice else loss.with_options(dice=False))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms ``segmentation`` (student), ``teacher`` (its segmentation) and one for each
        distillation loss, weighted.
        """
        with self.distiller.hooked():
            heads, told = self.student(batch.image), self.teacher(batch.complete)
            return {
                "segmentation": self.segmentation(heads, batch),
                "teacher": self.segmentation(told, batch),
                **self.distiller.terms(heads[0], told[0], batch.regions, batch.known),
            }
