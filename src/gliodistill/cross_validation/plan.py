"""The plan of a cross-validation: which runs there are, and which need which."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType

from gliodistill import __version__
from gliodistill.documents import Fields, Refusal, read_json
from gliodistill.errors import CheckpointError, OutputError, RecipeError
from gliodistill.files import contents, write_text
from gliodistill.recipes.reading import read_values
from gliodistill.recipes.schema import Recipe
from gliodistill.training.resolve import resolve
from gliodistill.training.resuming import bound, differences

PLAN, RECIPE, CACHE = "folds.json", "recipe.yaml", "cache"
_NO_PLAN = Refusal(
    CheckpointError, "not a cross-validation", "give the folder of gliodistill train --folds"
)


@dataclass(frozen=True)
class FoldRun:
    """A run of a recipe, trained without the patients of a fold.

    Attributes:
        fold: counted from 1.
        seed: added to that of the recipe's run.
        run: its name.
    """

    fold: int
    seed: int
    run: str

    @property
    def experiment(self) -> str:
        """Folder of all runs with this fold and seed."""
        return f"fold{self.fold}-seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.experiment}/{self.run}"


@dataclass(frozen=True)
class CrossValidation:
    """A folder with the runs of a recipe for every fold and seed, an experiment for each pair.

    Attributes:
        folder: ``folds.json``, ``recipe.yaml``, ``cache/`` and the experiments
            ``fold1-seed0/``, ….
        recipe: as given; the runs have other seeds and validation patients.
        folds: their number; each patient is in one.
        seeds: each added to the seeds of the recipe's runs.
        data: the labelled studies, absolute.
        layout: of the studies, if it was named.
        labels: their label convention, if it was named.
    """

    folder: Path
    recipe: Recipe
    folds: int
    seeds: tuple[int, ...]
    data: Path
    layout: str | None = None
    labels: str | None = None

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise RecipeError(
                "a cross-validation needs folds",
                field="folds",
                got=self.folds,
                expected="2 or more",
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise RecipeError(
                "unusable seeds", field="seeds", got=self.seeds, expected="integers ≥ 0, each once"
            )

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "CrossValidation":
        """Open the folder of a cross-validation.

        Raises:
            CheckpointError: it is none.
        """
        root = Path(folder)
        told = Fields(read_json(root / PLAN, _NO_PLAN), _NO_PLAN.of(root / PLAN))
        given = {
            name: told.get(name, (str, NoneType), "a name or null") for name in ("layout", "labels")
        }
        return cls(
            root,
            Recipe.of(read_values(root / RECIPE), root / RECIPE),
            told.whole("folds"),
            tuple(int(seed) for seed in told.texts("seeds")),
            Path(told.text("data")),
            **given,
        )

    def claim(self, resume: bool) -> None:
        """Take the folder, or continue in it.

        Raises:
            OutputError: it holds something and ``resume`` is not given.
            CheckpointError: it holds something else.
        """
        there = contents(self.folder) if self.folder.is_dir() else []
        if all(path.name == RECIPE for path in there):  # also after a kill before the plan
            return
        if not resume:
            raise OutputError(
                "output exists",
                file=self.folder,
                expected="a new folder",
                hint="continue with --resume, or choose another",
            )
        stored = CrossValidation.open(self.folder)
        for name in ("folds", "seeds", "data"):
            mine, theirs = getattr(self, name), getattr(stored, name)
            if mine != theirs:
                raise CheckpointError(
                    "folder holds another cross-validation",
                    file=self.folder / PLAN,
                    field=name,
                    got=mine,
                    expected=theirs,
                    hint="resume with the same, or choose another folder",
                )
        if differing := bound(differences(stored.recipe, self.recipe)):
            key, (theirs, mine) = next(iter(differing.items()))
            raise CheckpointError(
                "folder holds another recipe",
                file=self.folder / RECIPE,
                field=key,
                got=mine,
                expected=theirs,
                hint="resume with the stored recipe, or choose another folder",
            )

    def write(self) -> None:
        """Write recipe and plan, the plan last.

        Raises:
            OutputError: they cannot be written.
        """
        facts = {
            "version": __version__,
            "folds": self.folds,
            "seeds": [str(seed) for seed in self.seeds],
            "data": str(self.data),
            "layout": self.layout,
            "labels": self.labels,
        }
        write_text(self.folder / RECIPE, self.recipe.to_yaml())
        write_text(self.folder / PLAN, json.dumps(facts, indent=1) + "\n")

    @cached_property
    def units(self) -> tuple[FoldRun, ...]:
        """All runs: fold by fold and seed by seed, in the order of the recipe."""
        return tuple(
            FoldRun(fold, seed, run)
            for seed in self.seeds
            for fold in range(1, self.folds + 1)
            for run in self.recipe.runs
        )

    def recipe_of(self, unit: FoldRun) -> Recipe:
        """The recipe of its experiment: the fold is for validation, and seeds are shifted."""
        data = self.recipe.data.model_copy(update={"validation": f"{unit.fold}/{self.folds}"})
        runs = {
            name: run.model_copy(update={"seed": run.seed + unit.seed})
            for name, run in self.recipe.runs.items()
        }
        return self.recipe.model_copy(update={"data": data, "runs": runs})

    def needs(self, unit: FoldRun, one_by_one: bool = False) -> list[FoldRun]:
        """The runs of its experiment to train before: those that it needs, or, ``one_by_one``, the
        one before it.
        """
        if one_by_one:
            names = list(self.recipe.runs)
            before: Sequence[str] = names[: names.index(unit.run)][-1:]
        else:
            before = self._needs[unit.run]
        return [FoldRun(unit.fold, unit.seed, run) for run in before]

    @cached_property
    def _needs(self) -> dict[str, tuple[str, ...]]:
        return {run.name: run.needs for run in resolve(self.recipe)}
