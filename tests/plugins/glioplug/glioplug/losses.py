"""Mean squared difference of probabilities."""

from torch import Tensor

import gliodistill as gd


def plug_loss(student: Tensor, teacher: Tensor, *, power: float = 2.0) -> Tensor:
    """Mean |p_s − p_t|^power."""
    return (student.sigmoid() - teacher.detach().sigmoid()).abs().pow(power).mean()


PLUG_LOSS = gd.losses.DistillationLoss(plug_loss, "logits")
