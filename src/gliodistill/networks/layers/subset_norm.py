"""Batch norm with statistics for each subset of the input channels."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gliodistill.errors import RecipeError
from gliodistill.networks.layers.instance_norm import EPSILON
from gliodistill.networks.layers.synced_norm import standardised
from gliodistill.ranks import count, over_ranks

SEQUENCES = 4
"""Most input channels that :class:`SubsetNorm` distinguishes."""


class SubsetNorm(nn.Module):
    r"""Batch normalisation with running statistics of its own for each subset of the network's
    input channels.

    Features of a study that lacks a sequence have another mean and variance than those of a
    complete one; the mean over all fits neither (each subset is a domain: Li et al. 2016,
    arXiv:1603.04779; Chang et al. 2019, arXiv:1906.03950). Scale and offset are shared. In
    evaluation each sample is normalised by the statistics of its subset, :math:`y = \gamma (x -
    \mu_s) / \sqrt{\sigma_s^2 + 10^{-5}} + \beta`. In training, as in every batch norm, by those of
    its batch, which update all subsets in the batch: they should be one
    (``augmentation.modality_dropout.per_batch``).

    A subset not seen in training has the statistics of the others.

    Attributes:
        running_mean, running_var: 16×C; row Σ 2ᶜ over the present channels c.
        batches_seen: 16, number of batches of each row.
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
        """Merge statistics, scale and offset into one factor and one summand per row, for export.

        Variances may not fit half precision, in which graphs are stored; the merged numbers do.
        """
        self.factors, self.summands = (tensor.detach() for tensor in self._folded())

    def _folded(self) -> tuple[Tensor, Tensor]:
        factors = self.weight * (self.running_var + EPSILON).rsqrt()
        return factors, self.bias - self.running_mean * factors

    def reset_running_stats(self) -> None:
        """Reset all rows."""
        self.running_mean.zero_()
        self.running_var.fill_(1.0)
        self.batches_seen.zero_()

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> Float[Tensor, "B C X Y Z"]:
        """Normalise each channel.

        Raises:
            RecipeError: the network does not pass on which channels are missing.
        """
        if self.subset is None:
            raise RecipeError(
                "this network does not pass on to its norms which channels are missing",
                field="norm",
                got="subset",
                expected="batch",
            )
        if self.training:
            return self._by_batch(x, self.subset)
        if (
            torch._C._get_tracing_state() is None
            and not torch.compiler.is_compiling()
            and not x.is_meta
        ):  # values are available
            pairs = zip(torch.split(x, 1), self.subset.tolist(), strict=True)
            samples = [
                functional.batch_norm(
                    sample,
                    self.running_mean[row],
                    self.running_var[row],
                    self.weight,
                    self.bias,
                    eps=EPSILON,
                )
                for sample, row in pairs
            ]
            return samples[0] if len(samples) == 1 else torch.cat(samples)
        factors, summands = (
            (self.factors, self.summands)
            if self.factors is not None and self.summands is not None
            else self._folded()
        )
        factor, summand = factors[self.subset], summands[self.subset]
        return x * factor[:, :, None, None, None] + summand[:, :, None, None, None]

    def _by_batch(self, x: Tensor, subset: Tensor) -> Tensor:
        if count() > 1:
            result, mean, variance = standardised(x, EPSILON)
            weight, bias = (each[:, None, None, None] for each in (self.weight, self.bias))
            result = (result * weight + bias).to(x.dtype)
        else:
            mean, variance = (
                torch.empty_like(self.running_mean[0]),
                torch.empty_like(self.running_var[0]),
            )
            # With a momentum of 1 the running statistics are those of the batch.
            result = functional.batch_norm(
                x,
                mean.zero_(),
                variance.zero_(),
                self.weight,
                self.bias,
                training=True,
                momentum=1.0,
                eps=EPSILON,
            )
        with torch.no_grad():
            seen = torch.zeros_like(self.batches_seen, dtype=torch.float32)
            seen[subset] = 1.0
            met = over_ranks(seen) > 0
            self.batches_seen += met
            # Unseen rows follow every batch; their first own batch replaces the statistics.
            share = 1 / torch.where(
                self.batches_seen > 0, self.batches_seen, self.batches_seen.sum()
            )
            if self.momentum is not None:
                share = torch.where(self.batches_seen == 1, 1.0, self.momentum)
            weight = (share * (met | (self.batches_seen == 0)))[:, None]
            self.running_mean.lerp_(mean.expand_as(self.running_mean), weight)
            self.running_var.lerp_(variance.expand_as(self.running_var), weight)
        return result


@contextmanager
def telling_subsets(network: nn.Module, x: Float[Tensor, "B C X Y Z"]) -> Iterator[None]:
    """Pass the present input channels (those not 0 everywhere) to each :class:`SubsetNorm` of
    ``network``.

    Raises:
        RecipeError: there are more than :data:`SEQUENCES`.
    """
    norms = [module for module in network.modules() if isinstance(module, SubsetNorm)]
    if norms:
        if x.shape[1] > SEQUENCES:
            raise RecipeError(
                "too many input channels for this norm",
                field="norm",
                got=x.shape[1],
                expected=f"at most {SEQUENCES}",
            )
        powers = torch.tensor([2**channel for channel in range(x.shape[1])], device=x.device)
        subset = ((x.abs().amax((2, 3, 4)) > 0) * powers).sum(1)
        for norm in norms:
            norm.subset = subset
    try:
        yield
    finally:
        for norm in norms:
            norm.subset = None
