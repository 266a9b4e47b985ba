"""Logit standardisation: the student matches the relations of the teacher's logits, not their
scale.
"""

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gliodistill.distillation.pairing import FLOOR, wide


def standardise(
    logits: Float[Tensor, "B K X Y Z"], temperature: float = 1.0
) -> Float[Tensor, "B K X Y Z"]:
    r"""Z-score over the K classes of each voxel, divided by T (Sun et al. 2024).

    :math:`(z - \bar z) / (\sigma T)` with mean and standard deviation over dimension 1, so that a
    small network need not match the scale of a large one's logits. Public ports take the *last*
    dimension, which in a volume is an axis of space. Here :math:`\sigma^2 = \frac{1}{K} \sum_k (z_k
    - \bar z)^2`; the authors' code divides by K − 1, which at K = 4 is a T higher by 15 %.

    For two classes the result is ±1/T whatever the logits; only the order remains. For equal logits
    of a voxel the result is 0 (norms below 1e-4 count as that). In float32 or better.

    Args:
        logits: of a soft-max over dimension 1.
        temperature: T > 0.
    """
    z = wide(logits)
    unit = functional.normalize(z - z.mean(1, keepdim=True), dim=1, eps=FLOOR)
    return unit * (math.sqrt(z.shape[1]) / temperature)
