"""A recipe run from data to trained runs: prepare, split by patient, train each run in order, each resumable."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import torch

from gliodistill.errors import CacheError, CheckpointError, OutputError, RecipeError, StudyError
from gliodistill.files import make_folder, remove_leftovers, write_text
from gliodistill.networks import Network, count_parameters, flops
from gliodistill.networks.widening import check_widening, widen
from gliodistill.preparation.cache import Cache, build_cache, is_cache
from gliodistill.studies.cohort import Cohort, open_cohort, split_patients
from gliodistill.studies.labels import CONVENTIONS, LabelConvention
from gliodistill.studies.study import StudyRecord
from gliodistill.training.checkpoint import load_weights, read_tensors
from gliodistill.training.loop import BEST, Progress, train_run
from gliodistill.training.methods import build_method, build_network, channels_of, check_recipe, learners_of, needs
from gliodistill.training.pseudo import Pool, build_pool, check_same, open_labels
from gliodistill.training.recipe import GIVEN, Recipe, load_recipe
from gliodistill.training.sampling import PatchSampler

RECIPE, DATA, SUMMARY = "recipe.yaml", "data.json", "summary.json"
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
        pseudo: which pseudo-labelled studies its runs learn from, if any does: ``folder``, ``sha256``, ``studies`` and those of
            them that are ``transductive`` (their patients validate).
        start: the run of another training that its ``given`` runs start from, if any does: ``folder``, ``run``, ``weights_sha256``.
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
            CheckpointError: it is not one.
        """
        root = Path(folder)
        try:
            data = json.loads((root / DATA).read_text())
            convention = None if data["convention"] is None else CONVENTIONS[data["convention"]]
            recipe, cache = load_recipe(root / RECIPE), root / data["cache"]
            return cls(root, recipe, data["split"], convention, cache, data.get("pseudo"), data.get("start"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                "not a run folder", file=root, expected=f"{RECIPE} and {DATA}", hint="give the folder of gliodistill train -o"
            ) from error

    def summary(self, run: str) -> dict[str, Any]:
        """What a finished run wrote: steps, seconds, best Dice, parameters, FLOPs, hash of the last moving average.

        Raises:
            CheckpointError: the run is not finished.
        """
        try:
            summary: dict[str, Any] = json.loads((self.folder / run / SUMMARY).read_text())
            return summary
        except (OSError, ValueError) as error:
            raise CheckpointError("run is not finished", file=self.folder / run, hint="continue it with --resume") from error

    def is_finished(self, run: str) -> bool:
        """Whether the run trained to its last step."""
        return (self.folder / run / SUMMARY).exists()

    def load_network(self, run: str, role: str = "student") -> Network:
        """The run's network with its best weights, in evaluation mode.

        Args:
            run: its name.
            role: ``student``, or who learnt beside it, e.g. the ``teacher`` of ``single_stage``.

        Raises:
            CheckpointError: no such run or role, or its weights are missing or damaged.
        """
        if run not in self.recipe.runs:
            raise CheckpointError("no such run", file=self.folder, got=run, expected=", ".join(self.recipe.runs))
        with torch.random.fork_rng(devices=[]):  # a fresh network draws weights: not from the generator of a training
            if role == "student":
                network = build_network(self.recipe, run)
            else:
                learners = learners_of(build_method(self.recipe, run, self.load_network))
                if role not in learners:
                    raise CheckpointError("nobody of that role learnt", file=self.folder / run, got=role, expected=", ".join(learners))
                network = learners[role]
        weights, _ = read_tensors(self.folder / run / BEST)
        own = {name.removeprefix(f"{role}."): tensor for name, tensor in weights.items() if name.startswith(f"{role}.")}
        load_weights(network, own, self.folder / run / BEST)
        return network.eval()

    def starting(self, name: str) -> Network:
        """The network that a run with ``start: name`` starts from: of an earlier run, or of the given one.

        Raises:
            CheckpointError: it is gone, or its weights are others now.
        """
        if name != GIVEN:
            return self.load_network(name)
        assert self.start is not None  # asked for before anything was written
        other = Experiment.open(self.start["folder"])
        if other.summary(self.start["run"])["weights_sha256"] != self.start["weights_sha256"]:
            raise CheckpointError("the run to start from was trained anew", file=other.folder / self.start["run"])
        return other.load_network(self.start["run"])


def run_experiment(
    recipe: Recipe,
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    layout: str | None = None,
    labels: str | None = None,
    only: tuple[str, ...] = (),
    jobs: int | None = None,
    pseudo: str | os.PathLike[str] | None = None,
    start: str | os.PathLike[str] | None = None,
    watch: Watch = lambda run, steps, progress: None,
) -> Experiment:
    """Train every run of ``recipe`` (or ``only`` some) on the studies at ``data``.

    What is finished is left alone, so a finished experiment resumed is a no-op that reads no data. Everything that can
    be told before is refused before anything is written.

    Args:
        recipe: complete.
        data: a cohort in any known layout, or a cache of ``gliodistill prepare`` with the recipe's preparation. Only
            labelled studies are used.
        out: new, or with ``resume`` the folder of the same recipe on the same studies; runs may have been added to it.
        resume: go on where ``out`` was left, even while it was preparing.
        layout: how a cohort is stored, where it cannot be told.
        labels: label convention of a cohort, where it cannot be told.
        only: runs to train now; a teacher that is needed must be finished or among them.
        jobs: studies prepared at once; None = one per core.
        pseudo: folder of ``gliodistill pseudo-label``, for the runs that learn from it.
        start: folder of a finished run of another training, for the runs whose ``start`` is ``given``.
        watch: called after each step with the run's name, its steps and its progress.

    Raises:
        RecipeError: the recipe does not hang together.
        CheckpointError: ``out`` holds another experiment, ``only`` names no run, or a teacher is missing.
        OutputError: something is at ``out`` without ``resume``, or it cannot be written.
        StudyError: no labelled study, or a split with an empty side.
        GliodistillError: whatever else is wrong with the data or the training.
    """
    root = Path(out)
    check_recipe(recipe)
    there = _claim(root, recipe, resume)
    wanted = _wanted(recipe, only, there)
    if there is not None and not wanted and there.recipe == recipe:
        return there
    source = _open_data(recipe, Path(data), layout, labels)
    _check_sequences(recipe, wanted, source)
    experiment = replace(_plan(recipe, source, root), pseudo=None if there is None else there.pseudo)
    patient_of = {study.id: study.patient for study in source.studies}
    patients = {side: {id: patient_of[id] for id in ids} for side, ids in experiment.split.items()}
    labels_of_pool = open_labels(recipe, wanted, pseudo, patients)
    experiment = replace(experiment, start=_given(recipe, wanted, start, None if there is None else there.start, root))
    if there is not None and there.split != experiment.split:
        raise CheckpointError(
            "folder was trained on other studies",
            file=root / DATA,
            field="split",
            got=_counts(experiment.split),
            expected=_counts(there.split),
            hint="resume with the studies it was started with",
        )
    make_folder(root)
    if there is None or (there.recipe, there.start) != (
        recipe,
        experiment.start,
    ):  # else another process may be training another run here, and writing
        remove_leftovers(root)
        _write_plan(experiment)
    cache = source if isinstance(source, Cache) else build_cache(source, recipe.data.preparation(), experiment.cache, jobs)
    pool = None
    if labels_of_pool is not None:
        pool = build_pool(recipe, labels_of_pool, cache, patients, root, jobs)
        check_same(experiment.pseudo, pool.facts, root / DATA)
        if experiment.pseudo != pool.facts:
            experiment = replace(experiment, pseudo=pool.facts)
            _write_plan(experiment)
    for name in wanted:
        _train(experiment, name, cache, pool, watch)
    return experiment


def _claim(root: Path, recipe: Recipe, resume: bool) -> Experiment | None:
    """The experiment that ``root`` holds, or None if it is free; two are never mixed in one folder."""
    # A start that was killed before the recipe was down has left its plan at most.
    plan = {DATA} if resume else set()
    if not root.exists() or (root.is_dir() and all(path.name in plan or ".partial." in path.name for path in root.iterdir())):
        return None
    if not resume:
        raise OutputError("output exists", file=root, expected="a new folder", hint="continue with --resume, or choose another")
    experiment = Experiment.open(root)
    known = recipe.model_copy(update={"runs": {name: run for name, run in recipe.runs.items() if name in experiment.recipe.runs}})
    differing = _first_difference(experiment.recipe.model_dump(mode="json"), known.model_dump(mode="json"))
    if differing:
        raise CheckpointError(
            "folder holds another recipe", file=root / RECIPE, field=differing, hint="resume with the recipe it was started with"
        )
    return experiment


def _first_difference(there: Any, here: Any, path: str = "") -> str | None:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(k for k in here if k not in there)]:
            found = _first_difference(there.get(key), here.get(key), f"{path}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if there == here else path


def _wanted(recipe: Recipe, only: tuple[str, ...], there: Experiment | None) -> list[str]:
    """The runs to train now, in order."""
    strangers = sorted(set(only) - set(recipe.runs))
    if strangers:
        raise CheckpointError("no such run", field="only", got=", ".join(strangers), expected=", ".join(recipe.runs))
    finished = {name for name in recipe.runs if there is not None and there.is_finished(name)}
    wanted = [name for name in recipe.runs if (not only or name in only) and name not in finished]
    for name in wanted:
        for teacher in needs(recipe, name):
            if teacher not in {*finished, *wanted}:
                hint = f"train {teacher} first, or with it"
                raise CheckpointError("teacher is not trained", field=f"runs.{name}", got=teacher, hint=hint)
    return wanted


def find_run(path: str | os.PathLike[str], run: str | None = None) -> tuple[Experiment, str]:
    """The experiment and run meant by the folder of an experiment (its last run: the student) or of one of its runs.

    Raises:
        CheckpointError: neither.
    """
    folder = Path(path)
    if run is None and not (folder / RECIPE).exists() and (folder.parent / RECIPE).exists():
        folder, run = folder.parent, folder.name
    experiment = Experiment.open(folder)
    name = run or list(experiment.recipe.runs)[-1]
    if name not in experiment.recipe.runs:
        raise CheckpointError("no such run", file=folder, got=name, expected=", ".join(experiment.recipe.runs))
    return experiment, name


def _given(
    recipe: Recipe, wanted: list[str], start: str | os.PathLike[str] | None, there: dict[str, str] | None, root: Path
) -> dict[str, str] | None:
    """What the ``wanted`` runs that start from a ``given`` one start from; the same for all runs of a folder, and fit for each."""
    starting = [name for name in wanted if recipe.runs[name].start == GIVEN]
    if not starting:
        return there
    if start is None and there is None:
        hint = "give --start RUN, a finished run of another training"
        raise CheckpointError(f"run {starting[0]} starts from a given one", field=f"runs.{starting[0]}.start", got="none", hint=hint)
    if start is None:
        assert there is not None
        start = Path(there["folder"]) / there["run"]
    experiment, run = find_run(start)
    found = {"folder": str(experiment.folder.resolve()), "run": run, "weights_sha256": experiment.summary(run)["weights_sha256"]}
    if there is not None and there["weights_sha256"] != found["weights_sha256"]:
        hint = "resume with the run it was started with, or choose another folder"
        raise CheckpointError(
            "folder was started from other weights", file=root / DATA, got=str(start), expected=there["folder"], hint=hint
        )
    theirs = [experiment.recipe.data.sequences[channel] for channel in channels_of(experiment.recipe, run)]
    for name in starting:
        own = [recipe.data.sequences[channel] for channel in channels_of(recipe, name)]
        if own != theirs:
            expected = ", ".join(own)
            raise RecipeError(
                "starts from a network for other sequences", field=f"runs.{name}.start", got=", ".join(theirs), expected=expected
            )
        with torch.device("meta"):
            check_widening(build_network(experiment.recipe, run), build_network(recipe, name))
    return found


def _open_data(recipe: Recipe, data: Path, layout: str | None, labels: str | None) -> Cohort | Cache:
    """The labelled studies; nothing is written."""
    source: Cohort | Cache
    if is_cache(data):
        source = Cache.open(data)
        wanted = recipe.data.preparation()
        if source.preparation != wanted:
            raise CacheError(
                "cache was prepared with other settings",
                file=data,
                field="preparation",
                got=source.preparation.to_dict(),
                expected=wanted.to_dict(),
                hint="prepare again, or give the cohort itself",
            )
        source = source.select({study.id for study in source if study.labelled})
    else:
        source = open_cohort(data, layout=layout, labels=labels).labelled()
        for record in source.studies:
            if record.problems or not set(record.images) & set(recipe.data.sequences):
                problem = record.problems[0] if record.problems else "no sequence that the recipe takes"
                raise StudyError(problem, file=record.id, hint="gliodistill inspect lists every problem")
    if not len(source):
        raise StudyError("no labelled study", file=data, got="no truth", expected="studies with a label map each")
    return source


def _check_sequences(recipe: Recipe, wanted: list[str], source: Cohort | Cache) -> None:
    """Raise StudyError if a study has none of the sequences that one of the ``wanted`` runs takes."""
    for name in wanted:
        takes = [recipe.data.sequences[channel] for channel in channels_of(recipe, name)]
        for study in source.studies:
            there = study.images if isinstance(study, StudyRecord) else compress(recipe.data.sequences, study.present)
            if not set(takes) & set(there):
                expected = f"at least one of {', '.join(takes)}"
                raise StudyError("study has no sequence that the student takes", file=study.id, field=f"runs.{name}", expected=expected)


def _plan(recipe: Recipe, source: Cohort | Cache, root: Path) -> Experiment:
    """Who trains and who validates; no patient on both sides (a validation study named by its id brings all of its patient's)."""
    patients = {study.id: study.patient for study in source.studies}
    training, validation = split_patients(patients, recipe.data.validation, recipe.data.split_seed)
    cache = source.folder if isinstance(source, Cache) else root / "cache"
    return Experiment(root, recipe, {"training": training, "validation": validation}, source.convention, cache)


def _write_plan(experiment: Experiment) -> None:
    root, cache = experiment.folder, experiment.cache
    data = {
        "split": experiment.split,
        "convention": None if experiment.convention is None else experiment.convention.name,
        "cache": "cache" if cache == root / "cache" else str(cache.resolve()),
        "pseudo": experiment.pseudo,
        "start": experiment.start,
    }
    write_text(root / DATA, json.dumps(data, indent=1))
    write_text(root / RECIPE, experiment.recipe.to_yaml())


def _counts(split: dict[str, list[str]]) -> str:
    sides = (f"{len(ids)} for {side} ({', '.join(ids[:3])}{', …' if len(ids) > 3 else ''})" for side, ids in split.items())
    return " and ".join(sides)


def _train(experiment: Experiment, name: str, cache: Cache, pool: Pool | None, watch: Watch) -> None:
    """Train one run to its end and write its summary, which says that it is finished."""
    recipe, run = experiment.recipe, experiment.recipe.runs[name]
    torch.manual_seed(run.seed)
    method = build_method(recipe, name, experiment.load_network)
    if run.start is not None:
        sides = [2 * method.student.divisor] * 3
        anything = torch.randn(2, len(channels_of(recipe, name)), *sides, generator=torch.Generator().manual_seed(0))
        widen(experiment.starting(run.start), method.student, anything)
    channels = channels_of(recipe, name)
    training, validation = (cache.select(set(experiment.split[side])) for side in ("training", "validation"))
    learnt = (pool.cache, run.pseudo) if pool is not None and run.pseudo.share else None
    sampler = PatchSampler(training, recipe.sampling, run.augmentation, run.seed, channels, learnt)

    def step(progress: Progress) -> None:
        watch(name, run.training.steps, progress)

    summary = train_run(method, sampler, list(validation), run.training, run.outputs, channels, experiment.folder / name, step)
    shape = (1, len(channels), *recipe.sampling.patch)
    summary |= {"parameters": count_parameters(method.student), "flops": flops(method.student, shape), "flops_shape": list(shape)}
    if learnt is not None and pool is not None:
        counts = {kind: len(pool.facts[kind]) for kind in ("studies", "transductive")}
        summary["pseudo"] = {**counts, "labels": run.pseudo.labels, "sha256": pool.facts["sha256"]}
    write_text(experiment.folder / name / SUMMARY, json.dumps(summary, indent=1))
