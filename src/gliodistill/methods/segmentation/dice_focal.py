"""Soft Dice + focal loss: cross-entropy that counts what is already right for little (Lin et al.,
ICCV 2017).

Focal: −(1 − p_t)^γ · log p_t, the mean over voxels, with p_t the probability of what is there. The
weight −α of the classes is left out: Dice stands against the imbalance (our reading). γ = 0 is
``dice_cross_entropy``.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gliodistill.errors import RecipeError
from gliodistill.methods.segmentation.dice_cross_entropy import soft_dice
from gliodistill.methods.segmentation.outputs import Outputs, region_logits, regions_to_classes
from gliodistill.methods.segmentation.registry import register
from gliodistill.ranks import over_ranks


@register("dice_focal")
def dice_focal(
    logits: Float[Tensor, "B K X Y Z"],
    regions: Float[Tensor, "B R X Y Z"],
    outputs: Outputs,
    *,
    known: Float[Tensor, "B R X Y Z"] | None = None,
    gamma: float = 2.0,
) -> Float[Tensor, ""]:
    """Soft Dice + focal loss (binary per region, or over classes), in float32 or better.

    Args:
        logits: of the network's outputs.
        regions: reference, shares in [0, 1].
        outputs: ``regions`` (K = 3 sigmoids) or ``classes`` (K = 4 soft-max; Dice over the three
            tissues).
        known: the share of a voxel that is known, for each region; None = all known. With it,
            both terms are those of WT, TC and ET, and a region counts only its known voxels.
        gamma: γ, 0 or more; the larger, the less what is right already counts.

    Raises:
        RecipeError: γ is below 0.
    """
    if gamma < 0:
        raise RecipeError("option out of range", field="gamma", got=gamma, expected="0 or more")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if outputs == "classes" and known is None:
        classes, probability = regions_to_classes(regions), logits.softmax(dim=1)
        entropy = -(classes * (1 - probability) ** gamma * logits.log_softmax(dim=1))
        return soft_dice(probability[:, 1:], classes[:, 1:]) + entropy.sum(dim=1).mean()
    logits = region_logits(logits, outputs)
    probability = logits.sigmoid()
    focal = -(
        regions * (1 - probability) ** gamma * F.logsigmoid(logits)
        + (1 - regions) * probability**gamma * F.logsigmoid(-logits)
    )
    if known is None:
        return soft_dice(probability, regions) + focal.mean()
    axes = (0, 2, 3, 4)
    mean = over_ranks((focal * known).sum(axes)) / over_ranks(known.sum(axes)).clamp_min(1e-3)
    return soft_dice(probability, regions, known=known) + mean.mean()
