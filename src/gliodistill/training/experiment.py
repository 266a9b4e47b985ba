"""A recipe run from data to trained runs: prepare, split by patient, train each run in order, each resumable."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gliodistill.errors import CacheError, CheckpointError
from gliodistill.files import write_text
from gliodistill.networks import Network, count_parameters, flops
from gliodistill.preparation.cache import Cache, build_cache, is_cache
from gliodistill.studies.cohort import open_cohort, split_patients
from gliodistill.studies.labels import CONVENTIONS, LabelConvention
from gliodistill.training.checkpoint import load_weights, read_tensors
from gliodistill.training.loop import BEST, SUMMARY, Progress, train_run
from gliodistill.training.methods import NEEDS_TEACHER, build_method, build_network, teacher_of
from gliodistill.training.recipe import Recipe, load_recipe
from gliodistill.training.sampling import PatchSampler

RECIPE, DATA = "recipe.yaml", "data.json"
Watch = Callable[[str, int, Progress], None]


@dataclass(frozen=True)
class Experiment:
    """A folder with a recipe, a split and trained runs.

    Attributes:
        folder: ``recipe.yaml``, ``data.json``, ``cache/`` (unless one was given) and one folder a run.
        recipe: complete.
        split: ``training`` and ``validation`` → study ids.
        convention: label convention of the truth.
        cache: folder of the prepared studies.
    """

    folder: Path
    recipe: Recipe
    split: dict[str, list[str]]
    convention: LabelConvention | None
    cache: Path

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "Experiment":
        """Open the folder of a training.

        Raises:
            CheckpointError: it is not one.
        """
        root = Path(folder)
        try:
            data = json.loads((root / DATA).read_text())
            convention = None if data["convention"] is None else CONVENTIONS[data["convention"]]
            return cls(root, load_recipe(root / RECIPE), data["split"], convention, root / data["cache"])
        except (OSError, json.JSONDecodeError, KeyError) as error:
            raise CheckpointError(
                "not a run folder", file=root, expected=f"{RECIPE} and {DATA}", hint="give the folder of gliodistill train -o"
            ) from error

    def summary(self, run: str) -> dict[str, Any]:
        """What a finished run wrote: steps, seconds, best Dice, parameters, FLOPs, hash.

        Raises:
            CheckpointError: the run is not finished.
        """
        try:
            summary: dict[str, Any] = json.loads((self.folder / run / SUMMARY).read_text())
            return summary
        except (OSError, json.JSONDecodeError) as error:
            raise CheckpointError("run is not finished", file=self.folder / run, hint="continue it with --resume") from error

    def is_finished(self, run: str) -> bool:
        """Whether the run trained to its last step."""
        return (self.folder / run / SUMMARY).exists()

    def load_network(self, run: str) -> Network:
        """The run's network with its best weights, in evaluation mode.

        Raises:
            CheckpointError: no such run, or its weights are missing or damaged.
        """
        if run not in self.recipe.runs:
            raise CheckpointError("no such run", file=self.folder, got=run, expected=", ".join(self.recipe.runs))
        network = build_network(self.recipe, self.recipe.runs[run])
        weights, _ = read_tensors(self.folder / run / BEST)
        load_weights(network, weights, self.folder / run / BEST)
        return network.eval()


def run_experiment(
    recipe: Recipe,
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    labels: str | None = None,
    only: tuple[str, ...] = (),
    jobs: int | None = None,
    watch: Watch = lambda run, steps, progress: None,
) -> Experiment:
    """Train every run of ``recipe`` (or ``only`` some) on the studies at ``data``.

    Args:
        recipe: complete and validated.
        data: a cohort in any known layout, or a cache of ``gliodistill prepare`` with the recipe's preparation.
        out: new, or with ``resume`` the folder of the same recipe.
        labels: label convention of a cohort, where it cannot be told.
        only: runs to train now; a teacher that is needed must be finished.
        jobs: processes that prepare.
        watch: called after each step with the run's name, its steps and its progress.

    Raises:
        CheckpointError: ``out`` holds another recipe, or something is there without ``resume``.
        GliodistillError: whatever is wrong with the data or the training.
    """
    root = Path(out)
    _claim(root, recipe, resume)
    cache = _open_data(recipe, Path(data), root, labels, jobs)
    split = _split(recipe, cache)
    root.mkdir(parents=True, exist_ok=True)
    convention = None if cache.convention is None else cache.convention.name
    place = "cache" if cache.folder.parent == root else str(cache.folder.resolve())
    write_text(root / DATA, json.dumps({"split": split, "convention": convention, "cache": place}, indent=1))
    write_text(root / RECIPE, recipe.to_yaml())
    experiment = Experiment(root, recipe, split, cache.convention, cache.folder)
    training, validation = cache.select(set(split["training"])), cache.select(set(split["validation"]))
    for name, run in recipe.runs.items():
        if (only and name not in only) or experiment.is_finished(name):
            continue
        torch.manual_seed(run.seed)
        teacher = experiment.load_network(teacher_of(recipe, name)) if run.method.name in NEEDS_TEACHER else None
        torch.manual_seed(run.seed)  # a student starts from the same weights with and without a teacher
        method = build_method(recipe, name, teacher)
        sampler = PatchSampler(training, recipe.sampling, recipe.augmentation, run.seed)
        labelled = [study for study in validation if study.labelled]
        steps = run.training.steps

        def step(progress: Progress, name: str = name, steps: int = steps) -> None:
            watch(name, steps, progress)

        summary = train_run(method, sampler, labelled, run.training, recipe.outputs, root / name, step)
        shape = (1, len(recipe.data.sequences), *recipe.sampling.patch)
        summary |= {"parameters": count_parameters(method.student), "flops": flops(method.student, shape), "flops_shape": list(shape)}
        write_text(root / name / SUMMARY, json.dumps(summary, indent=1))
    return experiment


def _claim(root: Path, recipe: Recipe, resume: bool) -> None:
    """Refuse to mix two trainings in one folder."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    if not resume:
        raise CheckpointError("output exists", file=root, expected="a new folder", hint="continue with --resume, or choose another")
    if (root / RECIPE).exists():
        there = load_recipe(root / RECIPE).model_dump(mode="json")
        differing = _first_difference(there, recipe.model_dump(mode="json"))
        if differing:
            raise CheckpointError("folder holds another recipe", file=root / RECIPE, field=differing, hint="resume with the recipe it was started with")


def _first_difference(there: Any, here: Any, path: str = "") -> str | None:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(k for k in here if k not in there)]:
            found = _first_difference(there.get(key), here.get(key), f"{path}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if there == here else path


def _open_data(recipe: Recipe, data: Path, root: Path, labels: str | None, jobs: int | None) -> Cache:
    wanted = recipe.data.preparation()
    if is_cache(data):
        cache = Cache.open(data)
        if cache.preparation != wanted:
            raise CacheError(
                "cache was prepared with other settings",
                file=data,
                field="preparation",
                got=cache.preparation.to_dict(),
                expected=wanted.to_dict(),
                hint="prepare again, or give the cohort itself",
            )
        return cache
    return build_cache(open_cohort(data, labels=labels), wanted, root / "cache", jobs)


def _split(recipe: Recipe, cache: Cache) -> dict[str, list[str]]:
    """Study ids on each side; no patient on two (the split of a named id takes all studies of its patient)."""
    patients = {study.id: study.patient for study in cache if study.labelled}
    training, validation = split_patients(patients, recipe.data.validation, recipe.data.split_seed)
    return {"training": training, "validation": validation}
