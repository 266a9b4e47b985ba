"""Channel-wise distillation: the spatial distribution of each channel matches the teacher's."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gliodistill.distillation.pairing import wide
from gliodistill.distillation.registry import register_loss


@register_loss("channel_wise", compares="logits")
def channel_wise(
    student: Float[Tensor, "B K X Y Z"],
    teacher: Float[Tensor, "B K X Y Z"],
    *,
    outputs: Literal["regions", "classes"] = "regions",
    temperature: float = 4.0,
) -> Float[Tensor, ""]:
    r"""T² · KL(teacher ‖ student) of soft-maxes over *space*, mean over channels and batch (CWD,
    Shu et al. 2021).

    Each channel of each sample is one distribution over its V voxels, :math:`\phi =
    \mathrm{softmax}_v(y_{kv} / T)`:

    .. math:: L = \frac{T^2}{B K} \sum_{b,k} \sum_{v} \phi^T_{bkv} \log
    \frac{\phi^T_{bkv}}{\phi^S_{bkv}}

    As in the paper and its authors' code: *summed* over voxels, which share one distribution, and
    divided only by the number of channels and samples. It is in nats and independent of tiling.
    (Also divided by V, it would vanish at 128³.)

    The loss is invariant to a constant added to a channel: it transfers locations, not confidence.
    Another loss, e.g. the segmentation loss, must determine the level. The logits are used for both
    kinds of outputs; for regions that is our reading, as the paper has only classes.

    Computed in float32 or better, also under autocast. No gradient reaches the teacher.

    Args:
        student: logits of the student.
        teacher: logits of the teacher, on the same grid.
        outputs: kind of the channels; not used here.
        temperature: T > 0; higher spreads the distribution over more voxels. 4 is ours.

    Example:
        >>> import torch
        >>> logits = torch.randn(1, 3, 4, 4, 4)
        >>> float(channel_wise(logits + 5, logits)) < 1e-5  # a constant changes nothing
        True
    """
    with torch.autocast(student.device.type, enabled=False):
        log_q, log_p = (
            (wide(x).flatten(2) / temperature).log_softmax(2) for x in (student, teacher.detach())
        )
        return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(2).mean()
