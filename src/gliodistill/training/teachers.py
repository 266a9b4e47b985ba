"""The foreign teachers of a training: opened and checked before anything is written, then asked."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import torch

from gliodistill.errors import RecipeError, note
from gliodistill.methods.segmentation import Outputs
from gliodistill.networks import Network
from gliodistill.preparation.cache import Cache
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.cohort import Cohort
from gliodistill.studies.records import StudyRecord
from gliodistill.tasks.task import Task
from gliodistill.teachers import ForeignTeacher, Teacher
from gliodistill.teachers.base import Live
from gliodistill.training.data.teacher_outputs import (
    Asked,
    TeacherOutputs,
    build_outputs,
    records_for,
)
from gliodistill.training.data.teacher_views import TeacherViews, build_views
from gliodistill.training.foreign import ForeignNetwork, LiveTeacher, Reading, StoredOutputs
from gliodistill.training.resolved import ResolvedRun, at_key

Answers = TeacherOutputs | TeacherViews


@dataclass(frozen=True)
class Opened:
    """A foreign teacher of one or more runs.

    Attributes:
        named: as the first of them names it.
        teacher: the same, opened.
        runs: that distil from it.
        live: what runs on patches, and how they are read; None where it predicts whole studies.
    """

    named: ForeignTeacher
    teacher: Teacher
    runs: tuple[ResolvedRun, ...]
    live: tuple[Live, Reading] | None

    @property
    def field(self) -> str:
        """Its key in the recipe."""
        return f"runs.{self.runs[0].name}.method.options"

    def network(
        self, place: int, outputs: Outputs, task: Task, answers: Answers | None
    ) -> ForeignNetwork:
        """Its network for a run; without ``answers`` one on the meta device, to check shapes."""
        if self.live is None:
            return StoredOutputs(place, outputs, task, self.named)
        live, reading = self.live
        if isinstance(answers, TeacherViews):
            return LiveTeacher(place, outputs, task, live, answers.reading)
        if any(True for _ in live.network.parameters()):
            network = copy.deepcopy(live.network).to("meta")
            live = Live(network, live.outputs, live.shares)
        return LiveTeacher(place, outputs, task, live, reading)

    def ask(self, asked: Asked) -> Answers:
        """Its outputs for studies, or the studies as it sees them."""
        if self.live is None:
            return build_outputs(self.named, self.teacher, asked)
        return build_views(self.named, self.teacher, self.live[1], asked)


Key = tuple[str, bool]
"""A teacher without the option ``live``, and whether it is."""


class Teachers:
    """The foreign teachers of the wanted runs, each opened once.

    Args:
        recipe: of the runs.
        wanted: runs to train.
        trained: name of an earlier run → a network like it, to check shapes.

    Raises:
        RecipeError: one that cannot run on patches, or a stage that it does not have.
        GliodistillError: its files are missing or are not what they should be.
    """

    def __init__(
        self, recipe: Recipe, wanted: Iterable[ResolvedRun], trained: Callable[[str], Network]
    ) -> None:
        using: dict[Key, list[tuple[ForeignTeacher, ResolvedRun]]] = {}
        for run in wanted:
            for teacher, live in zip(run.foreign, run.live, strict=True):
                using.setdefault(_key(teacher, live), []).append((teacher, run))
        self._opened = {key: _open(recipe, key[1], named) for key, named in using.items()}
        for run in {run.name: run for named in using.values() for _, run in named}.values():
            if any(run.live):
                self._check(run, recipe, trained)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._opened)

    def _check(self, run: ResolvedRun, recipe: Recipe, trained: Callable[[str], Network]) -> None:
        """Check stages and widths on the meta device."""
        with torch.device("meta"), at_key(f"runs.{run.name}.method"):
            method = run.build_method(
                trained, lambda place, named: self.network(run, place, named, {})
            )
            image, complete = (
                torch.empty(1, count, *recipe.sampling.patch)
                for count in (len(run.channels), len(run.data_sequences))
            )
            given = []
            for place, named in enumerate(run.foreign):
                opened = self._of(run, place, named)
                sides = recipe.sampling.patch if opened.live is None else opened.live[1].sides
                count = 3 if opened.live is None else len(opened.teacher.sequences)
                given.append(torch.empty(1, count, *sides))
            batch = SimpleNamespace(complete=complete, given=given)
            for distiller in method.distillers:
                distiller.check(image, distiller.teacher.input_of(batch))

    def _of(self, run: ResolvedRun, place: int, named: ForeignTeacher) -> Opened:
        return self._opened[_key(named, run.live[place])]

    def network(
        self,
        run: ResolvedRun,
        place: int,
        named: ForeignTeacher,
        answers: Mapping[Key, Answers],
    ) -> ForeignNetwork:
        """The network of a run's teacher; without ``answers`` for it one to check shapes."""
        found = answers.get(_key(named, run.live[place]))
        return self._of(run, place, named).network(place, run.part.outputs, run.task, found)

    def check(self, source: Cohort | Cache, training: Iterable[str]) -> None:
        """Check that each can predict the training studies."""
        for opened in self._opened.values():
            files = records_for(records_of(source), source, opened.field)
            for id in training:
                opened.teacher.check(files[id])

    def ask(self, asked: Callable[[tuple[ResolvedRun, ...], str], Asked]) -> dict[Key, Answers]:
        """Ask each about the training studies.

        Args:
            asked: the runs that distil from a teacher, and its key in the recipe → the studies.
        """
        return {
            key: opened.ask(asked(opened.runs, opened.field))
            for key, opened in self._opened.items()
        }


