"""Foreign teachers as networks: each takes its own part of a batch, ``Batch.given``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gliodistill.errors import RecipeError
from gliodistill.methods.segmentation import Outputs, regions_to_classes
from gliodistill.networks import Network
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.task import Task
from gliodistill.teachers import TEACHERS, ForeignTeacher
from gliodistill.teachers.base import Live
from gliodistill.teachers.levels import LIMIT

LEAST = 1e-6
"""Least share of a class, whose logarithm is its logit."""


@dataclass(frozen=True)
class Given:
    """Patches that belong to one foreign teacher.

    Attributes:
        patches: B C X Y Z.
    """

    patches: Tensor


class ForeignNetwork(Network):
    """A network that takes its part of a batch and returns logits on the student's grid.

    Args:
        place: of its patches in ``Batch.given``.
        outputs: of the student: what is returned.
        task: of the student. Of a task that is not that of gliomas only the regions that both have
            are returned.
    """

    def __init__(self, place: int, outputs: Outputs, task: Task) -> None:
        super().__init__()
        self.place, self.outputs = place, outputs
        shared = task.shared(glioma())
        if shared != tuple((at, at) for at in range(len(task.regions))):
            self.teaches = tuple(own for own, _ in shared)
        self._given = [at for _, at in shared]

    def input_of(self, batch: Any) -> Given:
        """Its part of the batch."""
        return Given(batch.given[self.place])

    def forward(self, x: Given | Tensor) -> tuple[Tensor, ...]:
        """Logits of those of WT, TC, ET that the student has, or of the classes with the same
        probabilities.
        """
        if not isinstance(x, Given):
            raise RecipeError(
                "the method gives a teacher of another tool the student's images",
                field="method",
                expected="self.ask(teacher, batch) in place of teacher(batch.complete)",
            )
        logits = self.regions(x.patches)
        if self.outputs == "regions":
            return (logits if self.teaches is None else logits[:, self._given],)
        nested = torch.cummin(logits.float().sigmoid(), dim=1).values
        return (regions_to_classes(nested).clamp_min(LEAST).log(),)

    def regions(self, patches: Tensor) -> Float[Tensor, "B 3 X Y Z"]:
        """Logits of WT, TC, ET for its patches."""
        raise NotImplementedError


class Unopened(ForeignNetwork):
    """Stands in for a teacher whose files are not read: to check a recipe, or to export."""

    def __init__(self, place: int, outputs: Outputs, task: Task, teacher: ForeignTeacher) -> None:
        super().__init__(place, outputs, task)
        if teacher.live is False:
            self.outputs_only = f"{teacher} with live: false"
        elif teacher.kind in TEACHERS and not TEACHERS[teacher.kind].has_stages:
            self.outputs_only = f"{teacher}, which gives outputs only"
        self.unopened = self.outputs_only is None


class StoredOutputs(ForeignNetwork):
    """Returns the outputs that were predicted before training and cut with the patch."""

    def __init__(self, place: int, outputs: Outputs, task: Task, teacher: ForeignTeacher) -> None:
        super().__init__(place, outputs, task)
        self.outputs_only = f"{teacher}, which gives outputs only"

    def regions(self, patches: Tensor) -> Float[Tensor, "B 3 X Y Z"]:
        """The patches themselves."""
        return patches


@dataclass(frozen=True)
class Reading:
    """How a live teacher's patches are read where the student's are.

    Attributes:
        patch: sides of the student's patch.
        sides: of the teacher's patch along X, Y, Z, around the same middle, and at least as far.
        ratio: the student's voxel size in the teacher's.
        axes: for each axis of the teacher's network, which of X, Y, Z it is.
        flips: which of these run the other way.
    """

    patch: tuple[int, int, int]
    sides: tuple[int, int, int]
    ratio: tuple[float, float, float]
    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    @classmethod
    def of(cls, patch: Sequence[int], ratio: Sequence[float], divisor: int) -> "Reading":
        """With the smallest sides that cover the patch and that the network takes."""
        x, y, z = (
            divisor * max(1, math.ceil(side * scale / divisor - 1e-6))
            for side, scale in zip(patch, ratio, strict=True)
        )
        return cls((patch[0], patch[1], patch[2]), (x, y, z), (ratio[0], ratio[1], ratio[2]))


class LiveTeacher(ForeignNetwork):
    """Runs a foreign network on patches of its own view of the studies.

    Args:
        place: of its patches in ``Batch.given``: its images, Reading.sides along X, Y, Z.
        outputs: of the student: what is returned.
        task: of the student.
        live: the network, and what its channels are.
        reading: how its patches lie about the student's.
    """

    def __init__(
        self, place: int, outputs: Outputs, task: Task, live: Live, reading: Reading
    ) -> None:
        super().__init__(place, outputs, task)
        self.network, self.channels, self.shares = live.network, live.outputs, live.shares
        self.reading, self.outputs_only = reading, live.network.outputs_only

    @property
    def taps(self) -> dict[str, torch.nn.Module]:
        """The stages of its network."""
        return self.network.taps

    def oriented(self, features: Tensor) -> Tensor:
        """From the axes of its network to X, Y, Z."""
        back = [self.reading.axes.index(axis) + 2 for axis in range(3)]
        return features.flip(self._flipped).permute(0, 1, *back)

    def regions(self, patches: Tensor) -> Float[Tensor, "B 3 X Y Z"]:
        """Logits of WT, TC, ET on the student's grid, limited as stored ones are."""
        own = patches.permute(0, 1, *(axis + 2 for axis in self.reading.axes)).flip(self._flipped)
        logits = self.oriented(self._of_regions(self.network(own)[0].float()))
        return self._on_students_grid(logits.clamp(-LIMIT, LIMIT))

    @property
    def _flipped(self) -> list[int]:
        return [axis + 2 for axis in range(3) if self.reading.flips[axis]]

    def _of_regions(self, found: Tensor) -> Tensor:
        """Its output channels → logits of WT, TC, ET."""
        members = [list(each) for each in self.channels.members]
        if self.shares:
            summed = torch.stack([found[:, each].sum(1) for each in members], dim=1)
            return summed.clamp(LEAST, 1 - LEAST).logit()
        if self.channels.kind == "regions":
            return found[:, [each[0] for each in members]]
        others = [[i for i in range(self.channels.count) if i not in each] for each in members]
        odds = [
            found[:, inside].logsumexp(1) - found[:, outside].logsumexp(1)
            for inside, outside in zip(members, others, strict=True)
        ]
        return torch.stack(odds, dim=1)

    def _on_students_grid(self, logits: Tensor) -> Tensor:
        reading = self.reading
        spans = [
            side * scale / own
            for side, scale, own in zip(reading.patch, reading.ratio, reading.sides, strict=True)
        ]
        if reading.patch == reading.sides and spans == [1, 1, 1]:
            return logits
        shape = (len(logits), 3, *reading.patch)
        x, y, z = spans
        theta = logits.new_tensor([[z, 0, 0, 0], [0, y, 0, 0], [0, 0, x, 0]])  # its axes: Z Y X
        grid = functional.affine_grid(
            theta.expand(len(logits), 3, 4), list(shape), align_corners=False
        )
        return functional.grid_sample(
            logits, grid, mode="bilinear", padding_mode="border", align_corners=False
        )
