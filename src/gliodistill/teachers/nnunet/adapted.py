"""An nnU-Net's network in our interface, for its costs and the names of its stages."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.networks import Network
from gliodistill.teachers.nnunet.plans import Plans


class Adapted(Network):
    """A network that returns logits at full resolution.

    Args:
        network: of nnU-Net's plans.
        plans: its plans.
    """

    def __init__(self, network: nn.Module, plans: Plans) -> None:
        super().__init__()
        self.network = network
        strides = plans.architecture["arch_kwargs"]["strides"]
        sides = zip(*(s if isinstance(s, list) else [s] * 3 for s in strides), strict=True)
        self.divisor = math.lcm(*(math.prod(side) for side in sides))

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Encoder and decoder stages by the names of nnU-Net's modules, finest encoder first."""
        found = dict(self.network.named_modules())
        return {
            name: module
            for part in ("encoder.stages", "decoder.stages")
            for name, module in found.items()
            if name.rpartition(".")[0] == part
        }

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K _ _ _"], ...]:
        """Logits of its own output channels, in its own axes."""
        return (self.network(x),)


class MeanOfFolds(Network):
    """The mean of several networks' logits."""

    outputs_only = "the mean of several folds, which have no stages in common"

    def __init__(self, folds: Sequence[Adapted]) -> None:
        super().__init__()
        self.folds, self.divisor = nn.ModuleList(folds), folds[0].divisor

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K _ _ _"], ...]:
        """Logits of their output channels, in their own axes."""
        return (torch.stack([fold(x)[0] for fold in self.folds]).mean(0),)
