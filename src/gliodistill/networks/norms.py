"""Normalisation layers that keep features channels-last."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from gliodistill.errors import RecipeError

EPSILON = 1e-5  # added to variances, torch's and MONAI's default


class InstanceNorm(nn.Module):
    r"""Instance normalisation with a learned scale and offset per channel (Ulyanov et al. 2016).

    Each channel of each sample gets mean 0 and (biased) variance 1 over its voxels, in training and in
    evaluation alike: :math:`y = \gamma (x - \mu) / \sqrt{\sigma^2 + 10^{-5}} + \beta`.

    The same numbers as ``torch.nn.InstanceNorm3d`` by the fastest road that keeps the memory format: torch's own
    kernel gives up channels-last and pays two copies a layer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B C X Y Z"]:
        """Normalise each channel of each sample."""
        weight, bias = self.weight, self.bias
        if torch._C._get_tracing_state() is not None or torch.compiler.is_exporting():
            return _native(x, weight, bias)  # one operation that exporters know
        if torch.compiler.is_compiling():
            return _spelled_out(x, weight, bias)  # the compiler fuses it with its neighbours
        if x.shape[1] == 1 or not x.is_contiguous(memory_format=torch.channels_last_3d):
            return _native(x, weight, bias)
        if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
            return ChannelsLastNorm.apply(x, weight, bias)  # type: ignore[no-any-return,no-untyped-call]
        # Batch norm over one sample is instance norm. Its channels-last kernel on a processor sums naively, wrong by
        # up to 1e-3: below the rounding of bfloat16, but not of float32.
        samples = [functional.batch_norm(sample, None, None, weight, bias, training=True, eps=EPSILON) for sample in torch.split(x, 1)]
        return samples[0] if len(samples) == 1 else torch.cat(samples)


SEQUENCES = 4
"""Input channels that :class:`SubsetNorm` tells apart, at most."""


class SubsetNorm(nn.Module):
    r"""Batch normalisation with running statistics of its own for each subset of the network's input channels.

    What a layer sees of a study that lacks a sequence has another mean and another spread than what it sees of a whole one; the
    mean over all is of no study (each subset is a domain: Li et al. 2016, arXiv:1603.04779; Chang et al. 2019, arXiv:1906.03950).
    Scale and offset are shared, so that nothing is learnt twice. In evaluation each sample is normalised by the statistics of the
    channels that it has, :math:`y = \gamma (x - \mu_s) / \sqrt{\sigma_s^2 + 10^{-5}} + \beta`. In training, as in every batch
    norm, by those of its batch, which all subsets in the batch take over: let them be one (``augmentation.drop_alike``).

    A subset that was never met has the statistics of whatever was.

    Attributes:
        running_mean, running_var: 16×C; row Σ 2ᶜ over the channels c that are there.
        batches_seen: 16, how many batches made a row.
        momentum: weight of a new batch in a row; None = the plain mean of all batches.
        subset: the row of each sample, int64 B, while the network runs (:func:`telling_subsets`).
    """

    running_mean: Tensor
    running_var: Tensor
    batches_seen: Tensor
    factors: Tensor | None
    summands: Tensor | None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(2**SEQUENCES, channels))
        self.register_buffer("running_var", torch.ones(2**SEQUENCES, channels))
        self.register_buffer("batches_seen", torch.zeros(2**SEQUENCES, dtype=torch.int64))
        self.register_buffer("factors", None, persistent=False)
        self.register_buffer("summands", None, persistent=False)
        self.momentum: float | None = 0.1
        self.subset: Tensor | None = None

    def fold(self) -> None:
        """Make statistics, scale and offset one factor and one summand a row, for good, where a graph is drawn of the network.

        Variances need not fit half precision, in which graphs are stored; what is left does.
        """
        self.factors, self.summands = (tensor.detach() for tensor in self._folded())

    def _folded(self) -> tuple[Tensor, Tensor]:
        factors = self.weight * (self.running_var + EPSILON).rsqrt()
        return factors, self.bias - self.running_mean * factors

    def reset_running_stats(self) -> None:
        """Forget every row."""
        self.running_mean.zero_()
        self.running_var.fill_(1.0)
        self.batches_seen.zero_()

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B C X Y Z"]:
        """Normalise each channel.

        Raises:
            RecipeError: the network does not say what is missing.
        """
        if self.subset is None:
            raise RecipeError("this network does not tell its norms what is missing", field="norm", got="subset", expected="batch")
        if self.training:
            return self._by_batch(x, self.subset)
        if torch._C._get_tracing_state() is None and not torch.compiler.is_compiling() and not x.is_meta:  # values can be looked at
            pairs = zip(torch.split(x, 1), self.subset.tolist(), strict=True)
            samples = [
                functional.batch_norm(sample, self.running_mean[row], self.running_var[row], self.weight, self.bias, eps=EPSILON)
                for sample, row in pairs
            ]
            return samples[0] if len(samples) == 1 else torch.cat(samples)
        factors, summands = (self.factors, self.summands) if self.factors is not None and self.summands is not None else self._folded()
        factor, summand = factors[self.subset], summands[self.subset]
        return x * factor[:, :, None, None, None] + summand[:, :, None, None, None]

    def _by_batch(self, x: Tensor, subset: Tensor) -> Tensor:
        mean, variance = torch.empty_like(self.running_mean[0]), torch.empty_like(self.running_var[0])
        # With a momentum of 1 the batch's own statistics are what it leaves behind.
        result = functional.batch_norm(x, mean.zero_(), variance.zero_(), self.weight, self.bias, training=True, momentum=1.0, eps=EPSILON)
        with torch.no_grad():
            met = torch.zeros_like(self.batches_seen, dtype=torch.bool)
            met[subset] = True
            self.batches_seen += met
            # Rows not met yet follow every batch; the first of their own replaces what they have.
            share = 1 / torch.where(self.batches_seen > 0, self.batches_seen, self.batches_seen.sum())
            if self.momentum is not None:
                share = torch.where(self.batches_seen == 1, 1.0, self.momentum)
            weight = (share * (met | (self.batches_seen == 0)))[:, None]
            self.running_mean.lerp_(mean.expand_as(self.running_mean), weight)
            self.running_var.lerp_(variance.expand_as(self.running_var), weight)
        return result


