"""The base classes of transforms: draws are made first, recorded, and then applied."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.preparation.prepared import REGION_BITS
from gliodistill.studies.sequence import MRSequence
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.task import Task

Drawn = TypeVar("Drawn")


class Drawing(ABC, Generic[Drawn]):
    """What all transforms share: a probability, and draws apart from their application.

    A subclass takes its ranges as keywords with annotations and defaults, which are the options of
    a recipe, and passes ``p`` on. What is random is drawn by :meth:`draw` and nowhere else, so that
    a draw can be recorded and a run replayed.

    Args:
        p: probability that a patch is transformed.
    """

    def __init__(self, *, p: float = 0.0) -> None:
        if not 0 <= p <= 1:
            raise ValueError("p from 0 to 1")
        self.p = p

    @abstractmethod
    def draw(self, channels: int, random: np.random.Generator) -> Drawn:
        """What happens to a patch of so many channels, once it is known that something does."""

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={value}" for key, value in vars(self).items())
        return f"{type(self).__name__}({options})"


class Transform(Drawing[Drawn]):
    """A random change of a patch's intensities; the reference stays.

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


@dataclass(frozen=True)
class Patch:
    """A patch as it was read, before intensities are z-scores.

    Attributes:
        levels: quantised intensities, uint8 C X Y Z; 0 where there is no brain or no such sequence.
        truth: its reference: bits as in a prepared study, uint8 X Y Z; or shares of 255 of the
            regions, uint8 R X Y Z.
        sequences: of the channels.
        kept: of the channels, those that the student is given.
        task: whose regions the reference has; None = glioma.
    """

    levels: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    sequences: tuple[MRSequence, ...]
    kept: tuple[bool, ...]
    task: Task | None = None

    def clear(self, region: str | None, voxels: NDArray[np.bool_]) -> None:
        """Take ``voxels`` out of the reference of a region and of those in it.

        Args:
            region: its name; None = every region. Nothing happens if the task has no such region.
            voxels: bool X Y Z.
        """
        task = self.task or glioma()
        if region is None:
            taken = tuple(range(len(task.regions)))
        elif region in task.names:
            taken = task.inside(task.names.index(region))
        else:
            return
        if self.truth.ndim == 4:
            for index in taken:
                self.truth[index, voxels] = 0
        else:
            bits = sum(1 << REGION_BITS[index] for index in taken)
            self.truth[voxels] &= np.uint8(255 ^ bits)


class PatchTransform(Drawing[Drawn]):
    """A random change of what was scanned, of image and reference together.

    Args:
        p: probability that a patch is transformed.
    """

    @abstractmethod
    def apply(self, patch: Patch, drawn: Drawn) -> None:
        """Change a patch in place.

        Args:
            patch: its arrays are changed.
            drawn: by :meth:`draw`.
        """


def smooth_field(points: NDArray[np.float64], sides: tuple[int, ...]) -> Float[Tensor, "X Y Z"]:
    """Values at control points over a patch, trilinear in between, float32.

    Args:
        points: at the control points, X Y Z; the outermost lie on the patch's border.
        sides: of the patch, in voxels.
    """
    field = torch.from_numpy(points.astype(np.float32))[None, None]
    return F.interpolate(field, size=sides, mode="trilinear", align_corners=True)[0, 0]


def per_channel(values: NDArray[np.float64]) -> Float[Tensor, "C 1 1 1"]:
    """One number a channel, to be laid over C X Y Z."""
    return torch.from_numpy(values.astype(np.float32))[:, None, None, None]


AnyTransform = Transform[Any] | PatchTransform[Any]
