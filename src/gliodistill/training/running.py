"""A recipe run from data to trained runs: prepare, split by patient, train each run in order, each
resumable.
"""

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import NoReturn

import torch

from gliodistill.errors import CheckpointError, RecipeError, StudyError, printable
from gliodistill.files import check_writable, make_folder, remove_leftovers, write_text
from gliodistill.inference.pseudo_labels import PseudoLabels
from gliodistill.locks import lock_folder
from gliodistill.networks import count_parameters, flops
from gliodistill.networks.widening import check_widening, widen
from gliodistill.preparation.cache import Cache, build_cache, is_cache
from gliodistill.studies.cohort import Cohort, open_cohort, split_patients
from gliodistill.studies.study import StudyRecord
from gliodistill.training.checks import check_machine, check_patch, check_tumours, look_at
from gliodistill.training.experiment import DATA, SUMMARY, Experiment, find_run
from gliodistill.training.loop import Progress, train_run
from gliodistill.training.methods import (
    build_method,
    build_network,
    channels_of,
    check_recipe,
    needs,
)
from gliodistill.training.pseudo import Patients, Pool, build_pool, check_same, open_labels
from gliodistill.training.recipe import GIVEN, Recipe
from gliodistill.training.sampling import PatchSampler, group_shares
from gliodistill.training.starting import claim
from gliodistill.training.statistics import UNCHANGED

Watch = Callable[[str, int, Progress], None]
Tell = Callable[[str], None]


