"""The segmentation loss: soft Dice + cross-entropy, over every head of deep supervision."""

from collections.abc import Sequence as Ordered

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gliodistill.training.recipe import Outputs as Outputs


def regions_to_classes(regions: Float[Tensor, "B 3 X Y Z"]) -> Float[Tensor, "B 4 X Y Z"]:
    """Shares of WT, TC, ET (nested, in [0, 1]) → shares of background, NCR, ED, ET that sum to 1."""
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
) -> Float[Tensor, ""]:
    """1 − mean over channels of the batch-joint soft Dice, (2·Σpt + ε) / (Σp + Σt + ε).

    Milletari et al. 2016 with p and t in the sizes not squared, joint over the batch as in nnU-Net
    (Isensee et al. 2021): joint sums keep an absent region in one patch from asking for its
    all-or-nothing Dice.

    Args:
        probability: in [0, 1].
        target: in [0, 1].
        smooth: ε, in voxels.
    """
    axes = (0, 2, 3, 4)
    overlap = (probability * target).sum(axes)
    size = probability.sum(axes) + target.sum(axes)
    return 1 - ((2 * overlap + smooth) / (size + smooth)).mean()


def segmentation_loss(
    logits: Float[Tensor, "B K X Y Z"],
    regions: Float[Tensor, "B 3 X Y Z"],
    outputs: Outputs,
    *,
    dice: bool = True,
) -> Float[Tensor, ""]:
    """Soft Dice + cross-entropy (binary per region, or over classes), in float32 or better.

    Args:
        logits: of the network's outputs.
        regions: truth, shares in [0, 1].
        outputs: ``regions`` (K = 3 sigmoids) or ``classes`` (K = 4 soft-max; Dice over the three
        tissues).
        dice: whether Dice stands beside the cross-entropy.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if outputs == "regions":
        entropy = F.binary_cross_entropy_with_logits(logits, regions)
        return soft_dice(logits.sigmoid(), regions) + entropy if dice else entropy
    classes = regions_to_classes(regions)
    entropy = F.cross_entropy(logits, classes)
    return soft_dice(logits.softmax(dim=1)[:, 1:], classes[:, 1:]) + entropy if dice else entropy


def deep_supervision_weights(heads: int) -> list[float]:
    """2⁻ⁱ for head i (0 = finest), normalised to sum 1."""
    weights = [2.0**-i for i in range(heads)]
    return [w / sum(weights) for w in weights]


def deeply_supervised(
    heads: Ordered[Float[Tensor, "B K _ _ _"]],
    regions: Float[Tensor, "B 3 X Y Z"],
    outputs: Outputs,
    *,
    dice: bool = True,
) -> Float[Tensor, ""]:
    """Σ wᵢ · segmentation loss of head i; coarse truths are area averages, so small parts become
    shares instead of vanishing.
    """
    total = torch.zeros((), device=heads[0].device)
    for weight, logits in zip(deep_supervision_weights(len(heads)), heads, strict=True):
        x, y, z = logits.shape[2:]
        truth = (
            regions if regions.shape[2:] == (x, y, z) else F.adaptive_avg_pool3d(regions, (x, y, z))
        )
        total = total + weight * segmentation_loss(logits, truth, outputs, dice=dice)
    return total
