"""Normalisation layers by name."""

from torch import nn

from gliodistill.errors import RecipeError
from gliodistill.networks.layers.instance_norm import InstanceNorm
from gliodistill.networks.layers.subset_norm import SubsetNorm


def normalisation(kind: str, channels: int) -> nn.Module:
    """A norm over ``channels``: ``instance``, ``group`` (8 groups, or the most below 8 that
    divide), ``batch`` or ``subset``.

    Raises:
        RecipeError: another kind.
    """
    if kind == "instance":
        return InstanceNorm(channels)
    if kind == "group":
        return nn.GroupNorm(
            max(groups for groups in range(1, 9) if channels % groups == 0), channels
        )
    if kind == "batch":
        return nn.BatchNorm3d(channels)
    if kind == "subset":
        return SubsetNorm(channels)
    raise RecipeError(
        "unknown norm", field="norm", got=kind, expected="instance, group, batch or subset"
    )