def answers_for(run: ResolvedRun, answers: Mapping[Key, Answers]) -> list[Answers]:
    """What the foreign teachers of a run give, in their order."""
    pairs = zip(run.foreign, run.live, strict=True)
    return [answers[_key(teacher, live)] for teacher, live in pairs]


def records_of(source: Cohort | Cache) -> dict[str, StudyRecord] | None:
    """The files of the studies by id; None for a cache."""
    if isinstance(source, Cache):
        return None
    return {record.id: record for record in source.studies}


def _key(teacher: ForeignTeacher, live: bool) -> Key:
    values = teacher.as_dict()
    values.pop("live", None)
    return str(values), live


def _open(recipe: Recipe, live: bool, named: list[tuple[ForeignTeacher, ResolvedRun]]) -> Opened:
    teacher, runs = named[0][0], tuple(run for _, run in named)
    opened = teacher.open()
    if not live:
        return Opened(teacher, opened, runs, None)
    field = f"runs.{runs[0].name}.method.options.teacher"
    with at_key(field):
        parts = opened.live()
    reading = reading_of(recipe, opened, parts.network.divisor, field)
    ours = [side / scale for side, scale in zip(reading.sides, reading.ratio, strict=True)]
    if opened.patch is not None and any(
        side < theirs for side, theirs in zip(reading.sides, opened.patch, strict=True)
    ):
        note(
            f"{teacher} sees patches of {' × '.join(map(str, reading.sides))} of its voxels, and"
            f" was trained on {' × '.join(map(str, opened.patch))}: larger ones (sampling.patch,"
            f" now {' × '.join(f'{side:g}' for side in ours)}) show it more"
        )
    return Opened(teacher, opened, runs, (parts, reading))


def reading_of(recipe: Recipe, opened: Teacher, divisor: int, field: str) -> Reading:
    """How a live teacher's patches are read.

    Raises:
        RecipeError: its voxel size or the student's is each study's own.
    """
    ours, theirs = recipe.data.spacing, opened.spacing
    if (ours is None) != (theirs is None):
        raise RecipeError(
            "a live teacher and its student need a voxel size each",
            field="data.spacing" if ours is None else f"{field}.spacing",
            got="each study's own",
            expected="mm along R, A, S",
        )
    ratio = [
        1.0 if ours is None or theirs is None else ours[axis] / theirs[axis] for axis in range(3)
    ]
    return Reading.of(recipe.sampling.patch, ratio, divisor)
