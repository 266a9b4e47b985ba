"""Deep supervision: a segmentation loss over every head of a network, the finest weighing most."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gliodistill.methods.segmentation.outputs import Outputs
from gliodistill.methods.segmentation.registry import SegmentationLoss


def deep_supervision_weights(heads: int) -> list[float]:
    """2⁻ⁱ for head i (0 = finest), normalised to sum 1."""
    weights = [2.0**-i for i in range(heads)]
    return [w / sum(weights) for w in weights]


def deeply_supervised(
    heads: Sequence[Float[Tensor, "B K _ _ _"]],
    regions: Float[Tensor, "B R X Y Z"],
    outputs: Outputs,
    *,
    loss: SegmentationLoss = SegmentationLoss(),  # noqa: B008 (it cannot change)
    known: Bool[Tensor, "B R _ _ _"] | None = None,
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
        total = total + weight * loss(logits, truth, outputs, share)
    return total
