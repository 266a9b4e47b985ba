"""Barlow Twins: matched and decorrelated latents of two networks."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gliodistill.distillation.pairing import FLOOR, check_widths, on_one_grid, paired
from gliodistill.distillation.registry import register_loss
from gliodistill.errors import RecipeError
from gliodistill.ranks import count, over_ranks


@register_loss("barlow_twins", compares="features", same_width=True)
def barlow_twins(
    student: Sequence[Float[Tensor, "B _ _ _ _"]],
    teacher: Sequence[Float[Tensor, "B _ _ _ _"]],
    *,
    off_diagonal: float = 5e-3,
    stop_gradient: bool = False,
) -> Float[Tensor, ""]:
    r"""Distance of the cross-correlation of two latents from the identity, summed over stages
    (Zbontar et al. 2021, eqs. 1–2).

    .. math:: L = \sum_i (1 - C_{ii})^2 + \lambda \sum_{i \ne j} C_{ij}^2, \qquad C = \hat z_S^\top
    \hat z_T / N

    with :math:`\hat z` the features of each channel less their mean, over their (biased) standard
    deviation. As in the paper, a sum over channels, not a mean: initially the first term is about
    the number of channels.

    Our reading (Choi et al. 2023 do not say): the samples are the *voxels* of the latent, N =
    B·X·Y·Z rows. One pooled vector per case would make N the batch size, and with two rows every
    correlation is ±1. Even two equal latents of C independent channels have a minimum of about
    :math:`\lambda C (C - 1) / N` from chance correlations: 4 for 320 channels at N = 128, so N
    should be hundreds or more.

    Both networks get gradients, as both are trained in the single stage; with ``stop_gradient``
    only the first does. Where grids differ both are average-pooled to the coarser side of each
    axis. A standard deviation below 1e-4 counts as that. Computed in float32 or better, also under
    autocast.

    Args:
        student: latents ``B C X Y Z`` of one network, one tensor per stage.
        teacher: latents of the other, same stages in the same order, as many channels.
        off_diagonal: λ ≥ 0, the weight of redundancy; the default is the Barlow Twins paper's,
            Choi's is unknown.
        stop_gradient: whether the teacher's latents are constants.

    Raises:
        RecipeError: no stages, different numbers of stages or channels, or a single row.
    """
    pairs = paired(student, teacher, "Barlow Twins")
    with torch.autocast(student[0].device.type, enabled=False):
        return torch.stack(
            [_redundancy(s, t.detach() if stop_gradient else t, off_diagonal) for s, t in pairs]
        ).sum()


def _redundancy(student: Tensor, teacher: Tensor, off_diagonal: float) -> Tensor:
    check_widths(student, teacher, "Barlow Twins")
    a, b = (_standard(x) for x in on_one_grid(student, teacher))
    correlation = over_ranks(a.T @ b) / (len(a) * count())
    on_diagonal = correlation.diagonal()
    invariance = (1 - on_diagonal).square().sum()
    return invariance + off_diagonal * (correlation.square().sum() - on_diagonal.square().sum())


def _standard(latent: Tensor) -> Tensor:
    """``B C X Y Z`` → N rows of C, each column of mean 0 and standard deviation 1."""
    rows = latent.movedim(1, -1).flatten(0, 3)
    if len(rows) < 2:
        raise RecipeError(
            "one voxel has no correlations",
            field="taps",
            got=f"{len(rows)} row",
            expected="two or more, preferably hundreds",
        )
    number = len(rows) * count()
    centred = rows - over_ranks(rows.sum(0)) / number
    variance = over_ranks(centred.square().sum(0)) / number
    return centred * variance.clamp_min(FLOOR**2).rsqrt()
