"""Kinds of outputs, regions or classes, and their conversion.

Classes are of tasks of three regions that nest as WT, TC and ET do.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gliodistill.recipes.schema import Outputs as Outputs


def regions_to_classes(regions: Float[Tensor, "B 3 X Y Z"]) -> Float[Tensor, "B 4 X Y Z"]:
    """Shares of WT, TC, ET (nested, in [0, 1]) → shares of background, NCR, ED, ET (sum 1)."""
    whole, core, enhancing = regions.unbind(dim=1)
    return torch.stack([1 - whole, core - enhancing, whole - core, enhancing], dim=1)


def class_logits_to_region_logits(logits: Float[Tensor, "B 4 X Y Z"]) -> Float[Tensor, "B 3 X Y Z"]:
    """Soft-max logits over background, NCR, ED, ET → logits of WT, TC, ET with the same
    probabilities.
    """
    background, necrosis, oedema, enhancing = logits.unbind(dim=1)
    whole = _log_odds([necrosis, oedema, enhancing], [background])
    core = _log_odds([necrosis, enhancing], [background, oedema])
    return torch.stack([whole, core, _log_odds([enhancing], [background, necrosis, oedema])], dim=1)


def _log_odds(inside: list[Tensor], outside: list[Tensor]) -> Tensor:
    return torch.logsumexp(torch.stack(inside), 0) - torch.logsumexp(torch.stack(outside), 0)


def region_logits(
    logits: Float[Tensor, "B K X Y Z"], outputs: Outputs
) -> Float[Tensor, "B R X Y Z"]:
    """Logits of the regions whatever the network's outputs are."""
    return logits if outputs == "regions" else class_logits_to_region_logits(logits)
