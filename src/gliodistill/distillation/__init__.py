"""Distillation: what a student can learn from a teacher, one loss per file."""

from gliodistill.distillation.attention_transfer import attention_transfer
from gliodistill.distillation.soft_target import soft_target
from gliodistill.distillation.taps import FeatureTaps

__all__ = ["FeatureTaps", "attention_transfer", "soft_target"]
