"""Omni-supervision: training on experts' labels and on an ensemble's pseudo-labels (Lachinov et
al., BrainLes 2019).

From the paper: one student is trained on labelled and pseudo-labelled patients with one loss, which
treats both alike (``pseudo_weight: 1``). Ours: fixed numbers of both in every batch, the weight,
and soft labels; the paper's batch is one patch. Pseudo-labels come from ``gliodistill
pseudo-label``, patches from ``runs.<name>.pseudo``.
"""

from torch import Tensor

from gliodistill.errors import RecipeError
from gliodistill.methods.base import Batch, Method, Needs
from gliodistill.methods.registry import register_method
from gliodistill.methods.segmentation import Outputs
from gliodistill.networks import Network
from gliodistill.ranks import count


@register_method("omni", needs=Needs(pseudo_labels=True))
class Omni(Method):
    """One deeply supervised segmentation loss over the whole batch; with a weight other than 1, a
    weighted mean of two.

    Then it is Σ over labelled and pseudo-labelled of n·w·L / Σ n·w: n patches of a kind in the
    batch, w = 1 for labelled ones, L the loss of a kind's patches, Dice joint over them.

    Args:
        student: the network to train.
        outputs: what its logits mean.
        pseudo_weight: w of a pseudo-labelled patch; usually 0 to 1; 0 omits the term.

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
        """Term ``segmentation``; with a weight other than 1, of labelled patches only, and
        ``pseudo`` of the others, weighted.
        """
        heads = self.student(batch.image)
        if self.pseudo_weight == 1:  # Dice joint over all patches, as in the baseline
            return {"segmentation": self.segmentation(heads, batch)}
        if count() > 1:
            raise RecipeError(
                "pseudo_weight on several ranks",
                field="options.pseudo_weight",
                got=self.pseudo_weight,
                expected="1: kinds of patches lie on different ranks",
                hint="train without torchrun",
            )
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
