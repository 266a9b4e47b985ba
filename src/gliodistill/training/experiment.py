"""An experiment: a folder with a recipe, a split and trained runs."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import torch

from gliodistill import __version__
from gliodistill.documents import Fields, Refusal, read_json
from gliodistill.errors import CheckpointError, RecipeError
from gliodistill.files import write_text
from gliodistill.networks import Network
from gliodistill.recipes.reading import STORED, read_values
from gliodistill.recipes.schema import PRETRAINED, Recipe
from gliodistill.studies.labels import CONVENTIONS, LabelConvention, find_convention
from gliodistill.training.checkpoint import load_weights, read_tensors
from gliodistill.training.loop import BEST, LAST
from gliodistill.training.resolve import resolve_run
from gliodistill.training.resolved import ResolvedRun

RECIPE, DATA, SUMMARY = "recipe.yaml", "data.json", "summary.json"
_NO_RUN = Refusal(CheckpointError, "not a run folder", "give the folder of gliodistill train -o")
_NO_SUMMARY = Refusal(CheckpointError, "not the summary of a run", "train the run again")


@dataclass(frozen=True)
class Experiment:
    """A folder with a recipe, a split and trained runs.

    Attributes:
        folder: ``recipe.yaml``, ``data.json``, ``cache/`` (unless one was given) and one folder per
            run.
        recipe: complete.
        split: ``training`` and ``validation`` → study ids.
        convention: label convention of the references.
        cache: folder of the prepared studies.
        pseudo: the pseudo-labelled studies its runs use, if any: ``folder``, ``sha256``,
            ``studies``, and the ``transductive`` ones (of validation patients).
        pretrained: the run of another training that its runs are initialised from, if any:
            ``folder``, ``recipe``, ``run``, ``weights_sha256``.
    """

    folder: Path
    recipe: Recipe
    split: dict[str, list[str]]
    convention: LabelConvention | None
    cache: Path
    pseudo: dict[str, Any] | None = None
    pretrained: dict[str, str] | None = None

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "Experiment":
        """Open the folder of a training.

        Raises:
            CheckpointError: it is not one, or its recipe has the keys of another version.
        """
        root = Path(folder)
        if not ((root / DATA).is_file() and (root / RECIPE).is_file()):
            raise CheckpointError(
                "not a run folder",
                file=root,
                expected=f"{RECIPE} and {DATA}",
                hint=_NO_RUN.hint,
            )
        data = Fields(read_json(root / DATA, _NO_RUN), _NO_RUN.of(root / DATA))
        recipe = _stored_recipe(root / RECIPE, data)  # first: its task may bring the convention
        convention = None
        if data.get("convention", (str, NoneType), "a name or null") is not None:
            brought = {each.name for each in recipe.described_task.conventions}
            name = data.text("convention", (*CONVENTIONS, *sorted(brought - set(CONVENTIONS))))
            convention = find_convention(name)
        split = {side: data.part("split").texts(side) for side in ("training", "validation")}
        return cls(
            root,
            recipe,
            split,
            convention,
            root / data.text("cache"),
            _optional(data, "pseudo", ("folder", "sha256"), ("studies", "transductive")),
            _optional(data, "pretrained", ("folder", "recipe", "run", "weights_sha256")),
        )

    def __repr__(self) -> str:
        runs = ", ".join(
            name if self.is_finished(name) else f"{name} (not finished)"
            for name in self.recipe.runs
        )
        return f"<Experiment {self.recipe.name} in {self.folder}: {runs}>"

    def run(self, name: str) -> ResolvedRun:
        """A run of the recipe, resolved."""
        return resolve_run(self.recipe, name)

    def summary(self, run: str) -> dict[str, Any]:
        """Summary of a finished run: steps, seconds, best Dice, parameters, FLOPs, hash of the last
        EMA.

        Raises:
            CheckpointError: the run is not finished.
        """
        file = self.folder / run / SUMMARY
        if not file.is_file():
            raise CheckpointError(
                "run is not finished", file=self.folder / run, hint="continue it with --resume"
            )
        told = Fields(read_json(file, _NO_SUMMARY), _NO_SUMMARY.of(file))
        told.whole("steps"), told.whole("parameters"), told.number("flops"), told.number("seconds")
        told.sha256("weights_sha256")
        if told.get("dice", (dict, NoneType), "an object or null") is not None:
            dice = told.part("dice")
            for region in dice:
                dice.get(region, (int, float, NoneType), "a number or null")
        if "pseudo" in told:
            told.part("pseudo").whole("studies"), told.part("pseudo").whole("transductive")
        return dict(told.values)

    def is_finished(self, run: str) -> bool:
        """Whether the run trained to its last step."""
        return (self.folder / run / SUMMARY).exists()

    def is_begun(self) -> bool:
        """Whether any run has a checkpoint; then its recipe must be continued."""
        return any(
            (self.folder / run / name).exists()
            for run in self.recipe.runs
            for name in (LAST, SUMMARY)
        )

    def load_network(self, run: str, role: str = "student") -> Network:
        """The run's network with its best weights, in evaluation mode.

        Args:
            run: its name.
            role: ``student``, or a jointly trained network, e.g. the ``teacher`` of
                ``single_stage``.

        Raises:
            CheckpointError: no such run or role, or its weights are missing or damaged.
        """
        if run not in self.recipe.runs:
            raise CheckpointError(
                "no such run", file=self.folder, got=run, expected=", ".join(self.recipe.runs)
            )
        with torch.random.fork_rng(
            devices=[]
        ):  # initialisation must not use the generator of a training
            if role == "student":
                network = self.run(run).build_network()
            else:
                trainable = self.run(run).build_method(self.load_network).trainable
                if role not in trainable:
                    raise CheckpointError(
                        "no trained network of that role",
                        file=self.folder / run,
                        got=role,
                        expected=", ".join(trainable),
                    )
                network = trainable[role]
        weights, _ = read_tensors(self.folder / run / BEST)
        own = {
            name.removeprefix(f"{role}."): tensor
            for name, tensor in weights.items()
            if name.startswith(f"{role}.")
        }
        load_weights(network, own, self.folder / run / BEST)
        return network.eval()

    def source(self, name: str) -> Network:
        """The network of an earlier run, or the ``pretrained`` one.

        Raises:
            CheckpointError: it is missing, or its weights have changed.
        """
        if name != PRETRAINED:
            return self.load_network(name)
        assert self.pretrained is not None  # before anything was written
        other = Experiment.open(self.pretrained["folder"])
        there = other.summary(self.pretrained["run"])["weights_sha256"]
        if there != self.pretrained["weights_sha256"]:
            raise CheckpointError(
                "the pretrained run was trained again",
                file=other.folder / self.pretrained["run"],
            )
        return other.load_network(self.pretrained["run"])

    def named(self, name: str) -> str:
        """Name of an earlier run, or of the ``pretrained`` one, for people."""
        if name != PRETRAINED or self.pretrained is None:
            return f"run {name}"
        return f"run {self.pretrained['run']} of {self.pretrained['recipe']}"

    def write(self) -> None:
        """Write recipe and plan into the folder.

        Raises:
            OutputError: they cannot be written.
        """
        data = {
            "version": __version__,
            "split": self.split,
            "convention": None if self.convention is None else self.convention.name,
            "cache": "cache" if self.cache == self.folder / "cache" else str(self.cache.resolve()),
            "pseudo": self.pseudo,
            "pretrained": self.pretrained,
        }
        write_text(self.folder / DATA, json.dumps(data, indent=1))
        write_text(self.folder / RECIPE, self.recipe.to_yaml())


def _stored_recipe(file: Path, data: Fields) -> Recipe:
    """The recipe of a training, which another version may have written."""
    try:
        return Recipe.of(read_values(file, times=STORED), file)
    except RecipeError as error:
        version = data.text("version") if "version" in data else "of an early version"
        raise CheckpointError(
            f"stored recipe is not of this version: {error.problem}",
            file=file,
            field=error.field,
            got=error.got,
            expected=error.expected,
            hint=f"it was written by gliodistill {version}",
        ) from error


def _optional(
    data: Fields, name: str, texts: tuple[str, ...], lists: tuple[str, ...] = ()
) -> dict[str, Any] | None:
    """An object of ``data.json`` that may be null or absent."""
    if data.values.get(name) is None:
        return None
    part = data.part(name)
    return {key: part.text(key) for key in texts} | {key: part.texts(key) for key in lists}


def find_run(path: str | os.PathLike[str], run: str | None = None) -> tuple[Experiment, str]:
    """The experiment and run meant by the folder of an experiment (its last run: the student) or of
    one of its runs.

    Raises:
        CheckpointError: neither.
    """
    folder = Path(path)
    if run is None and not (folder / RECIPE).exists() and (folder.parent / RECIPE).exists():
        folder, run = folder.parent, folder.name
    experiment = Experiment.open(folder)
    name = run or list(experiment.recipe.runs)[-1]
    if name not in experiment.recipe.runs:
        raise CheckpointError(
            "no such run", file=folder, got=name, expected=", ".join(experiment.recipe.runs)
        )
    return experiment, name
