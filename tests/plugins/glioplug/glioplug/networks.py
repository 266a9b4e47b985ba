"""A network of two convolutions."""

import torch
from torch import Tensor, nn

import gliodistill as gd


class PlugNet(gd.networks.Network):
    """Two convolutions with a ReLU between them."""

    divisor = 1

    def __init__(self, in_channels: int = 4, out_channels: int = 3, width: int = 6) -> None:
        super().__init__()
        self.first = nn.Conv3d(in_channels, width, 3, padding=1)
        self.head = nn.Conv3d(width, out_channels, 1)

    @property
    def taps(self) -> dict[str, nn.Module]:
        """The one stage."""
        return {"bottleneck": self.first}

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits."""
        return (self.head(torch.relu(self.first(x))),)
