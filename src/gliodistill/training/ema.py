"""The exponential moving average (EMA) of weights, and its interpolation with other networks.

The EMA is what is validated and exported: steadier than the weights that learn. Where a recipe
gives ``weight_averaging``, it is interpolated with networks of the same initialisation: between a
network and what fine-tuning makes of it, or two that were fine-tuned from one, the loss has no
barrier, and on the way what is learnt outweighs what is forgotten (Wortsman et al. 2022: WiSE-FT,
arXiv:2109.01903; model soups, arXiv:2203.05482).
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gliodistill.networks import Network

STUDENT = "student."
"""What the names of the student's weights begin with among those of all that learns."""


class EMA:
    """The EMA of every network that learns.

    Args:
        learning: the networks by role, e.g. ``{"student": …}``.
        decay: of the average; the first steps take less, so that it follows quickly at first. 0 is
            the weights themselves.

    Attributes:
        weights: name (``student.…``) → average; counters are copied, running statistics of batch
            norms averaged as weights are.
    """

    def __init__(self, learning: nn.ModuleDict, decay: float) -> None:
        self._learning, self._decay = learning, decay
        self.weights = {name: t.detach().clone() for name, t in learning.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights after ``step`` (1 is the first)."""
        decay, state = min(self._decay, step / (step + 9)), self._learning.state_dict()
        names = [name for name in self.weights if state[name].is_floating_point()]
        torch._foreach_lerp_([self.weights[n] for n in names], [state[n] for n in names], 1 - decay)
        for name in self.weights.keys() - set(names):
            self.weights[name].copy_(state[name])

    def interpolated(self, others: Iterable[tuple[float, Network]]) -> dict[str, Tensor]:
        """The average, the student's interpolated with ``others``.

        Args:
            others: shares, below 1 in all, and networks like the student; the rest is its own.
        """
        result = dict(self.weights)
        states = [(share, network.state_dict(prefix=STUDENT)) for share, network in others]
        own = 1 - sum(share for share, _ in states)
        for name, tensor in self.weights.items() if states else ():
            if name.startswith(STUDENT) and tensor.is_floating_point():
                result[name] = sum(
                    (share * state[name].to(tensor) for share, state in states), own * tensor
                )
        return result


@contextmanager
def wearing(student: Network, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Within, the student has ``weights`` (names begin with ``student.``); then its own again."""
    own = {name: tensor.detach().clone() for name, tensor in student.state_dict().items()}
    student.load_state_dict({name: weights[STUDENT + name] for name in own})
    try:
        yield
    finally:
        student.load_state_dict(own)
