"""The base class of methods: a method owns the trained networks and turns a batch into losses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gliodistill.distillation import Distiller
from gliodistill.methods.segmentation import Outputs, SegmentationLoss, deeply_supervised
from gliodistill.networks import Network


@dataclass(frozen=True)
class Batch:
    """A batch of patches.

    Attributes:
        image: z-scores of the student's sequences; removed ones are 0.0.
        complete: the same patches with all sequences of the data, for teachers.
        regions: reference WT, TC, ET in {0, 1}; soft pseudo-labels in [0, 1].
        present: which sequences ``image`` has.
        pseudo: which patches have a pseudo-label.
        given: for each teacher that is no run, its part of the patches: its outputs, or the images
            as it sees them.
        known: voxels at which a region is known, B 3 X Y Z; B 3 1 1 1 if that is the same for all
            voxels; None if everything is known. ``regions`` is 0 at unknown voxels.
    """

    image: Float[Tensor, "B C X Y Z"]
    complete: Float[Tensor, "B D X Y Z"]
    regions: Float[Tensor, "B R X Y Z"]
    present: Bool[Tensor, "B C"]
    pseudo: Bool[Tensor, " B"]
    known: Bool[Tensor, "B R _ _ _"] | None = None
    given: tuple[Float[Tensor, "B _ _ _ _"], ...] = ()

    def to(self, device: torch.device) -> "Batch":
        """The batch on ``device``, images channels-last, which makes 3-D convolutions fast."""
        image = self.image.to(device, memory_format=torch.channels_last_3d)
        complete = (
            image
            if self.complete is self.image
            else self.complete.to(device, memory_format=torch.channels_last_3d)
        )
        others = {name: getattr(self, name).to(device) for name in ("regions", "present", "pseudo")}
        known = None if self.known is None else self.known.to(device)
        given = tuple(each.to(device, memory_format=torch.channels_last_3d) for each in self.given)
        return replace(self, image=image, complete=complete, known=known, given=given, **others)

    def __getitem__(self, chosen: Bool[Tensor, " B"] | slice) -> "Batch":
        """A subset of the patches."""
        parts = {each.name: getattr(self, each.name) for each in fields(self)}
        given = tuple(each[chosen] for each in parts.pop("given"))
        chosen_parts = {k: part[chosen] for k, part in parts.items() if part is not None}
        return replace(self, given=given, **chosen_parts)


@dataclass(frozen=True)
class Needs:
    """What a method needs besides its student; recipes are checked against it.

    Attributes:
        trained: option → ``one`` (name of an earlier run) or ``several`` (a list of names). The
            method gets their trained networks, which see all sequences, and freezes them.
        jointly_trained: option → input of a new network that is trained together with the student:
            ``complete`` (all sequences) or ``image`` (the student's). The recipe gives its name and
            options.
        modality_dropout: the run must use modality dropout.
        pseudo_labels: the run must use pseudo-labels.
    """

    trained: Mapping[str, Literal["one", "several"]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    jointly_trained: Mapping[str, Literal["complete", "image"]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    modality_dropout: bool = False
    pseudo_labels: bool = False


class Method(ABC):
    """A student and its losses.

    The constructor of a method takes the student, the kind of its outputs, and its options as
    keywords: those of :class:`Needs`, and annotated plain values with defaults. Recipes are checked
    against them.

    Attributes:
        needs: what a recipe must give; set by :func:`~gliodistill.methods.register_method`.
        student: the network that is trained and exported.
        outputs: what its logits mean.
        trainable: the networks that are trained, by role: ``student``, and jointly trained ones.
        frozen: trained networks that are not updated.
        distillers: distillation losses, one set per teacher.
        segmentation_loss: the recipe's; set by :meth:`segment_by`.

    Example:
        >>> from gliodistill.methods import Method, register_method
        >>> @register_method("half_loss_example")
        ... class HalfLoss(Method):
        ...     def losses(self, batch):
        ...         heads = self.student(batch.image)
        ...         return {"segmentation": 0.5 * self.segmentation(heads, batch)}
    """

    needs: ClassVar[Needs] = Needs()

    def __init__(self, student: Network, outputs: Outputs) -> None:
        self.student, self.outputs = student, outputs
        self.trainable: dict[str, Network] = {"student": student}
        self.frozen: list[Network] = []
        self.distillers: list[Distiller] = []
        self.segmentation_loss = SegmentationLoss()

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named loss terms, each already weighted; the loop minimises their sum."""

    def segment_by(self, loss: SegmentationLoss) -> None:
        """Take the segmentation loss that the recipe names.

        Raises:
            RecipeError: the method needs an option that the loss does not have.
        """
        self.segmentation_loss = loss

    @property
    def reads_features(self) -> bool:
        """Whether features are read by forward hooks, which compiled networks do not call."""
        return any(distiller.reads_features for distiller in self.distillers)

    def freeze(self, teacher: Network) -> Network:
        """Freeze ``teacher``: evaluation mode, no gradient."""
        self.frozen.append(teacher.eval().requires_grad_(False))
        return teacher

    @torch.no_grad()
    def ask(self, teacher: Network, batch: Batch) -> Float[Tensor, "B K X Y Z"]:
        """Logits of a frozen teacher on the grid of a batch, whatever it is: a run, or the outputs
        or the network of another tool.
        """
        logits: Tensor = teacher(teacher.input_of(batch))[0]
        return logits

    def train_jointly(self, role: str, network: Network) -> Network:
        """Add ``network``, which is trained together with the student, under the name ``role``."""
        self.trainable[role] = network
        return network

    def distil_from(self, teacher: Network, losses: Mapping[str, Mapping[str, Any]]) -> Distiller:
        """The weighted distillation losses towards ``teacher``.

        Raises:
            RecipeError: a loss, option or stage that does not exist or is out of range.
        """
        self.distillers.append(Distiller(self.student, teacher, self.outputs, losses))
        return self.distillers[-1]

    def segmentation(
        self, heads: Sequence[Float[Tensor, "B K _ _ _"]], batch: Batch
    ) -> Float[Tensor, ""]:
        """The deeply supervised segmentation loss of a network's heads (finest first)."""
        return deeply_supervised(
            heads, batch.regions, self.outputs, loss=self.segmentation_loss, known=batch.known
        )
