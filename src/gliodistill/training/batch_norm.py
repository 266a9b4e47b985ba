"""Batch-norm recalibration: statistics recomputed on patches of the training studies.

In training, a batch norm uses the statistics of each batch; at inference, their running mean. With
modality dropout or synthetic patches, that mean fits no study at inference, and averaged weights
(EMA, weight averaging) have other activations. Therefore the statistics are recomputed at the end
with the exported weights (Izmailov et al.
2018, arXiv:1803.05407, section 3.2; for another domain: Li et al. 2016, arXiv:1603.04779).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from gliodistill.methods import Batch
from gliodistill.networks import Network, mixed_precision
from gliodistill.networks.layers.subset_norm import SubsetNorm
from gliodistill.preparation.cache import Cache
from gliodistill.recipes.schema import AugmentationPart
from gliodistill.training.ema import STUDENT, wearing

UNCHANGED = AugmentationPart.model_validate(
    dict.fromkeys(
        ("spatial", "gamma", "brightness", "contrast", "noise", "blur", "low_resolution"), 0
    )
)
"""Augmentation of recalibration patches: mirroring only."""


def studies_to_recalibrate_on(
    training: Cache, network: nn.Module, channels: Sequence[int]
) -> Cache:
    """The training studies whose patches are for :func:`recalibrate`: those that are no crops.

    Norms with one set of statistics get it from studies that have all ``channels``, norms with
    statistics for each subset from all studies. If no study qualifies, all are returned.
    """
    any_subset = any(isinstance(module, SubsetNorm) for module in network.modules())
    chosen = {
        study.id
        for study in training
        if not study.partial and (any_subset or all(study.present[c] for c in channels))
    }
    return training.select(chosen) if chosen else training


def freeze(network: nn.Module) -> None:
    """Let batch norms use the statistics that they have, while the rest of the network trains."""
    for norm in _norms(network):
        norm.eval()


def _norms(network: nn.Module) -> list[nn.BatchNorm3d | SubsetNorm]:
    return [
        module for module in network.modules() if isinstance(module, nn.BatchNorm3d | SubsetNorm)
    ]


@torch.no_grad()
def recalibrate(
    network: Network, batches: Iterable[Batch], dtype: torch.dtype = torch.float32
) -> None:
    """Set the statistics of the network's batch norms to their mean over ``batches``.

    Weights and mode are unchanged. Without batch norms, nothing happens.

    Norms with statistics for each subset of the channels get those of a subset from every patch
    that has its channels, with the others set to 0.
    """
    norms = _norms(network)
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
        batch = batch.to(device)
        with mixed_precision(device, dtype):
            for patches in _by_subset(batch) if isinstance(norms[0], SubsetNorm) else [batch.image]:
                network(patches)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(was_training)


def _by_subset(batch: Batch) -> Iterator[Tensor]:
    """For each non-empty subset of the channels: the patches that have all of them, with the others
    set to 0.
    """
    channels = batch.image.shape[1]
    for row in range(1, 2**channels):
        kept = [channel for channel in range(channels) if row >> channel & 1]
        have = batch.present[:, kept].all(1)
        if have.any():
            image = batch.image[have]
            patches = torch.zeros_like(image)
            patches[:, kept] = image[:, kept]
            yield patches


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
