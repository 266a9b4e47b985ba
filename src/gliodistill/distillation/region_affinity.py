"""Region affinity: similarities of tissues in feature space match the teacher's."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from gliodistill.distillation.pairing import FLOOR, paired, wide
from gliodistill.distillation.registry import register_loss
from gliodistill.ranks import over_ranks


@register_loss("region_affinity", compares="features")
def region_affinity(
    student: Sequence[Float[Tensor, "B _ _ _ _"]],
    teacher: Sequence[Float[Tensor, "B _ _ _ _"]],
    *,
    regions: Float[Tensor, "B R X Y Z"],
    known: Bool[Tensor, "B R _ _ _"] | None = None,
) -> Float[Tensor, ""]:
    r"""Squared difference of the cosines between tissues' mean features, mean over pairs of
    tissues, summed over stages.

    EMKD, Qin et al. 2021 (region affinity distillation): a stage's features, averaged over the
    voxels of each tissue of the reference, give one vector :math:`m_k` per tissue; the loss of a
    pair is :math:`(\cos(m^S_i, m^S_j) - \cos(m^T_i, m^T_j))^2`, in [0, 4]. The paper's organs and
    tumours are two tissues, one pair. Our reading for gliomas: background, NCR, ED and ET, which do
    not overlap (nested WT, TC, ET would be similar because they share voxels): six pairs. A tissue
    with less than one voxel in a sample is omitted with its pairs, and the mean is over the
    remaining pairs of the batch, so that rare tissues keep their weight; without any pair the loss
    is 0.

    Channel counts and grids may differ: the reference is average-pooled to each network's grid,
    where a voxel's weight for a tissue is its share (the authors use the nearest voxel, which loses
    small parts at coarse stages). Norms below 1e-4 count as that. Computed in float32 or better,
    also under autocast. No gradient reaches the teacher.

    Args:
        student: features ``B C X Y Z`` of the student, one tensor per stage.
        teacher: features of the teacher, same stages in the same order.
        regions: reference, shares of WT, TC, ET in [0, 1], on the grid of the image.
        known: where each is known; voxels with an unknown region belong to no tissue. None = all
            known.

    Raises:
        RecipeError: no stages, or different numbers.
    """
    pairs = paired(student, teacher, "region affinity")
    with torch.autocast(student[0].device.type, enabled=False):
        tissues = _tissues(wide(regions))
        if known is not None:
            tissues = tissues * known.all(1, keepdim=True)
        present = (tissues.sum((2, 3, 4)) >= 1).float()
        counts = torch.triu(present.unsqueeze(2) * present.unsqueeze(1), diagonal=1)
        differences = [
            (_affinity(s, tissues) - _affinity(t.detach(), tissues)).square() for s, t in pairs
        ]
        return torch.stack(
            [over_ranks((counts * difference).sum()) for difference in differences]
        ).sum() / over_ranks(counts.sum()).clamp(min=1)


def _tissues(regions: Tensor) -> Tensor:
    """Nested WT, TC, ET → background, NCR, ED, ET."""
    whole, core, enhancing = regions.unbind(1)
    return torch.stack([1 - whole, core - enhancing, whole - core, enhancing], 1).clamp(min=0)


def _affinity(features: Tensor, tissues: Tensor) -> Tensor:
    """Cosines between the tissues' mean features, ``B 4 4``."""
    x, y, z = features.shape[2:]
    shares = functional.adaptive_avg_pool3d(tissues, (x, y, z)).flatten(2).to(features.dtype)
    # An absent tissue has no mean: its vector is 0 and its pairs are ignored.
    shares = shares / shares.sum(2, keepdim=True).clamp(min=FLOOR)
    means = functional.normalize(shares @ features.flatten(2).mT, dim=2, eps=FLOOR)
    return means @ means.mT
