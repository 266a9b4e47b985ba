"""Soft Dice + cross-entropy: the segmentation loss of a recipe that names none (as in nnU-Net)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gliodistill.methods.segmentation.outputs import Outputs, region_logits, regions_to_classes
from gliodistill.methods.segmentation.registry import register
from gliodistill.ranks import over_ranks


def soft_dice(
    probability: Float[Tensor, "B K X Y Z"],
    target: Float[Tensor, "B K X Y Z"],
    smooth: float = 1e-5,
    known: Float[Tensor, "B K X Y Z"] | None = None,
) -> Float[Tensor, ""]:
    """1 − mean over channels of the batch-joint soft Dice, (2·Σpt + ε) / (Σp + Σt + ε).

    Milletari et al. 2016 with p and t in the sizes not squared, joint over the batch as in nnU-Net
    (Isensee et al. 2021): with joint sums, a region absent from one patch does not give a Dice of 0
    or 1.

    Args:
        probability: in [0, 1].
        target: in [0, 1].
        smooth: ε, in voxels.
        known: weight of each voxel, in [0, 1]; None = 1 everywhere.
    """
    axes = (0, 2, 3, 4)
    if known is not None:
        probability, target = probability * known, target * known
    overlap = over_ranks((probability * target).sum(axes))
    size = over_ranks(probability.sum(axes) + target.sum(axes))
    return 1 - ((2 * overlap + smooth) / (size + smooth)).mean()


@register("dice_cross_entropy")
def segmentation_loss(
    logits: Float[Tensor, "B K X Y Z"],
    regions: Float[Tensor, "B R X Y Z"],
    outputs: Outputs,
    *,
    dice: bool = True,
    known: Float[Tensor, "B R X Y Z"] | None = None,
) -> Float[Tensor, ""]:
    """Soft Dice + cross-entropy (binary per region, or over classes), in float32 or better.

    With ``known``, the cross-entropy is the mean over the regions of the mean over their known
    voxels, and a region of which nothing is known adds 0. It is that of WT, TC and ET for
    ``classes`` too, because a known whole tumour restricts the classes of a voxel without
    determining one.

    Args:
        logits: of the network's outputs.
        regions: reference, shares in [0, 1].
        outputs: ``regions`` (K = 3 sigmoids) or ``classes`` (K = 4 soft-max; Dice over the three
            tissues).
        dice: whether to add Dice to the cross-entropy.
        known: the share of a voxel that is known, for each region, in [0, 1]; None = all known.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if known is not None:
        return _partial_loss(region_logits(logits, outputs), regions, known, dice)
    if outputs == "regions":
        entropy = F.binary_cross_entropy_with_logits(logits, regions)
        return soft_dice(logits.sigmoid(), regions) + entropy if dice else entropy
    classes = regions_to_classes(regions)
    entropy = F.cross_entropy(logits, classes)
    return soft_dice(logits.softmax(dim=1)[:, 1:], classes[:, 1:]) + entropy if dice else entropy


def _partial_loss(
    logits: Float[Tensor, "B R X Y Z"],
    regions: Float[Tensor, "B R X Y Z"],
    known: Float[Tensor, "B R X Y Z"],
    dice: bool,
) -> Float[Tensor, ""]:
    axes = (0, 2, 3, 4)
    entropy = F.binary_cross_entropy_with_logits(logits, regions, known, reduction="none")
    voxels = over_ranks(known.sum(axes)).clamp_min(1e-3)
    entropy = (over_ranks(entropy.sum(axes)) / voxels).mean()
    return soft_dice(logits.sigmoid(), regions, known=known) + entropy if dice else entropy
