"""A recipe run from data to trained runs: prepare, split by patient, train each run in order, each
resumable.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

import torch

from gliodistill.errors import CheckpointError, OutputError, RecipeError, StudyError
from gliodistill.files import make_folder, remove_leftovers, write_text
from gliodistill.networks import count_parameters, flops
from gliodistill.networks.widening import check_widening, widen
from gliodistill.preparation.cache import Cache, build_cache, is_cache
from gliodistill.studies.cohort import Cohort, open_cohort, split_patients
from gliodistill.studies.study import StudyRecord
from gliodistill.training.experiment import DATA, RECIPE, SUMMARY, Experiment, find_run
from gliodistill.training.loop import Progress, train_run
from gliodistill.training.methods import (
    build_method,
    build_network,
    channels_of,
    check_recipe,
    needs,
)
from gliodistill.training.pseudo import Pool, build_pool, check_same, open_labels
from gliodistill.training.recipe import GIVEN, Recipe
from gliodistill.training.sampling import PatchSampler
from gliodistill.training.statistics import UNCHANGED

WORDS = {
    "about",
    "citation",
    "expected",
    "cost",
}  # of a recipe, for people: they may be changed at any time
Watch = Callable[[str, int, Progress], None]


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

    What is finished is left alone, so a finished experiment resumed is a no-op that reads no data.
    Everything that can be told before is refused before anything is written.

    Args:
        recipe: complete.
        data: a cohort in any known layout, or a cache of ``gliodistill prepare`` with the recipe's
            preparation. Only labelled studies are used.
        out: new, or with ``resume`` the folder of the same recipe on the same studies; runs may
        have been added to it.
        resume: go on where ``out`` was left, even while it was preparing.
        layout: how a cohort is stored, where it cannot be told.
        labels: label convention of a cohort, where it cannot be told.
        only: runs to train now; a teacher that is needed must be finished or among them.
        jobs: studies prepared at once; None = one per core.
        pseudo: folder of ``gliodistill pseudo-label``, synthetic studies, or a cache of either, for
        the runs that learn from it.
        start: folder of a finished run of another training, for the runs whose ``start`` is
        ``given``.
        watch: called when a run begins and after each of its steps, with the run's name, its steps
        and its progress.

    Raises:
        RecipeError: the recipe does not hang together.
        CheckpointError: ``out`` holds another experiment, ``only`` names no run, or a teacher is
        missing.
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
    experiment = replace(
        _plan(recipe, source, root), pseudo=None if there is None else there.pseudo
    )
    patient_of = {study.id: study.patient for study in source.studies}
    patients = {side: {id: patient_of[id] for id in ids} for side, ids in experiment.split.items()}
    labels_of_pool = open_labels(recipe, wanted, pseudo, patients)
    experiment = replace(
        experiment,
        start=_given(recipe, wanted, start, None if there is None else there.start, root),
    )
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
    # If nothing is new, another process may be training another run here, and writing.
    if there is None or (there.recipe, there.start) != (recipe, experiment.start):
        remove_leftovers(root)
        experiment.write()
    cache = (
        source
        if isinstance(source, Cache)
        else build_cache(source, recipe.data.preparation(), experiment.cache, jobs)
    )
    pool = None
    if labels_of_pool is not None:
        pool = build_pool(recipe, labels_of_pool, cache, patients, root, jobs)
        check_same(experiment.pseudo, pool.facts, root / DATA)
        if experiment.pseudo != pool.facts:
            experiment = replace(experiment, pseudo=pool.facts)
            experiment.write()
    for name in wanted:
        _train(experiment, name, cache, pool, watch)
    return experiment


def _claim(root: Path, recipe: Recipe, resume: bool) -> Experiment | None:
    """The experiment that ``root`` holds, or None if it is free; two are never mixed in one folder."""
    # A start that was killed before the recipe was down has left its plan at most.
    plan = {DATA} if resume else set()
    if not root.exists() or (
        root.is_dir()
        and all(path.name in plan or ".partial." in path.name for path in root.iterdir())
    ):
        return None
    if not resume:
        raise OutputError(
            "output exists",
            file=root,
            expected="a new folder",
            hint="continue with --resume, or choose another",
        )
    experiment = Experiment.open(root)
    known = recipe.model_copy(
        update={
            "runs": {
                name: run for name, run in recipe.runs.items() if name in experiment.recipe.runs
            }
        }
    )
    differing = _first_difference(
        experiment.recipe.model_dump(mode="json", exclude=WORDS),
        known.model_dump(mode="json", exclude=WORDS),
    )
    if differing:
        raise CheckpointError(
            "folder holds another recipe",
            file=root / RECIPE,
            field=differing,
            hint="resume with the recipe it was started with",
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
        raise CheckpointError(
            "no such run", field="only", got=", ".join(strangers), expected=", ".join(recipe.runs)
        )
    finished = {name for name in recipe.runs if there is not None and there.is_finished(name)}
    wanted = [name for name in recipe.runs if (not only or name in only) and name not in finished]
    for name in wanted:
        for teacher in needs(recipe, name):
            if teacher not in {*finished, *wanted}:
                hint = f"train {teacher} first, or with it"
                raise CheckpointError(
                    "teacher is not trained", field=f"runs.{name}", got=teacher, hint=hint
                )
    return wanted


def _given(
    recipe: Recipe,
    wanted: list[str],
    start: str | os.PathLike[str] | None,
    there: dict[str, str] | None,
    root: Path,
) -> dict[str, str] | None:
    """What the ``wanted`` runs that start from a ``given`` one start from; the same for all runs of
    a folder, and fit for each.
    """
    starting = [name for name in wanted if recipe.runs[name].start == GIVEN]
    if not starting:
        return there
    if start is None and there is None:
        hint = "give --start RUN, a finished run of another training"
        raise CheckpointError(
            f"run {starting[0]} starts from a given one",
            field=f"runs.{starting[0]}.start",
            got="none",
            hint=hint,
        )
    if start is None:
        assert there is not None
        start = Path(there["folder"]) / there["run"]
    experiment, run = find_run(start)
    found = {
        "folder": str(experiment.folder.resolve()),
        "recipe": experiment.recipe.name,
        "run": run,
    }
    found["weights_sha256"] = experiment.summary(run)["weights_sha256"]
    if there is not None and there["weights_sha256"] != found["weights_sha256"]:
        hint = "resume with the run it was started with, or choose another folder"
        raise CheckpointError(
            "folder was started from other weights",
            file=root / DATA,
            got=str(start),
            expected=there["folder"],
            hint=hint,
        )
    theirs = [
        experiment.recipe.data.sequences[channel] for channel in channels_of(experiment.recipe, run)
    ]
    for name, part in recipe.runs.items():
        if (
            part.keep
            and recipe.head(name) == GIVEN
            and part.network != (given := experiment.recipe.runs[run].network)
        ):
            field, got = f"runs.{name}.keep", f"{given.name} {given.options}"
            raise RecipeError(
                "keeps weights of another network",
                field=field,
                got=got,
                expected=f"{part.network.name} {part.network.options}",
            )
    for name in starting:
        own = [recipe.data.sequences[channel] for channel in channels_of(recipe, name)]
        if own != theirs:
            expected = ", ".join(own)
            raise RecipeError(
                "starts from a network for other sequences",
                field=f"runs.{name}.start",
                got=", ".join(theirs),
                expected=expected,
            )
        with torch.device("meta"):
            check_widening(build_network(experiment.recipe, run), build_network(recipe, name))
    return found


def _open_data(
    recipe: Recipe, data: Path, layout: str | None, labels: str | None
) -> Cohort | Cache:
    """The labelled studies; nothing is written."""
    source: Cohort | Cache
    if is_cache(data):
        source = Cache.open(data, recipe.data.preparation()).labelled()
    else:
        source = open_cohort(data, layout=layout, labels=labels).labelled()
        for record in source.studies:
            if record.problems or not set(record.images) & set(recipe.data.sequences):
                problem = (
                    record.problems[0] if record.problems else "no sequence that the recipe takes"
                )
                raise StudyError(
                    problem, file=record.id, hint="gliodistill inspect lists every problem"
                )
    if not len(source):
        raise StudyError(
            "no labelled study", file=data, got="no truth", expected="studies with a label map each"
        )
    return source


def _check_sequences(recipe: Recipe, wanted: list[str], source: Cohort | Cache) -> None:
    """Raise StudyError if a study has none of the sequences that one of the ``wanted`` runs takes."""
    for name in wanted:
        takes = [recipe.data.sequences[channel] for channel in channels_of(recipe, name)]
        for study in source.studies:
            there = (
                study.images
                if isinstance(study, StudyRecord)
                else compress(recipe.data.sequences, study.present)
            )
            if not set(takes) & set(there):
                expected = f"at least one of {', '.join(takes)}"
                raise StudyError(
                    "study has no sequence that the student takes",
                    file=study.id,
                    field=f"runs.{name}",
                    expected=expected,
                )


def _plan(recipe: Recipe, source: Cohort | Cache, root: Path) -> Experiment:
    """Who trains and who validates; no patient on both sides (a validation study named by its id
    brings all of its patient's).
    """
    patients = {study.id: study.patient for study in source.studies}
    training, validation = split_patients(patients, recipe.data.validation, recipe.data.split_seed)
    cache = source.folder if isinstance(source, Cache) else root / "cache"
    return Experiment(
        root, recipe, {"training": training, "validation": validation}, source.convention, cache
    )


def _counts(split: dict[str, list[str]]) -> str:
    sides = (
        f"{len(ids)} for {side} ({', '.join(ids[:3])}{', …' if len(ids) > 3 else ''})"
        for side, ids in split.items()
    )
    return " and ".join(sides)


def _train(
    experiment: Experiment, name: str, cache: Cache, pool: Pool | None, watch: Watch
) -> None:
    """Train one run to its end and write its summary, which says that it is finished."""
    recipe, run = experiment.recipe, experiment.recipe.runs[name]
    watch(name, run.training.steps, Progress())
    torch.manual_seed(run.seed)
    method = build_method(recipe, name, experiment.load_network)
    if run.start is not None:
        sides = [2 * method.student.divisor] * 3
        anything = torch.randn(
            2, len(channels_of(recipe, name)), *sides, generator=torch.Generator().manual_seed(0)
        )
        widen(experiment.starting(run.start), method.student, anything)
    channels = channels_of(recipe, name)
    training, validation = (
        cache.select(set(experiment.split[side])) for side in ("training", "validation")
    )
    learnt = (pool.cache, run.pseudo) if pool is not None and run.pseudo.share else None
    sampler = PatchSampler(training, recipe.sampling, run.augmentation, run.seed, channels, learnt)

    def step(progress: Progress) -> None:
        watch(name, run.training.steps, progress)

    kept = [(share, experiment.starting(other)) for other, share in run.keep.items()]
    around = recipe.sampling.model_copy(update={"foreground": 1.0})
    plain = (
        PatchSampler(training, around, UNCHANGED, run.seed, channels)
        if run.training.statistics
        else None
    )
    folder = experiment.folder / name
    summary = train_run(
        method,
        sampler,
        list(validation),
        run.training,
        run.outputs,
        channels,
        folder,
        step,
        kept,
        plain,
    )
    shape = (1, len(channels), *recipe.sampling.patch)
    summary |= {
        "parameters": count_parameters(method.student),
        "flops": flops(method.student, shape),
        "flops_shape": list(shape),
    }
    if learnt is not None and pool is not None:
        counts = {kind: len(pool.facts[kind]) for kind in ("studies", "transductive")}
        summary["pseudo"] = {**counts, "labels": run.pseudo.labels, "sha256": pool.facts["sha256"]}
    write_text(experiment.folder / name / SUMMARY, json.dumps(summary, indent=1))
