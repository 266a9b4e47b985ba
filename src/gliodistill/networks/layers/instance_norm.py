"""Instance norm that keeps features channels-last."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

EPSILON = 1e-5  # added to variances, torch's and MONAI's default


class InstanceNorm(nn.Module):
    r"""Instance normalisation with a learned scale and offset per channel (Ulyanov et al. 2016).

    Each channel of each sample gets mean 0 and (biased) variance 1 over its voxels, in training and
    in
    evaluation alike: :math:`y = \gamma (x - \mu) / \sqrt{\sigma^2 + 10^{-5}} + \beta`.

    The same numbers as ``torch.nn.InstanceNorm3d``, by the fastest way that keeps the memory
    format: torch's kernel does not keep channels-last and needs two copies per layer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B C X Y Z"]:
        """Normalise each channel of each sample."""
        weight, bias = self.weight, self.bias
        if torch._C._get_tracing_state() is not None or torch.compiler.is_exporting():
            return _native(x, weight, bias)  # one operation known to exporters
        if torch.compiler.is_compiling():
            return _spelled_out(x, weight, bias)  # the compiler fuses it with its neighbours
        if x.shape[1] == 1 or not x.is_contiguous(memory_format=torch.channels_last_3d):
            return _native(x, weight, bias)
        if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
            return ChannelsLastNorm.apply(x, weight, bias)  # type: ignore[no-any-return,no-untyped-call]
        # Batch norm over one sample is instance norm. Its channels-last CPU kernel sums naively,
        # with errors up to 1e-3: below the rounding of bfloat16, but not of float32.
        samples = [
            functional.batch_norm(sample, None, None, weight, bias, training=True, eps=EPSILON)
            for sample in torch.split(x, 1)
        ]
        return samples[0] if len(samples) == 1 else torch.cat(samples)


class ChannelsLastNorm(torch.autograd.Function):
    """Instance norm of a channels-last tensor, with sums over voxels computed as matrix products.

    torch reduces over the voxels of a channels-last tensor either slowly (``var_mean``) or
    inexactly (its batch and group norms, which add up a million values one by one); a matrix
    product is fast and blocked. The diagonal of dᵀd costs C times too many multiplications, still
    only 1/27 of the preceding convolution.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Normalise ``x`` (``B C X Y Z``, channels-last)."""
        rows, voxels = _rows(x), x[0, 0].numel()
        centred = rows - _sum(rows) / voxels
        rstd = (_dot(centred, centred) / voxels + EPSILON).rsqrt()
        ctx.save_for_backward(centred, rstd, weight)
        out = torch.empty_like(x)
        torch.addcmul(bias, centred, rstd * weight, out=_rows(out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of x, weight and bias."""
        centred, rstd, weight = ctx.saved_tensors
        rows, voxels = (
            _rows(gradient.contiguous(memory_format=torch.channels_last_3d)),
            gradient[0, 0].numel(),
        )
        total, along, scale = _sum(rows), _dot(rows, centred), rstd * weight
        out = torch.empty_like(gradient, memory_format=torch.channels_last_3d)
        torch.addcmul(-scale * total / voxels, rows, scale, out=_rows(out))
        _rows(out).addcmul_(centred, -scale * rstd.square() * along / voxels)
        return out, (along * rstd).sum((0, 1, 2)), total.sum((0, 1, 2))


def _rows(x: Tensor) -> Tensor:
    """A view ``B X N C`` of a channels-last ``B C X Y Z``: slabs of N = Y·Z voxels, which limits
    the length of sums.
    """
    return x.permute(0, 2, 3, 4, 1).flatten(2, 3)


def _sum(rows: Tensor) -> Tensor:
    """Sums over voxels, ``B 1 1 C``."""
    return (rows.new_ones(1, rows.shape[2]) @ rows).sum(1, keepdim=True)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sums over voxels of a·b, ``B 1 1 C``."""
    return (a.mT @ b).diagonal(dim1=2, dim2=3).sum(1, keepdim=True).unsqueeze(1)


def _native(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.instance_norm(x, weight, bias, None, None, True, 0.0, EPSILON, False)


def _spelled_out(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, (2, 3, 4), correction=0, keepdim=True)
    scale = weight.view(1, -1, 1, 1, 1) * (variance + EPSILON).rsqrt()
    return (x - mean) * scale + bias.view(1, -1, 1, 1, 1)
