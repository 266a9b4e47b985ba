"""The exported network: uint8 levels in, one map of logits out."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from gliodistill.networks import Network
from gliodistill.preparation.quantise import OFFSET, STEP


class LevelsInput(nn.Module):
    """Wraps a network so that it takes the levels of :mod:`gliodistill.preparation.quantise`.

    Dequantisation inside the graph keeps the image at one byte per voxel and leaves no second
    implementation. Level 0 (outside, or sequence missing) is 0.0.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: UInt8[Tensor, "B C X Y Z"]) -> Float[Tensor, "B K X Y Z"]:
        """Levels → logits on the same grid."""
        levels = image.to(torch.float32)
        z = (levels * STEP + OFFSET) * levels.clamp(max=1.0)
        logits: Tensor = self.network(z)[0]
        return logits
