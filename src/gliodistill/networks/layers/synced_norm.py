"""Batch norms over the whole batch of a data-parallel training, on processors and GPUs.

PyTorch's ``SyncBatchNorm`` needs GPUs.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill import ranks

AXES = (0, 2, 3, 4)


def standardised(
    x: Float[Tensor, "B C X Y Z"], epsilon: float
) -> tuple[Float[Tensor, "B C X Y Z"], Float[Tensor, " C"], Float[Tensor, " C"]]:
    """``x`` less its mean over its standard deviation, over the batches of all ranks, in float32;
    the mean, and the unbiased variance.
    """
    x = x.float()
    number = ranks.over_ranks(torch.tensor(float(x.numel() / x.shape[1]), device=x.device))
    mean = ranks.over_ranks(x.sum(AXES)) / number
    centred = x - mean[:, None, None, None]
    variance = ranks.over_ranks(centred.square().sum(AXES)) / number
    result = centred * (variance + epsilon).rsqrt()[:, None, None, None]
    return result, mean.detach(), (variance * number / (number - 1)).detach()


class SyncedBatchNorm(nn.BatchNorm3d):
    """As :class:`torch.nn.BatchNorm3d`, with statistics over the batches of all ranks."""

    def forward(self, input: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B C X Y Z"]:
        """Normalise each channel."""
        if not self.training or ranks.count() == 1:
            return super().forward(input)
        result, mean, variance = standardised(input, self.eps)
        with torch.no_grad():
            assert self.num_batches_tracked is not None
            assert self.running_mean is not None and self.running_var is not None
            self.num_batches_tracked += 1
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance, share)
        weight, bias = (each[:, None, None, None] for each in (self.weight, self.bias))
        return (result * weight + bias).to(input.dtype)


def synchronise(network: nn.Module) -> None:
    """Let batch norms take their statistics over all ranks; weights and buffers keep their
    names.
    """
    if ranks.count() > 1:
        for module in network.modules():
            if type(module) is nn.BatchNorm3d:
                module.__class__ = SyncedBatchNorm
