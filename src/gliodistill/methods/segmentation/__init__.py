"""Segmentation losses: from logits and the reference, over every head of deep supervision.

With partial labels, a loss counts only known voxels of known regions (``known``); others have no
gradient. A region has the same weight whatever else is known.
"""

from gliodistill.methods.segmentation.deep_supervision import (
    deep_supervision_weights,
    deeply_supervised,
)
from gliodistill.methods.segmentation.dice_cross_entropy import segmentation_loss, soft_dice
from gliodistill.methods.segmentation.dice_focal import dice_focal
from gliodistill.methods.segmentation.outputs import (
    Outputs,
    class_logits_to_region_logits,
    region_logits,
    regions_to_classes,
)
from gliodistill.methods.segmentation.registry import (
    SEGMENTATION_LOSSES,
    SegmentationLoss,
    names,
    register,
)

__all__ = [
    "SEGMENTATION_LOSSES",
    "Outputs",
    "SegmentationLoss",
    "class_logits_to_region_logits",
    "deep_supervision_weights",
    "deeply_supervised",
    "dice_focal",
    "names",
    "region_logits",
    "regions_to_classes",
    "register",
    "segmentation_loss",
    "soft_dice",
]
