"""The teacher of a planned student, and its recipe."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gliodistill.documents import Refusal
from gliodistill.documents.yaml_text import read_yaml
from gliodistill.errors import RecipeError
from gliodistill.networks import Network, build, describe, names
from gliodistill.recipes.catalogue import shipped_recipes
from gliodistill.recipes.schema import Recipe
from gliodistill.registry import nearest
from gliodistill.teachers import ForeignTeacher
from gliodistill.teachers import Teacher as Opened
from gliodistill.training.experiment import RECIPE, Experiment
from gliodistill.training.resolve import resolve, resolve_run

FRAME = "compression"
"""The shipped recipe for networks given without a recipe."""


@dataclass(frozen=True)
class Teacher:
    """A run of a recipe that is the teacher.

    Attributes:
        run: its name in the recipe.
        recipe: complete.
        values: the same recipe as plain values, to be extended with the student.
        trained: whether it is the folder of a training.
        named, opened: a teacher of another tool, which is no run; then ``run`` stands in for it.
    """

    run: str
    recipe: Recipe
    values: dict[str, Any]
    trained: bool
    named: ForeignTeacher | None = None
    opened: Opened | None = None

    @property
    def network(self) -> str:
        """Its network's name in the registry, or the teacher's kind and place."""
        if self.named is not None:
            return str(self.named)
        return self.recipe.runs[self.run].network.name

    @property
    def norm(self) -> str | None:
        """The norm of its network, if that is an option."""
        if self.named is not None:
            return None
        norm = self.recipe.runs[self.run].network.options.get(
            "norm", describe(self.network).options.get("norm")
        )
        return None if norm is None else str(norm)

    @property
    def channels(self) -> tuple[int, int]:
        """Input and output channels, which are also the student's."""
        run = resolve_run(self.recipe, self.run)
        return len(run.channels), run.out_channels

    def build(self) -> Network | None:
        """Its network, since costs do not depend on the weights; None where only the outputs of a
        teacher are known.
        """
        if self.opened is not None:
            return self.opened.as_network()
        return resolve_run(self.recipe, self.run).build_network()


def find_teacher(text: str) -> Teacher:
    """The teacher meant by the folder of a training, by that of one of its runs, or by the name of
    a network.

    For a training, it is the run that is the teacher of others (or its only run). A network is
    planned in the recipe ``compression`` (1 mm, its patch rounded up to valid sides).

    Raises:
        RecipeError: nothing of these, or a training with several teachers.
        CheckpointError: a folder that is no training.
    """
    if Path(text).exists():
        return _of_run(Path(text))
    if text in names():
        return _of_network(text)
    raise RecipeError(
        "no such teacher",
        field="--teacher",
        got=text,
        expected=f"the folder of a training or of one of its runs, or one of {', '.join(names())}",
        hint=nearest(text, names()),
    )


def _of_run(folder: Path) -> Teacher:
    if (folder / RECIPE).exists() or not (folder.parent / RECIPE).exists():
        experiment = Experiment.open(folder)
        recipe = experiment.recipe
        teaching = list(
            dict.fromkeys(teacher for run in resolve(recipe) for teacher in run.needs)
        ) or list(recipe.runs)
        if len(teaching) > 1:
            hint = f"give one of its runs, e.g. {folder / teaching[0]}"
            raise RecipeError(
                "not one teacher",
                file=folder,
                field="--teacher",
                got=", ".join(teaching),
                expected="one",
                hint=hint,
            )
        run = teaching[0]
    else:
        experiment, run = Experiment.open(folder.parent), folder.name
        recipe = experiment.recipe
        if run not in recipe.runs:
            raise RecipeError(
                "no such run",
                file=folder.parent,
                field="--teacher",
                got=run,
                expected=", ".join(recipe.runs),
            )
    return Teacher(run, recipe, recipe.model_dump(mode="json"), trained=True)


def _of_network(name: str) -> Teacher:
    values = read_yaml(shipped_recipes()[FRAME], Refusal(RecipeError, "cannot read the recipe"))
    with torch.device("meta"):
        divisor = build(name).divisor
    patch = [
        math.lcm(16, divisor) * -(-side // math.lcm(16, divisor))
        for side in values["sampling"]["patch"]
    ]
    values = {
        key: value
        for key, value in values.items()
        if key not in ("about", "citation", "expected", "cost")
    }
    values |= {
        "name": f"plan-{name}",
        "sampling": values["sampling"] | {"patch": patch},
        "runs": {"teacher": {"network": {"name": name}}},
    }
    recipe = Recipe.of(values, Path(f"{FRAME}.yaml"))
    resolve(recipe)
    return Teacher("teacher", recipe, values, trained=False)
