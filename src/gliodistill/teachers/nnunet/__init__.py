"""A trained nnU-Net v2 as a teacher: its plans, preparation, network and sliding window."""

from gliodistill.teachers.nnunet.teacher import NnUNet

__all__ = ["NnUNet"]
