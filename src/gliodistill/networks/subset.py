"""Wrappers that adapt the input channels of networks."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gliodistill.errors import RecipeError
from gliodistill.networks.base import Network
from gliodistill.networks.registry import build, register


class _Around(Network):
    """A network with other input channels; its stages are those of the wrapped network."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.divisor = network.divisor

    @property
    def taps(self) -> dict[str, nn.Module]:
        """Those of the wrapped network."""
        return self.network.taps

    @property
    def penalty(self) -> Float[Tensor, ""] | None:  # type: ignore[override]
        """That of the wrapped network."""
        return self.network.penalty

    def strip(self) -> None:
        """Strip the wrapped network."""
        self.network.strip()


@register("zero_filled")
class ZeroFilled(_Around):
    """Any network that takes all sequences, its missing ones filled with 0: the alternative to
    fewer input channels.

    Args:
        in_channels: present sequences, C.
        out_channels: logits K per voxel.
        network: name of the wrapped network, which takes ``of`` channels.
        options: of the wrapped network.
        channels: position of each of the C input channels, ascending.
        of: channels of the wrapped network.

    Raises:
        RecipeError: ``channels`` do not fit the input or ``of``.
    """

    def __init__(
        self,
        in_channels: int = 2,
        out_channels: int = 3,
        network: str = "unet",
        options: Mapping[str, object] = MappingProxyType({}),
        channels: Sequence[int] = (1, 3),
        of: int = 4,
    ) -> None:
        super().__init__(build(network, in_channels=of, out_channels=out_channels, **options))
        if len(channels) != in_channels or list(channels) != sorted(set(channels) & set(range(of))):
            expected = f"{in_channels} of 0 to {of - 1}, ascending: one a sequence of the run"
            raise RecipeError(
                "channels do not fit", field="channels", got=list(channels), expected=expected
            )
        self.places = [
            list(channels).index(channel) if channel in channels else -1 for channel in range(of)
        ]

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K _ _ _"], ...]:
        """Logits from the present channels."""
        zero = torch.zeros_like(x[:, :1])
        full = torch.cat(
            [x[:, place : place + 1] if place >= 0 else zero for place in self.places], dim=1
        )
        return self.network(full)  # type: ignore[no-any-return]


class Selecting(_Around):
    """Takes all sequences and passes only its own to the wrapped network.

    Args:
        network: takes ``len(channels)`` channels.
        channels: indices of its channels in the input, in its order.
    """

    def __init__(self, network: Network, channels: Sequence[int]) -> None:
        super().__init__(network)
        self.channels = list(channels)

    def forward(self, x: Float[Tensor, "B C X Y Z"]) -> tuple[Float[Tensor, "B K _ _ _"], ...]:
        """Logits from the network's own channels."""
        return self.network(x[:, self.channels])  # type: ignore[no-any-return]
