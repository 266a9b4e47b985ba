"""Mean squared error of probabilities."""

import torch.nn.functional as F
from torch import Tensor

import gliodistill as gd


@gd.segmentation_losses.register("plug_segmentation")
def plug_segmentation(
    logits: Tensor,
    regions: Tensor,
    outputs: str,
    *,
    known: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    """Mean squared error of the probabilities of WT, TC and ET."""
    if outputs != "regions":
        raise ValueError("plug_segmentation needs outputs: regions")
    weight = 1.0 if known is None else known
    return scale * (weight * F.mse_loss(logits.sigmoid(), regions, reduction="none")).mean()