def print_note(text: str) -> None:
    """Say on standard error what is worth knowing, in a line."""
    with suppress(OSError, ValueError, AttributeError):  # nobody listens
        sys.stderr.write(f"note: {printable(text)}\n")


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
    tell: Tell = print_note,
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
        resume: go on where ``out`` was left, even while it was preparing. A folder in which nothing
            is trained yet needs no ``resume``.
        layout: how a cohort is stored, where it cannot be told.
        labels: label convention of a cohort, where it cannot be told.
        only: runs to train now; a teacher that is needed must be finished or among them.
        jobs: studies prepared at once; None = one per core.
        pseudo: folder of ``gliodistill pseudo-label``, synthetic studies, or a cache of either, for
        the runs that learn from it.
        start: folder of a finished run of another training, for the runs whose ``start`` is
        ``given``.
        tell: called with a line about the studies that is worth knowing before hours are spent.
        watch: called when a run begins and after each of its steps, with the run's name, its steps
        and its progress.

    Raises:
        RecipeError: the recipe does not hang together, or asks for what this machine has not.
        CheckpointError: ``out`` holds another experiment, ``only`` names no run, or a teacher is
        missing.
        OutputError: something is at ``out`` without ``resume``, it cannot be written, or another
            process is at work on it.
        StudyError: no labelled study, none with a tumour, or a split with an empty side.
        GliodistillError: whatever else is wrong with the data or the training.
    """
    root = Path(out)
    check_recipe(recipe)
    there = claim(root, recipe, resume)
    wanted = _wanted(recipe, only, there)
    check_machine(recipe, wanted)
    for folder in (root, *(root / name for name in recipe.runs)):
        if folder.is_dir():
            remove_leftovers(folder)
    if there is not None and not wanted and there.recipe == recipe:
        return there
    source = _open_data(recipe, Path(data), layout, labels)
    _check_sequences(recipe, wanted, source)
    experiment = _plan(recipe, source, root)
    if wanted:
        check_patch(recipe, wanted, source)
    if not all(recipe.runs[name].pseudo.share for name in wanted):
        check_tumours(source, experiment.split["training"], Path(data))
    learnt_from = set(experiment.split["training"])
    group_shares(
        [study for study in source.studies if study.id in learnt_from], recipe.sampling.groups
    )
    patient_of = {study.id: study.patient for study in source.studies}
    patients = {side: {id: patient_of[id] for id in ids} for side, ids in experiment.split.items()}
    labels_of_pool = open_labels(recipe, wanted, pseudo, patients)
    begun = there if there is not None and there.is_begun() else None
    known = there if start is None else begun
    experiment = replace(
        experiment,
        start=_given(recipe, wanted, start, None if known is None else known.start, root),
        pseudo=None if begun is None else begun.pseudo,
    )
    if begun is not None and begun.split != experiment.split:
        raise CheckpointError(
            "folder was trained on other studies",
            file=root / DATA,
            field="split",
            got=_counts(experiment.split),
            expected=_counts(begun.split),
            hint="resume with the studies it was started with",
        )
    make_folder(root)
    check_writable(root)
    if begun is None and there != experiment:
        with lock_folder(root):
            experiment.write()
    elif begun is not None and (begun.recipe, begun.start) != (recipe, experiment.start):
        experiment.write()
    with lock_folder(root, shared=True):
        return _train_all(experiment, wanted, source, labels_of_pool, patients, jobs, watch, tell)


NOTES = 6
"""Notes on studies that are told."""


def _train_all(
    experiment: Experiment,
    wanted: list[str],
    source: Cohort | Cache,
    labels: PseudoLabels | Cache | None,
    patients: Patients,
    jobs: int | None,
    watch: Watch,
    tell: Tell,
) -> Experiment:
    """Prepare what is not, and train the ``wanted`` runs; the experiment with its pseudo-labels."""
    recipe, root = experiment.recipe, experiment.folder
    cache = (
        source
        if isinstance(source, Cache)
        else build_cache(source, recipe.data.preparation(), experiment.cache, jobs)
    )
    pool = None
    if labels is not None:
        pool = build_pool(recipe, labels, cache, patients, root, jobs)
        check_same(experiment.pseudo, pool.facts, root / DATA)
        if experiment.pseudo != pool.facts:
            experiment = replace(experiment, pseudo=pool.facts)
            # The recipe may have got more runs from another process meanwhile.
            replace(Experiment.open(root), pseudo=pool.facts).write()
    if wanted:
        for text in cache.notes[:NOTES]:
            tell(text)
        if (more := len(cache.notes) - NOTES) > 0:
            tell(f"{more} more notes; gliodistill inspect --deep lists them")
        for text in look_at(recipe, cache, experiment.split):
            tell(text)
    for name in wanted:
        _train(experiment, name, cache, pool, watch)
    return experiment


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
        cohort = open_cohort(data, layout=layout, labels=labels)
        source = cohort.labelled()
        if not len(source):
            _refuse_unlabelled(data, cohort.problems)
        cohort.warn_unlabelled()
        for record in source.studies:
            if record.problems or not set(record.images) & set(recipe.data.sequences):
                problem = (
                    record.problems[0] if record.problems else "no sequence that the recipe takes"
                )
                raise StudyError(
                    problem.removeprefix(f"{record.id}: "),
                    file=record.id,
                    hint="gliodistill inspect lists every problem",
                )
    if not len(source):
        _refuse_unlabelled(data)
    return source


def _refuse_unlabelled(data: Path, problems: tuple[str, ...] = ()) -> NoReturn:
    raise StudyError(
        "no labelled study",
        file=data,
        got="; ".join(("no truth", *problems[:3])),
        expected="studies with a label map each",
    )


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
    around = recipe.sampling.model_copy(update={"foreground": 1.0, "groups": {}})
    plain = (
        PatchSampler(_whole(training, channels), around, UNCHANGED, run.seed, channels)
        if run.training.statistics
        else None
    )
    folder = make_folder(experiment.folder / name)
    with lock_folder(folder):
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


def _whole(training: Cache, channels: list[int]) -> Cache:
    """The studies that lack none of the channels and are no crops: batch norms take their
    statistics of these. All studies, where none is whole.
    """
    whole = {
        study.id
        for study in training
        if not study.partial and all(study.present[channel] for channel in channels)
    }
    return training.select(whole) if whole else training
