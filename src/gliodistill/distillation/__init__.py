"""Distillation losses, one per file."""

from gliodistill.distillation.attention_transfer import attention_transfer
from gliodistill.distillation.barlow_twins import barlow_twins
from gliodistill.distillation.channel_wise import channel_wise
from gliodistill.distillation.dist import dist
from gliodistill.distillation.distiller import Distiller
from gliodistill.distillation.mutual import mutual
from gliodistill.distillation.region_affinity import region_affinity
from gliodistill.distillation.registry import LOSSES, DistillationLoss, register_loss
from gliodistill.distillation.soft_target import soft_target
from gliodistill.distillation.taps import FeatureTaps

names = LOSSES.names
"""Names of all distillation losses, sorted: what a recipe may name."""
register = register_loss
"""``gd.losses.register``: another name for :func:`register_loss`."""

__all__ = [
    "LOSSES",
    "DistillationLoss",
    "Distiller",
    "FeatureTaps",
    "attention_transfer",
    "barlow_twins",
    "channel_wise",
    "dist",
    "mutual",
    "names",
    "region_affinity",
    "register",
    "register_loss",
    "soft_target",
]
