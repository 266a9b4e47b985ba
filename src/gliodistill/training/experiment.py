"""An experiment: a folder with a recipe, who trains and who validates, and trained runs."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gliodistill import __version__
from gliodistill.errors import CheckpointError, RecipeError
from gliodistill.files import write_text
from gliodistill.networks import Network
from gliodistill.studies.labels import CONVENTIONS, LabelConvention
from gliodistill.training.checkpoint import load_weights, read_tensors
from gliodistill.training.loop import BEST, LAST
from gliodistill.training.methods import build_method, build_network, learners_of
from gliodistill.training.recipe import GIVEN, Recipe
from gliodistill.training.recipe_file import load_recipe

RECIPE, DATA, SUMMARY = "recipe.yaml", "data.json", "summary.json"


@dataclass(frozen=True)
class Experiment:
    """A folder with a recipe, a split and trained runs.

    Attributes:
        folder: ``recipe.yaml``, ``data.json``, ``cache/`` (unless one was given) and one folder a
        run.
        recipe: complete.
        split: ``training`` and ``validation`` → study ids.
        convention: label convention of the truth.
        cache: folder of the prepared studies.
        pseudo: which pseudo-labelled studies its runs learn from, if any does: ``folder``,
            ``sha256``, ``studies`` and those of them that are ``transductive`` (their patients
            validate).
        start: the run of another training that its ``given`` runs start from, if any does:
            ``folder``, ``run``, ``weights_sha256``.
    """

    folder: Path
    recipe: Recipe
    split: dict[str, list[str]]
    convention: LabelConvention | None
    cache: Path
    pseudo: dict[str, Any] | None = None
    start: dict[str, str] | None = None

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "Experiment":
        """Open the folder of a training.

        Raises:
            CheckpointError: it is not one, or its recipe is of a version that had other keys.
        """
        root, version = Path(folder), None
        try:
            data = json.loads((root / DATA).read_text())
            version = data.get("version")
            convention = None if data["convention"] is None else CONVENTIONS[data["convention"]]
            recipe, cache = load_recipe(root / RECIPE), root / data["cache"]
            return cls(
                root,
                recipe,
                data["split"],
                convention,
                cache,
                data.get("pseudo"),
                data.get("start"),
            )
        except RecipeError as error:
            raise CheckpointError(
                f"stored recipe is not of this version: {error.problem}",
                file=root / RECIPE,
                field=error.field,
                got=error.got,
                expected=error.expected,
                hint=f"it was written by gliodistill {version or 'of an early version'}",
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                "not a run folder",
                file=root,
                expected=f"{RECIPE} and {DATA}",
                hint="give the folder of gliodistill train -o",
            ) from error

    def summary(self, run: str) -> dict[str, Any]:
        """What a finished run wrote: steps, seconds, best Dice, parameters, FLOPs, hash of the last
        moving average.

        Raises:
            CheckpointError: the run is not finished.
        """
        try:
            summary: dict[str, Any] = json.loads((self.folder / run / SUMMARY).read_text())
            return summary
        except (OSError, ValueError) as error:
            raise CheckpointError(
                "run is not finished", file=self.folder / run, hint="continue it with --resume"
            ) from error

    def is_finished(self, run: str) -> bool:
        """Whether the run trained to its last step."""
        return (self.folder / run / SUMMARY).exists()

    def is_begun(self) -> bool:
        """Whether any run has a checkpoint: what was trained then binds whoever continues."""
        return any(
            (self.folder / run / name).exists()
            for run in self.recipe.runs
            for name in (LAST, SUMMARY)
        )

    def load_network(self, run: str, role: str = "student") -> Network:
        """The run's network with its best weights, in evaluation mode.

        Args:
            run: its name.
            role: ``student``, or who learnt beside it, e.g. the ``teacher`` of ``single_stage``.

        Raises:
            CheckpointError: no such run or role, or its weights are missing or damaged.
        """
        if run not in self.recipe.runs:
            raise CheckpointError(
                "no such run", file=self.folder, got=run, expected=", ".join(self.recipe.runs)
            )
        with torch.random.fork_rng(
            devices=[]
        ):  # a fresh network draws weights: not from the generator of a training
            if role == "student":
                network = build_network(self.recipe, run)
            else:
                learners = learners_of(build_method(self.recipe, run, self.load_network))
                if role not in learners:
                    raise CheckpointError(
                        "nobody of that role learnt",
                        file=self.folder / run,
                        got=role,
                        expected=", ".join(learners),
                    )
                network = learners[role]
        weights, _ = read_tensors(self.folder / run / BEST)
        own = {
            name.removeprefix(f"{role}."): tensor
            for name, tensor in weights.items()
            if name.startswith(f"{role}.")
        }
        load_weights(network, own, self.folder / run / BEST)
        return network.eval()

    def starting(self, name: str) -> Network:
        """The network of an earlier run, or the ``given`` one: what a run starts from, or keeps a
        share of.

        Raises:
            CheckpointError: it is gone, or its weights are others now.
        """
        if name != GIVEN:
            return self.load_network(name)
        assert self.start is not None  # asked for before anything was written
        other = Experiment.open(self.start["folder"])
        if other.summary(self.start["run"])["weights_sha256"] != self.start["weights_sha256"]:
            raise CheckpointError(
                "the run to start from was trained anew", file=other.folder / self.start["run"]
            )
        return other.load_network(self.start["run"])

    def called(self, name: str) -> str:
        """What an earlier run, or the ``given`` one, is called in words."""
        if name != GIVEN or self.start is None:
            return f"run {name}"
        return f"run {self.start['run']} of {self.start['recipe']}"

    def write(self) -> None:
        """Write the recipe and the plan into the folder.

        Raises:
            OutputError: they cannot be written.
        """
        data = {
            "version": __version__,
            "split": self.split,
            "convention": None if self.convention is None else self.convention.name,
            "cache": "cache" if self.cache == self.folder / "cache" else str(self.cache.resolve()),
            "pseudo": self.pseudo,
            "start": self.start,
        }
        write_text(self.folder / DATA, json.dumps(data, indent=1))
        write_text(self.folder / RECIPE, self.recipe.to_yaml())


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