@contextmanager
def telling_subsets(network: nn.Module, x: Float[Tensor, "B C X Y Z"]) -> Iterator[None]:
    """Tell the :class:`SubsetNorm` of ``network`` which channels of its input are there: those that are not 0 everywhere."""
    norms = [module for module in network.modules() if isinstance(module, SubsetNorm)]
    if norms:
        powers = torch.tensor([2**channel for channel in range(x.shape[1])], device=x.device)
        subset = ((x.abs().amax((2, 3, 4)) > 0) * powers).sum(1)
        for norm in norms:
            norm.subset = subset
    try:
        yield
    finally:
        for norm in norms:
            norm.subset = None


class ChannelsLastNorm(torch.autograd.Function):
    """Instance norm of a channels-last tensor, its sums over voxels taken as matrix products.

    torch reduces over the voxels of a channels-last tensor either slowly (``var_mean``) or inexactly (its batch
    and group norms, which add up a million values one by one); a matrix product is fast and blocked. The diagonal of
    dᵀd costs C times too many multiplications, still only a twenty-seventh of the convolution before it.
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
        rows, voxels = _rows(gradient.contiguous(memory_format=torch.channels_last_3d)), gradient[0, 0].numel()
        total, along, scale = _sum(rows), _dot(rows, centred), rstd * weight
        out = torch.empty_like(gradient, memory_format=torch.channels_last_3d)
        torch.addcmul(-scale * total / voxels, rows, scale, out=_rows(out))
        _rows(out).addcmul_(centred, -scale * rstd.square() * along / voxels)
        return out, (along * rstd).sum((0, 1, 2)), total.sum((0, 1, 2))


def _rows(x: Tensor) -> Tensor:
    """A view ``B X N C`` of a channels-last ``B C X Y Z``: slabs of N = Y·Z voxels, so that no sum runs over too many."""
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


def normalisation(kind: str, channels: int) -> nn.Module:
    """A norm over ``channels``: ``instance``, ``group`` (8 groups, or the most below 8 that divide), ``batch`` or ``subset``.

    Raises:
        RecipeError: another kind.
    """
    if kind == "instance":
        return InstanceNorm(channels)
    if kind == "group":
        return nn.GroupNorm(max(groups for groups in range(1, 9) if channels % groups == 0), channels)
    if kind == "batch":
        return nn.BatchNorm3d(channels)
    if kind == "subset":
        return SubsetNorm(channels)
    raise RecipeError("unknown norm", field="norm", got=kind, expected="instance, group, batch or subset")
