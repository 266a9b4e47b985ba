"""The base class of intensity transforms: draws are made first, recorded, and then applied."""

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

Drawn = TypeVar("Drawn")


class Transform(ABC, Generic[Drawn]):
    """A random change of a patch's intensities.

    A subclass takes its ranges as keywords with annotations and defaults, which are the options of
    a recipe, and passes ``p`` on. What is random is drawn by :meth:`draw` and nowhere else, so that
    a draw can be recorded and a run replayed.

    Args:
        p: probability that a patch is transformed.

    Example:
        >>> import numpy as np, torch
        >>> class Inverted(Transform[bool]):
        ...     def draw(self, channels, random):
        ...         return True
        ...     def apply(self, values, inside, drawn):
        ...         return -values
        >>> inverted = Inverted(p=1.0)
        >>> drawn = inverted.draw(1, np.random.default_rng(0))
        >>> float(inverted.apply(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1).bool(), drawn))
        -1.0
    """

    def __init__(self, *, p: float = 0.0) -> None:
        if not 0 <= p <= 1:
            raise ValueError("p from 0 to 1")
        self.p = p

    @abstractmethod
    def draw(self, channels: int, random: np.random.Generator) -> Drawn:
        """What happens to a patch of so many channels, once it is known that something does."""

    @abstractmethod
    def apply(
        self, values: Float[Tensor, "C X Y Z"], inside: Bool[Tensor, "C X Y Z"], drawn: Drawn
    ) -> Float[Tensor, "C X Y Z"]:
        """Apply ``drawn`` to a patch.

        Args:
            values: z-scores, float32; not to be changed in place.
            inside: where there is brain; what comes out elsewhere is set to 0.0 afterwards.
            drawn: by :meth:`draw`.
        """

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={value}" for key, value in vars(self).items())
        return f"{type(self).__name__}({options})"


def per_channel(values: NDArray[np.float64]) -> Float[Tensor, "C 1 1 1"]:
    """One number a channel, to be laid over C X Y Z."""
    return torch.from_numpy(values.astype(np.float32))[:, None, None, None]


AnyTransform = Transform[Any]
