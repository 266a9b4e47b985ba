"""A resolved run: what one run of a recipe means, and how its networks and method are built.

Training, loading and export use the resolved run, not the recipe.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from gliodistill.errors import RecipeError
from gliodistill.methods import Method
from gliodistill.methods.segmentation import SegmentationLoss
from gliodistill.networks import Network, build
from gliodistill.networks.subset import Selecting
from gliodistill.recipes.schema import NetworkPart, RunPart
from gliodistill.studies.sequence import MRSequence
from gliodistill.tasks.task import Task
from gliodistill.teachers import ForeignTeacher
from gliodistill.training.foreign import Unopened


@dataclass(frozen=True)
class ResolvedRun:
    """One run of a recipe, ready to be built.

    Attributes:
        name: in the recipe.
        part: the run's part of the recipe, with shared keys.
        task: of the recipe: the regions that it learns.
        data_sequences: the sequences of the data, in channel order.
        channels: indices of the network's sequences among them, ascending.
        sequences: the sequences the network takes, in channel order.
        method: the class of its method.
        teachers: option of the method → its teachers: earlier runs, or foreign ones.
        jointly_trained: option of the method → the network trained together with the student.
        options: the method's other options, checked.
        segmentation_loss: of the recipe, its options checked.
        plugins: what other packages add to the run, as ``network plug_net``, to the package and its
            version.
        init_from: the earlier run that it is initialised from, ``pretrained``, or None.
        averaging: runs (or ``pretrained``) of the weight averaging → share.
        needs: the earlier runs it needs, each once: initial weights, averaging, teachers.
        divisor: the sides of the network's input are multiples of it.
        live: for each foreign teacher, whether it runs on the patches of each step.
    """

    name: str
    part: RunPart
    task: Task
    data_sequences: tuple[MRSequence, ...]
    channels: tuple[int, ...]
    sequences: tuple[MRSequence, ...]
    method: type[Method]
    teachers: Mapping[str, tuple["ResolvedRun | ForeignTeacher", ...]]
    jointly_trained: Mapping[str, NetworkPart]
    options: Mapping[str, Any]
    segmentation_loss: SegmentationLoss
    plugins: Mapping[str, str]
    init_from: str | None
    averaging: Mapping[str, float]
    needs: tuple[str, ...]
    divisor: int = 1
    live: tuple[bool, ...] = ()

    @property
    def out_channels(self) -> int:
        """Output channels: the task's regions, or background and as many classes."""
        return len(self.task.regions) + (self.part.outputs == "classes")

    @property
    def foreign(self) -> tuple[ForeignTeacher, ...]:
        """Its teachers that are no runs, in the order of their patches in ``Batch.given``."""
        every = (teacher for named in self.teachers.values() for teacher in named)
        return tuple(teacher for teacher in every if isinstance(teacher, ForeignTeacher))

    def build_network(self) -> Network:
        """A network initialised from torch's generator."""
        return _build(self.part.network, len(self.channels), self.out_channels)

    def build_method(
        self,
        trained: Callable[[str], Network],
        foreign: Callable[[int, ForeignTeacher], Network] | None = None,
    ) -> Method:
        """The method with a new student.

        Args:
            trained: name of an earlier run → its trained network.
            foreign: place and foreign teacher → its network; None = one whose files are not opened.
        """
        # First, so that initial weights are the same with and without a teacher.
        student = self.build_network()
        networks: dict[str, Any] = {}
        place = 0
        for option, teachers in self.teachers.items():
            loaded: list[Network] = []
            for teacher in teachers:
                if isinstance(teacher, ResolvedRun):
                    network = trained(teacher.name)
                    loaded.append(self._seeing(network, teacher.channels, "complete"))
                else:
                    loaded.append(
                        Unopened(place, self.part.outputs, self.task, teacher)
                        if foreign is None
                        else foreign(place, teacher)
                    )
                    place += 1
            networks[option] = loaded if self._several(option) else loaded[0]
        for option, part in self.jointly_trained.items():
            kind, width = self.method.needs.jointly_trained[option], self._width(option)
            with at_key(f"options.{option}"):
                built = _build(part, width, self.out_channels)
            networks[option] = self._seeing(built, range(width), kind)
        method = self.method(student, self.part.outputs, **networks, **self.options)
        method.segment_by(self.segmentation_loss)
        return method

    def _seeing(self, network: Network, channels: Sequence[int], image: str) -> Network:
        """A network whose input is the ``image`` of a batch, of which it takes ``channels``."""
        given = len(self.data_sequences if image == "complete" else self.channels)
        every = tuple(channels) == tuple(range(given))
        return network if every else Selecting(network, list(channels))

    def _several(self, option: str) -> bool:
        return self.method.needs.trained[option] == "several"

    def _width(self, option: str) -> int:
        complete = self.method.needs.jointly_trained[option] == "complete"
        return len(self.data_sequences if complete else self.channels)


def _build(part: NetworkPart, in_channels: int, out_channels: int) -> Network:
    for option in ("in_channels", "out_channels"):
        if option in part.options:
            raise RecipeError(
                "set by the recipe's sequences and outputs",
                field=f"options.{option}",
                hint="remove it",
            )
    if torch.get_default_device().type == "meta":
        return on_meta(part.model_dump_json(), in_channels, out_channels)
    return build(part.name, in_channels=in_channels, out_channels=out_channels, **part.options)


@lru_cache(maxsize=256)
def on_meta(part: str, in_channels: int, out_channels: int) -> Network:
    """A network on the meta device, for checks; cached, because runs share networks."""
    described = NetworkPart.model_validate_json(part)
    return build(
        described.name, in_channels=in_channels, out_channels=out_channels, **described.options
    )


@contextmanager
def at_key(place: str) -> Iterator[None]:
    """Add the recipe's key to an error of a network's or method's options."""
    try:
        yield
    except RecipeError as error:
        inner = error.field or ""
        field = inner if inner.startswith("runs.") else f"{place}.{inner}".rstrip(".")
        raise RecipeError(
            error.problem, field=field, got=error.got, expected=error.expected, hint=error.hint
        ) from None
    except (TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise RecipeError("options do not fit", field=f"{place}.options", got=str(error)) from error
