"""Normalisation layers that keep features channels-last."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.errors import RecipeError


class InstanceNorm(nn.Module):
    r"""Instance normalisation with a learned scale and offset per channel (Ulyanov et al. 2016).

    Each channel of each sample gets mean 0 and (biased) variance 1 over its voxels, in training and in
    evaluation alike: :math:`y = \gamma (x - \mu) / \sqrt{\sigma^2 + 10^{-5}} + \beta`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B C X Y Z"]:
        """Normalise each channel of each sample."""
        return nn.functional.instance_norm(x, weight=self.weight, bias=self.bias)


def normalisation(kind: str, channels: int) -> nn.Module:
    """A norm over ``channels``: ``instance``, ``group`` (8 groups, or the most below 8 that divide) or ``batch``.

    Raises:
        RecipeError: another kind.
    """
    if kind == "instance":
        return InstanceNorm(channels)
    if kind == "group":
        return nn.GroupNorm(max(groups for groups in range(1, 9) if channels % groups == 0), channels)
    if kind == "batch":
        return nn.BatchNorm3d(channels)
    raise RecipeError("unknown norm", field="norm", got=kind, expected="instance, group or batch")
