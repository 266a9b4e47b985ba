"""Omni-supervision: learning from experts' labels and from an ensemble's pseudo-labels alike
(Lachinov et al., BrainLes 2019).

One student learns from labelled and pseudo-labelled patients with one loss, and neither kind is
marked: that is the paper's,
and ``pseudo_weight: 1``. That both are in every batch in fixed numbers, the weight, and soft labels
are ours; the paper's batch is one patch. Pseudo-labels come from ``gliodistill pseudo-label``,
patches from ``runs.<name>.pseudo``.
"""

from torch import Tensor

from gliodistill.errors import RecipeError
from gliodistill.methods.base import Batch, Method, Needs
from gliodistill.methods.registry import register_method
from gliodistill.methods.segmentation import Outputs
from gliodistill.networks import Network


@register_method("omni", needs=Needs(pseudo_labels=True))
class Omni(Method):
    """One deeply supervised segmentation loss over the whole batch; with a weight other than 1, a
    weighted mean of two.

    Then it is Σ over labelled and pseudo-labelled of n·w·L / Σ n·w: n patches of a kind in the
    batch, w = 1 for labelled ones, L the loss of a kind's patches, Dice joint over them.

    Args:
        student: learns.
        outputs: what its logits mean.
        pseudo_weight: w of a pseudo-labelled patch; 0 to 1 makes sense, 0 leaves its term out.

    Raises:
        RecipeError: the weight is below 0.
    """

    def __init__(self, student: Network, outputs: Outputs, *, pseudo_weight: float = 1.0) -> None:
        if pseudo_weight < 0:
            raise RecipeError(
                "method option out of range",
                field="options.pseudo_weight",
                got=pseudo_weight,
                expected="0 or more",
            )
        super().__init__(student, outputs)
        self.pseudo_weight = pseudo_weight

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Term ``segmentation``; with a weight other than 1 of labelled patches alone, and
        ``pseudo`` of the others, weighted.
        """
        heads = self.student(batch.image)
        if self.pseudo_weight == 1:  # Dice joint over all patches, as the baseline has it
            return {"segmentation": self.segmentation(heads, batch)}
        kinds = {"segmentation": (~batch.pseudo, 1.0), "pseudo": (batch.pseudo, self.pseudo_weight)}
        weights = {name: weight * int(chosen.sum()) for name, (chosen, weight) in kinds.items()}
        return {
            name: (
                weights[name]
                / sum(weights.values())
                * self.segmentation([head[chosen] for head in heads], batch[chosen])
            )
            for name, (chosen, _) in kinds.items()
            if weights[name]
        }
