"""What a method is: it owns the networks that learn and turns a batch into weighted losses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gliodistill.distillation import Distiller
from gliodistill.methods.segmentation import Outputs, deeply_supervised
from gliodistill.networks import Network


@dataclass(frozen=True)
class Batch:
    """What a method turns into losses.

    Attributes:
        image: z-scores of the sequences that the student takes, dropped ones at 0.0.
        complete: the same patch, all sequences of the data (what a teacher may see).
        regions: WT, TC, ET reference in {0, 1}; soft pseudo-labels in [0, 1].
        present: which sequences ``image`` has.
        pseudo: whose reference is a pseudo-label.
        known: where the reference tells a region, B 3 X Y Z; B 3 1 1 1 where every voxel is known
            or none; None where all is known. ``regions`` is 0 where it is not.
    """

    image: Float[Tensor, "B C X Y Z"]
    complete: Float[Tensor, "B D X Y Z"]
    regions: Float[Tensor, "B 3 X Y Z"]
    present: Bool[Tensor, "B C"]
    pseudo: Bool[Tensor, " B"]
    known: Bool[Tensor, "B 3 _ _ _"] | None = None

    def to(self, device: torch.device) -> "Batch":
        """On ``device``, images channels-last (what makes 3-D convolutions fast)."""
        image = self.image.to(device, memory_format=torch.channels_last_3d)
        complete = (
            image
            if self.complete is self.image
            else self.complete.to(device, memory_format=torch.channels_last_3d)
        )
        others = {name: getattr(self, name).to(device) for name in ("regions", "present", "pseudo")}
        known = None if self.known is None else self.known.to(device)
        return replace(self, image=image, complete=complete, known=known, **others)

    def __getitem__(self, chosen: Bool[Tensor, " B"] | slice) -> "Batch":
        """Some patches of the batch."""
        parts = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(self, **{k: part[chosen] for k, part in parts.items() if part is not None})


@dataclass(frozen=True)
class Needs:
    """What a method needs besides its student; a recipe is checked against it.

    Attributes:
        trained: option → ``one`` (name of an earlier run) or ``several`` (a list of names). The
            method is given their trained networks, which see all sequences, and freezes them.
        learning: option → what a new network that learns beside the student is shown: ``complete``
            (all sequences) or ``image`` (what the student is shown). The recipe gives its name and
            options.
        modality_dropout: the run must drop sequences.
        pseudo_labels: the run must learn from pseudo-labels.
    """

    trained: Mapping[str, Literal["one", "several"]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    learning: Mapping[str, Literal["complete", "image"]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    modality_dropout: bool = False
    pseudo_labels: bool = False


class Method(ABC):
    """A student and its losses.

    A method is a class whose constructor takes the student, what its logits mean, and its options
    as keywords: what :class:`Needs` names, and plain values with annotations and defaults, against
    which a recipe is checked.

    Attributes:
        needs: what a recipe must give; set by :func:`~gliodistill.methods.register_method`.
        student: the network that learns and is exported.
        outputs: what its logits mean.
        learners: the networks that learn, by role: ``student``, and those beside it.
        frozen: trained networks that are only read.
        distillers: distillation losses, one set a teacher.

    Example:
        >>> from gliodistill.methods import Method, register_method
        >>> @register_method("half_loss_example")
        ... class HalfLoss(Method):
        ...     def losses(self, batch):
        ...         return {"segmentation": 0.5 * self.segmentation(self.student(batch.image), batch)}
    """

    needs: ClassVar[Needs] = Needs()

    def __init__(self, student: Network, outputs: Outputs) -> None:
        self.student, self.outputs = student, outputs
        self.learners: dict[str, Network] = {"student": student}
        self.frozen: list[Network] = []
        self.distillers: list[Distiller] = []

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named loss terms, each already weighted; the loop minimises their sum."""

    @property
    def reads_features(self) -> bool:
        """Whether features are read, through forward hooks, which compiled networks do not call."""
        return any(distiller.listens for distiller in self.distillers)

    def freeze(self, teacher: Network) -> Network:
        """``teacher``, only to be read: evaluation mode, no gradient."""
        self.frozen.append(teacher.eval().requires_grad_(False))
        return teacher

    def learn_beside(self, role: str, network: Network) -> Network:
        """``network``, which learns beside the student under the name ``role``."""
        self.learners[role] = network
        return network

    def distil_from(self, teacher: Network, losses: Mapping[str, Mapping[str, Any]]) -> Distiller:
        """The weighted distillation losses towards ``teacher``.

        Raises:
            RecipeError: a loss, option or stage that does not exist or is out of range.
        """
        self.distillers.append(Distiller(self.student, teacher, self.outputs, losses))
        return self.distillers[-1]

    def segmentation(
        self, heads: Sequence[Float[Tensor, "B K _ _ _"]], batch: Batch, *, dice: bool = True
    ) -> Float[Tensor, ""]:
        """The deeply supervised segmentation loss of a network's heads (finest first)."""
        return deeply_supervised(heads, batch.regions, self.outputs, dice=dice, known=batch.known)
