"""A 1³ convolution that keeps features channels-last."""

from jaxtyping import Float
from torch import Tensor, nn


class Pointwise(nn.Linear):
    """A 1³ convolution as a linear layer over each voxel's channels: ``B C X Y Z`` → ``B D X Y Z``.

    torch's convolution with a 1³ kernel gives a contiguous result on a CPU, so that all following
    layers lose channels-last too. This one is a matrix product on channels-last features.
    """

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B D X Y Z"]:
        """The mixed channels, always channels-last."""
        return super().forward(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)
