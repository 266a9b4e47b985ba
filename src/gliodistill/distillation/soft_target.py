"""Soft targets: the student matches the teacher's distribution at every voxel."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gliodistill.distillation.logit_standardisation import standardise as standardised
from gliodistill.distillation.pairing import wide
from gliodistill.distillation.registry import register_loss
from gliodistill.errors import RecipeError


@register_loss("soft_target", compares="logits")
def soft_target(
    student: Float[Tensor, "B K X Y Z"],
    teacher: Float[Tensor, "B K X Y Z"],
    *,
    outputs: Literal["regions", "classes"] = "regions",
    temperature: float = 4.0,
    standardise: bool = False,
) -> Float[Tensor, ""]:
    r"""T² · KL(teacher ‖ student) at temperature T, mean over voxels and batch (Hinton et al. 2015,
    section 2).

    * ``classes``: one distribution over the K classes per voxel, :math:`\sum_c p_c \log (p_c /
      q_c)` of the soft-maxes over dimension 1 of the logits divided by T.
    * ``regions``: K overlapping regions (sigmoids). Our reading: the K Bernoulli divergences of a
      voxel are *summed*, which is the divergence of the two joint distributions of independent
      regions, so that both kinds of output are one KL per voxel, in nats.

    T² keeps the size of the gradient about independent of T. Computed in float32 or better, also
    under autocast. No gradient reaches the teacher.

    Args:
        student: logits of the student.
        teacher: logits of the teacher, on the same grid.
        outputs: kind of the K channels.
        temperature: T > 0; the papers do not give all values; 4 is ours.
        standardise: z-score both networks' logits over the classes first (Sun et al. 2024; their
            recipe: T = 2, weight 9).

    Raises:
        RecipeError: ``standardise`` with regions.

    Example:
        >>> import torch
        >>> logits = torch.randn(1, 3, 4, 4, 4)
        >>> float(soft_target(logits, logits, temperature=2.0))
        0.0
    """
    if standardise and outputs == "regions":
        raise RecipeError(
            "logit standardisation needs classes",
            field="standardise",
            got="outputs regions",
            expected="outputs classes",
            hint=(
                "regions are independent sigmoids: each logit has its own zero, and a z-score"
                " across them would move it"
            ),
        )
    with torch.autocast(student.device.type, enabled=False):
        s, t = (
            standardised(x, temperature) if standardise else wide(x) / temperature
            for x in (student, teacher.detach())
        )
        if outputs == "classes":
            log_p, log_q = t.log_softmax(1), s.log_softmax(1)
            divergence = (log_p.exp() * (log_p - log_q)).sum(1)
        else:
            # Both halves from log-sigmoids: exact where a sigmoid would round to 0 or 1.
            inside = t.sigmoid() * (functional.logsigmoid(t) - functional.logsigmoid(s))
            outside = (-t).sigmoid() * (functional.logsigmoid(-t) - functional.logsigmoid(-s))
            divergence = (inside + outside).sum(1)
        return temperature**2 * divergence.mean()
