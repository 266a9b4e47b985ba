"""A last stage at full resolution: the image itself corrects the logits of a coarser trunk."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Refinement(nn.Module):
    """Add to logits what convolutions of the image and the logits say, voxel by voxel.

    A trunk that works on a grid 2 or 4 times coarser writes thin rims and small parts from features
    that no longer hold them. This stage sees every voxel of the input beside the trunk's logits. It
    is a residual one whose last convolution starts at 0, so an untrained stage changes nothing, and
    a trained network may get one later (``init_from`` a run without it).

    Args:
        in_channels: image sequences C.
        out_channels: logits K per voxel.
        stage: builds the convolutions, from C + K channels to ``width``.
        width: their channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        stage: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        self.stage = stage(in_channels + out_channels, width)
        self.correction = nn.Conv3d(width, out_channels, 1)
        self.reset()

    def reset(self) -> None:
        """Correct nothing."""
        nn.init.zeros_(self.correction.weight)
        if self.correction.bias is not None:
            nn.init.zeros_(self.correction.bias)

    def forward(
        self, logits: Float[Tensor, "B K X Y Z"], image: Float[Tensor, "B C X Y Z"]
    ) -> Float[Tensor, "B K X Y Z"]:
        """Corrected logits."""
        joined = torch.cat((logits, image.to(logits.dtype)), dim=1)
        correction: Tensor = self.correction(self.stage(joined))
        return logits + correction
