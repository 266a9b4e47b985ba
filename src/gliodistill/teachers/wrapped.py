"""Networks and graphs of other tools in our interface."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from gliodistill.networks import Network


class Wrapped(Network):
    """A module that returns logits, alone or finest first.

    Args:
        module: any.
        divisor: sides of its input are multiples of it.
    """

    def __init__(self, module: nn.Module, divisor: int) -> None:
        super().__init__()
        self.module, self.divisor = module, divisor

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Its parts by the names of their modules; lists of modules are taken apart."""
        return dict(_parts(self.module, ""))

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K _ _ _"], ...]:
        """Its outputs for patches."""
        found = self.module(x)
        return (found[0] if isinstance(found, list | tuple) else found,)


class Graph(Network):
    """A graph that another runtime runs: it has no stages.

    Args:
        run: outputs for images, float32 B C X Y Z.
        divisor: sides of its input are multiples of it.
        name: for errors.
    """

    def __init__(
        self, run: Callable[[NDArray[np.float32]], NDArray[np.float32]], divisor: int, name: str
    ) -> None:
        super().__init__()
        self.run, self.divisor = run, divisor
        self.outputs_only = f"{name}, a graph, which gives outputs only"

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K _ _ _"], ...]:
        """Its outputs for patches."""
        given = x.detach().float().contiguous().cpu().numpy()
        return (torch.from_numpy(self.run(given)).to(x.device),)


def _parts(module: nn.Module, before: str) -> Iterator[tuple[str, Any]]:
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _parts(child, f"{before}{name}.")
        else:
            yield f"{before}{name}", child
