"""Batch-norm recalibration: statistics recomputed on patches with all sequences.

In training, a batch norm uses the statistics of each batch; at inference, their running mean. With
modality dropout or synthetic patches, that mean fits no study at inference, and averaged weights
(EMA, weight averaging) have other activations. Therefore the statistics are recomputed at the end
with the exported weights (Izmailov et al.
2018, arXiv:1803.05407, section 3.2; for another domain: Li et al. 2016, arXiv:1603.04779).
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from gliodistill.methods import Batch
from gliodistill.networks import Network, mixed_precision
from gliodistill.networks.layers.subset_norm import SubsetNorm
from gliodistill.recipes.schema import AugmentationPart
from gliodistill.training.ema import STUDENT, wearing

UNCHANGED = AugmentationPart.model_validate(
    dict.fromkeys(
        ("spatial", "gamma", "brightness", "contrast", "noise", "blur", "low_resolution"), 0
    )
)
"""Augmentation of recalibration patches: mirroring only."""


@torch.no_grad()
def recalibrate(
    network: Network, batches: Iterable[Batch], dtype: torch.dtype = torch.float32
) -> None:
    """Set the statistics of the network's batch norms to their mean over ``batches``.

    Weights and mode are unchanged. Without batch norms, nothing happens.

    Norms with statistics for each subset of the channels get them from the same patches, once for
    each subset.
    """
    norms = [
        module for module in network.modules() if isinstance(module, nn.BatchNorm3d | SubsetNorm)
    ]
    if not norms:
        return
    was_training, momenta = network.training, [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
        norm.train()
    device = next(network.parameters()).device
    for batch in batches:
        image = batch.to(device).image
        with mixed_precision(device, dtype):
            for kept in _subsets(image.shape[1]) if isinstance(norms[0], SubsetNorm) else [...]:
                lacking = torch.zeros_like(image)
                lacking[:, kept] = image[:, kept]
                network(lacking)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(was_training)


def _subsets(channels: int) -> Iterable[list[int]]:
    """All non-empty subsets of the channels."""
    return ([c for c in range(channels) if row >> c & 1] for row in range(1, 2**channels))


def recalibrated(
    student: Network,
    weights: Mapping[str, Tensor],
    batches: Iterable[Batch],
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """``weights`` (names begin with ``student.``) with the student's batch norms recalibrated.

    The student is unchanged afterwards.
    """
    with wearing(student, weights):
        recalibrate(student, batches, dtype)
        own = {STUDENT + name: t.detach().clone() for name, t in student.state_dict().items()}
    return {**weights, **own}
