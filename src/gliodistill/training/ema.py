"""The exponential moving average (EMA) of weights, and its interpolation with other networks.

The EMA is validated and exported; it varies less than the trained weights. If a recipe has
``weight_averaging``, the EMA is interpolated with networks of the same initialisation. Between a
network and its fine-tuned version, or between two fine-tuned versions, the loss has no barrier, and
the mean combines what they learnt (Wortsman et al. 2022: WiSE-FT,
arXiv:2109.01903; model soups, arXiv:2203.05482).
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gliodistill.networks import Network

STUDENT = "student."
"""Prefix of the names of the student's weights."""


class EMA:
    """The EMA of all trained networks.

    Args:
        networks: the networks by role, e.g. ``{"student": …}``.
        decay: of the average; smaller in the first steps, so that it follows quickly. With 0 it
            equals the weights.

    Attributes:
        weights: name (``student.…``) → average; counters are copied; running statistics of batch
            norms are averaged as weights are.
    """

    def __init__(self, networks: nn.ModuleDict, decay: float) -> None:
        self._learning, self._decay = networks, decay
        self.weights = {name: t.detach().clone() for name, t in networks.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after ``step`` (1 is the first)."""
        decay, state = min(self._decay, step / (step + 9)), self._learning.state_dict()
        names = [name for name in self.weights if state[name].is_floating_point()]
        torch._foreach_lerp_([self.weights[n] for n in names], [state[n] for n in names], 1 - decay)
        for name in self.weights.keys() - set(names):
            self.weights[name].copy_(state[name])

    def interpolated(self, others: Iterable[tuple[float, Network]]) -> dict[str, Tensor]:
        """The EMA, with the student's interpolated with ``others``.

        Args:
            others: shares (sum below 1) and networks like the student; the rest is its own.
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
    """Give the student ``weights`` (names begin with ``student.``) within the block."""
    own = {name: tensor.detach().clone() for name, tensor in student.state_dict().items()}
    student.load_state_dict({name: weights[STUDENT + name] for name in own})
    try:
        yield
    finally:
        student.load_state_dict(own)
