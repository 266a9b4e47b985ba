"""Channel and spatial attention."""

from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks.layers.parts import SLOPE
from gliodistill.networks.layers.pointwise import Pointwise


class ChannelGate(nn.Module):
    """A weight in (0, 1) per channel of each sample, from the channels' means (squeeze and
    excitation, Hu et al. 2018).

    mean over voxels → linear to C/reduction (at least 1) → LeakyReLU 0.01 → linear to C → sigmoid.
    It uses only means, so it is invariant to permutations of voxels. The slope is ours: after an
    instance norm the means hardly differ between samples, so that with a plain ReLU a hidden unit
    is either always active or, for half of all seeds, never.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.layers = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.LeakyReLU(SLOPE),
            nn.Linear(hidden, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B C 1 1 1"]:
        """The weights, to be multiplied with ``x``."""
        gate: Tensor = self.layers(x.mean((2, 3, 4)))
        return gate[:, :, None, None, None]


class SpatialGate(nn.Module):
    """A weight in (0, 1) per voxel: a sigmoid of a learned mix of its channels (no bias, as in
    Islam et al.'s code).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = Pointwise(channels, 1, bias=False)

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B 1 X Y Z"]:
        """The weights, to be multiplied with ``x``."""
        gate: Tensor = self.mix(x).sigmoid()
        return gate


class ChannelSpatialAttention(nn.Module):
    """Features plus their channel-gated and voxel-gated versions: x·(1 + channel + spatial).

    Islam et al. 2020 (arXiv 2104.00985), as in the authors' public code: parallel gates, both added
    to the features, reduction 16. There it precedes the convolutions of a decoder stage, on the
    concatenated features; its position is up to each network. Keeps the memory format.

    Args:
        channels: of the features.
        reduction: how much narrower the channel gate's hidden layer is.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.channel = ChannelGate(channels, reduction)
        self.spatial = SpatialGate(channels)

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B C X Y Z"]:
        """The features, between once and three times as large."""
        gated: Tensor = x * (1 + self.channel(x) + self.spatial(x))
        return gated
