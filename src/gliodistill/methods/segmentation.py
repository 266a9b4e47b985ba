"""The segmentation loss: soft Dice + cross-entropy, over every head of deep supervision.

With partial labels, both terms count only known voxels of known regions (``known``); others have no
gradient. A region has the same weight whatever else is known.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gliodistill.recipes.schema import Outputs as Outputs


def regions_to_classes(regions: Float[Tensor, "B 3 X Y Z"]) -> Float[Tensor, "B 4 X Y Z"]:
    """Shares of WT, TC, ET (nested, in [0, 1]) → shares of background, NCR, ED, ET (sum 1)."""
    whole, core, enhancing = regions.unbind(dim=1)
    return torch.stack([1 - whole, core - enhancing, whole - core, enhancing], dim=1)


def class_logits_to_region_logits(logits: Float[Tensor, "B 4 X Y Z"]) -> Float[Tensor, "B 3 X Y Z"]:
    """Soft-max logits over background, NCR, ED, ET → logits of WT, TC, ET with the same
    probabilities.
    """
    background, necrosis, oedema, enhancing = logits.unbind(dim=1)
    whole = _log_odds([necrosis, oedema, enhancing], [background])
    core = _log_odds([necrosis, enhancing], [background, oedema])
    return torch.stack([whole, core, _log_odds([enhancing], [background, necrosis, oedema])], dim=1)


def _log_odds(inside: list[Tensor], outside: list[Tensor]) -> Tensor:
    return torch.logsumexp(torch.stack(inside), 0) - torch.logsumexp(torch.stack(outside), 0)


def region_logits(
    logits: Float[Tensor, "B K X Y Z"], outputs: Outputs
) -> Float[Tensor, "B 3 X Y Z"]:
    """Logits of WT, TC, ET whatever the network's outputs are."""
    return logits if outputs == "regions" else class_logits_to_region_logits(logits)


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
    overlap = (probability * target).sum(axes)
    size = probability.sum(axes) + target.sum(axes)
    return 1 - ((2 * overlap + smooth) / (size + smooth)).mean()


def segmentation_loss(
    logits: Float[Tensor, "B K X Y Z"],
    regions: Float[Tensor, "B 3 X Y Z"],
    outputs: Outputs,
    *,
    dice: bool = True,
    known: Float[Tensor, "B 3 X Y Z"] | None = None,
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
    logits: Float[Tensor, "B 3 X Y Z"],
    regions: Float[Tensor, "B 3 X Y Z"],
    known: Float[Tensor, "B 3 X Y Z"],
    dice: bool,
) -> Float[Tensor, ""]:
    axes = (0, 2, 3, 4)
    entropy = F.binary_cross_entropy_with_logits(logits, regions, known, reduction="none")
    entropy = (entropy.sum(axes) / known.sum(axes).clamp_min(1e-3)).mean()
    return soft_dice(logits.sigmoid(), regions, known=known) + entropy if dice else entropy


def deep_supervision_weights(heads: int) -> list[float]:
    """2⁻ⁱ for head i (0 = finest), normalised to sum 1."""
    weights = [2.0**-i for i in range(heads)]
    return [w / sum(weights) for w in weights]


def deeply_supervised(
    heads: Sequence[Float[Tensor, "B K _ _ _"]],
    regions: Float[Tensor, "B 3 X Y Z"],
    outputs: Outputs,
    *,
    dice: bool = True,
    known: Bool[Tensor, "B 3 _ _ _"] | None = None,
) -> Float[Tensor, ""]:
    """Σ wᵢ · segmentation loss of head i; coarse references are area averages, so that small parts
    become shares instead of vanishing.

    ``known`` is that of :class:`gliodistill.methods.Batch`. A partly known coarse voxel has the
    average of its known part, and that part's share as its weight.
    """
    weights = None if known is None else known.to(regions.dtype).expand_as(regions)
    total = torch.zeros((), device=heads[0].device)
    for weight, logits in zip(deep_supervision_weights(len(heads)), heads, strict=True):
        x, y, z = logits.shape[2:]
        truth, share = regions, weights
        if regions.shape[2:] != (x, y, z):
            if weights is None:
                truth = F.adaptive_avg_pool3d(regions, (x, y, z))
            else:
                share = F.adaptive_avg_pool3d(weights, (x, y, z))
                truth = F.adaptive_avg_pool3d(regions * weights, (x, y, z)) / share.clamp_min(1e-6)
        total = total + weight * segmentation_loss(logits, truth, outputs, dice=dice, known=share)
    return total
