"""An nnU-Net's network in our interface, for its costs and the names of its stages."""

import math

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
