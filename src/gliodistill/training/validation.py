"""Validation on whole volumes, which selects the best checkpoint."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gliodistill.evaluation.metrics import dice
from gliodistill.methods.segmentation import Outputs, region_logits
from gliodistill.networks import Network, mixed_precision
from gliodistill.preparation.cache import CachedStudy
from gliodistill.preparation.prepared import UNKNOWN, unpack_regions
from gliodistill.preparation.quantise import dequantise
from gliodistill.studies.labels import REGIONS


@torch.no_grad()
def whole_volume_logits(
    network: Network,
    image: Float[Tensor, "C X Y Z"],
    outputs: Outputs,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "R X Y Z"]:
    """Logits of the regions for a whole prepared study in one pass, padded to the network's
    divisor.

    The network must be in evaluation mode. Memory grows with the volume; a brain at 1 mm needs
    about 4 GB.
    """
    device = next(network.parameters()).device
    sides = image.shape[1:]
    padding = [amount for side in reversed(sides) for amount in (0, -side % network.divisor)]
    padded = F.pad(image[None], padding).to(device, memory_format=torch.channels_last_3d)
    with mixed_precision(device, dtype):
        logits = network(padded)[0]
    x, y, z = sides
    return region_logits(logits.float(), outputs)[0, :, :x, :y, :z].cpu()


def validate(
    network: Network,
    studies: Iterable[CachedStudy],
    outputs: Outputs,
    dtype: torch.dtype = torch.float32,
    channels: Sequence[int] | None = None,
) -> dict[str, dict[str, float]]:
    """Dice of each region per labelled study on the prepared grid (both empty: 1); the network's
    mode is unchanged. Only known regions are scored, on known voxels.

    ``channels`` are those of the studies' sequences that the network takes; None = all.
    """
    was_training = network.training
    network.eval()
    scores = {}
    for study in studies:
        levels = np.asarray(study.image() if channels is None else study.image()[list(channels)])
        logits = whole_volume_logits(network, torch.from_numpy(dequantise(levels)), outputs, dtype)
        predicted, truth = (logits > 0).numpy(), np.asarray(study.truth())
        if study.partial:
            predicted &= truth & UNKNOWN == 0
        masks = zip(study.regions, predicted, unpack_regions(truth, len(predicted)), strict=True)
        # The rule set "plain": a region absent from both scores 1.
        scores[study.id] = {
            region: 1.0 if (d := dice(p, t)) is None else d
            for region, p, t in masks
            if region in study.known_regions
        }
    network.train(was_training)
    return scores


def mean_dice(
    scores: dict[str, dict[str, float]], regions: Sequence[str] = REGIONS
) -> dict[str, float]:
    """Mean over the studies in which a region is known, and ``mean`` over regions."""
    told = {region: [s[region] for s in scores.values() if region in s] for region in regions}
    means = {region: float(np.mean(values)) for region, values in told.items() if values}
    return {**means, "mean": float(np.mean(list(means.values())))}
