"""Train a recipe: resolve, check, prepare, then train one run after the other."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gliodistill import ranks
from gliodistill.errors import CheckpointError, RecipeError, note
from gliodistill.files import check_writable, make_folder, remove_leftovers, write_text
from gliodistill.inference.pseudo_cohort import PseudoLabels
from gliodistill.locks import lock_folder
from gliodistill.networks import count_parameters, flops
from gliodistill.networks.widening import widen
from gliodistill.preparation.cache import Cache
from gliodistill.preparation.cache_building import build_cache
from gliodistill.recipes.reading import new_run_name
from gliodistill.recipes.schema import Recipe
from gliodistill.training.batch_norm import UNCHANGED, studies_to_recalibrate_on
from gliodistill.training.checks import check_machine, check_patch, check_tumours, notes_on
from gliodistill.training.data.order import group_shares
from gliodistill.training.data.pool import Pool, build_pool, check_same, open_labels
from gliodistill.training.data.sampler import PatchSampler
from gliodistill.training.data.source import Source, check_sequences, open_source, split_of
from gliodistill.training.data.teacher_outputs import Asked
from gliodistill.training.experiment import DATA, SUMMARY, Experiment
from gliodistill.training.loop import Progress, Setup, train_run
from gliodistill.training.pretrained import find_pretrained
from gliodistill.training.resolve import resolve
from gliodistill.training.resolved import ResolvedRun
from gliodistill.training.resuming import claim
from gliodistill.training.teachers import Answers, Key, Teachers, answers_for, records_of

Watch = Callable[[str, int, Progress], None]


@ranks.joined()
def train(
    recipe: Recipe,
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    layout: str | None = None,
    labels: str | None = None,
    only: Sequence[str] = (),
    jobs: int | None = None,
    pseudo: str | os.PathLike[str] | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    watch: Watch = lambda run, steps, progress: None,
) -> Experiment:
    """Train every run of ``recipe`` (or ``only`` some) on the studies at ``data``.

    Finished runs are skipped; resuming a finished experiment reads no data. All checks are made
    before anything is written.

    Processes that ``torchrun`` starts train together, each on its part of every batch
    (:mod:`gliodistill.ranks`); the first prepares and writes for all.

    Args:
        recipe: complete.
        data: a cohort in any known layout, or a cache of ``gliodistill prepare`` with the recipe's
            preparation. Only labelled studies are used.
        out: new, or with ``resume`` the folder of the same recipe on the same studies; the recipe
            may have additional runs.
        resume: continue an interrupted training, even one interrupted in preparation. A folder
            without a checkpoint needs no ``resume``.
        layout: of a cohort, if it cannot be determined.
        labels: label convention of a cohort, if it cannot be determined.
        only: runs to train now; their teachers must be finished or among them.
        jobs: studies prepared at once; None = one per core.
        pseudo: folder of ``gliodistill pseudo-label``, synthetic studies, or a cache of either, for
            runs that use pseudo-labels.
        pretrained: folder of a finished run of another training, for the runs whose ``init_from``
            is ``pretrained``.
        watch: called when a run begins and after each of its steps, with the run's name, its steps
            and its progress.

    Raises:
        RecipeError: the recipe is inconsistent, or needs what this machine lacks.
        CheckpointError: ``out`` holds another experiment, ``only`` names no run, or a teacher is
            missing.
        OutputError: ``out`` exists and ``resume`` is not given, it cannot be written, or another
            process uses it.
        StudyError: no labelled study, none with a tumour, or a split with an empty side.
        GliodistillError: any other error of the data or the training.
    """
    root, leads = Path(out), ranks.leads()
    if not leads:
        ranks.wait()  # until the first rank has prepared everything
        resume = True
    runs = resolve(recipe)
    there = claim(root, recipe, resume)
    wanted = _wanted(runs, only, there)
    check_machine(wanted)
    _check_ranks(recipe)
    for folder in (root, *(root / run.name for run in runs)):
        if folder.is_dir():
            remove_leftovers(folder)
    if there is not None and not wanted and there.recipe == recipe:
        if leads:
            ranks.wait()
        return there
    begun = there if there is not None and there.is_begun() else None

    source = open_source(recipe, Path(data), layout, labels)
    check_sequences(wanted, source)
    check_patch(recipe, wanted, source)
    split = split_of(recipe, source)
    training = [study for study in source.studies if study.id in set(split["training"])]
    group_shares(training, recipe.sampling.groups)
    if not all(run.part.pseudo.share for run in wanted):
        check_tumours(source, split["training"], Path(data), recipe.described_task)
    resolved = {run.name: run for run in runs}
    teachers = Teachers(recipe, wanted, lambda name: resolved[name].build_network())
    teachers.check(source, split["training"])
    patient_of = {study.id: study.patient for study in source.studies}
    patients = {side: {id: patient_of[id] for id in ids} for side, ids in split.items()}
    pseudo_labels = open_labels(recipe, [run.name for run in wanted], pseudo, patients)
    known = there if pretrained is None else begun
    experiment = Experiment(
        root,
        recipe,
        split,
        source.convention,
        source.folder if isinstance(source, Cache) else root / "cache",
        None if begun is None else begun.pseudo,
        find_pretrained(
            wanted, recipe, pretrained, None if known is None else known.pretrained, root
        ),
    )
    if begun is not None:
        _check_same_split(begun, experiment)

    if leads:
        _write_plan(experiment, there, begun)
    with lock_folder(root, shared=True):
        cache = (
            source
            if isinstance(source, Cache)
            else build_cache(
                source,
                recipe.data.preparation(),
                experiment.cache,
                jobs,
                task=recipe.described_task,
            )
        )
        pool = None
        if pseudo_labels is not None:
            pool = build_pool(recipe, pseudo_labels, cache, patients, root, jobs)
            check_same(experiment.pseudo, pool.facts, root / DATA)
            if experiment.pseudo != pool.facts:
                experiment = replace(experiment, pseudo=pool.facts)
                # Another process may have added runs to the recipe.
                replace(Experiment.open(root), pseudo=pool.facts).write()
        if wanted:
            for text in (*_first(cache.notes), *notes_on(recipe, cache, split)):
                note(text)
        answers = teachers.ask(_asked(experiment, source, cache, pseudo_labels, pool))
        if leads:
            ranks.wait()
        for run in wanted:
            _train(experiment, run, cache, pool, teachers, answers, watch)
    return experiment


def _check_ranks(recipe: Recipe) -> None:
    if recipe.sampling.batch % ranks.world():
        raise RecipeError(
            "batch cannot be shared equally by the ranks",
            field="sampling.batch",
            got=recipe.sampling.batch,
            expected=f"a multiple of {ranks.world()}",
        )


def _asked(
    experiment: Experiment,
    source: Source,
    cache: Cache,
    pseudo_labels: PseudoLabels | Cache | None,
    pool: Pool | None,
) -> Callable[[tuple[ResolvedRun, ...], str], Asked]:
    """The studies that foreign teachers are asked about: validation patients are not needed."""

    def of(runs: tuple[ResolvedRun, ...], field: str) -> Asked:
        labelled = cache.select(set(experiment.split["training"]))
        parts = {"labelled": (labelled, records_of(source))}
        if pool is not None and any(run.part.pseudo.share for run in runs):
            there = pseudo_labels
            files = records_of(there.cohort) if isinstance(there, PseudoLabels) else None
            parts["pseudo"] = (pool.cache, files)
        return Asked(parts, experiment.folder, field)

    return of


def _first(notes: Sequence[str], most: int = 6) -> list[str]:
    """The first notes on studies, and the number of the others."""
    more = len(notes) - most
    hint = f"{more} more notes; gliodistill inspect --deep lists them"
    return [*notes[:most], *([hint] if more > 0 else [])]


def _wanted(
    runs: Sequence[ResolvedRun], only: Sequence[str], there: Experiment | None
) -> list[ResolvedRun]:
    """The runs to train now, in order."""
    names = [run.name for run in runs]
    if strangers := sorted(set(only) - set(names)):
        raise CheckpointError(
            "no such run",
            field="only",
            got=", ".join(strangers),
            expected=", ".join(names),
            hint=new_run_name(strangers[0], names),
        )
    finished = {name for name in names if there is not None and there.is_finished(name)}
    wanted = [run for run in runs if (not only or run.name in only) and run.name not in finished]
    trained = {*finished, *(run.name for run in wanted)}
    for run in wanted:
        for needed in run.needs:
            if needed not in trained:
                raise CheckpointError(
                    "teacher is not trained",
                    field=f"runs.{run.name}",
                    got=needed,
                    hint=f"train {needed} first, or with it",
                )
    return wanted


def _check_same_split(begun: Experiment, experiment: Experiment) -> None:
    if begun.split != experiment.split:
        raise CheckpointError(
            "folder was trained on other studies",
            file=experiment.folder / DATA,
            field="split",
            got=_counts(experiment.split),
            expected=_counts(begun.split),
            hint="resume with the same studies",
        )


def _counts(split: dict[str, list[str]]) -> str:
    sides = (
        f"{len(ids)} for {side} ({', '.join(ids[:3])}{', …' if len(ids) > 3 else ''})"
        for side, ids in split.items()
    )
    return " and ".join(sides)


def _write_plan(experiment: Experiment, there: Experiment | None, begun: Experiment | None) -> None:
    """Write recipe and split if they are new."""
    root = make_folder(experiment.folder)
    check_writable(root)
    if begun is None and there != experiment:
        with lock_folder(root):
            experiment.write()
    elif begun is not None and (begun.recipe, begun.pretrained) != (
        experiment.recipe,
        experiment.pretrained,
    ):
        experiment.write()


def _train(
    experiment: Experiment,
    run: ResolvedRun,
    cache: Cache,
    pool: Pool | None,
    teachers: Teachers,
    answers: Mapping[Key, Answers],
    watch: Watch,
) -> None:
    """Train one run and write its summary, which marks it as finished."""
    recipe, part = experiment.recipe, run.part
    watch(run.name, part.training.steps, Progress())
    torch.manual_seed(part.seed)
    method = run.build_method(
        experiment.load_network, lambda place, named: teachers.network(run, place, named, answers)
    )
    if run.init_from is not None:
        sides = [2 * method.student.divisor] * 3
        image = torch.randn(
            2, len(run.channels), *sides, generator=torch.Generator().manual_seed(0)
        )
        widen(experiment.source(run.init_from), method.student, image)
    training, validation = (
        cache.select(set(experiment.split[side])) for side in ("training", "validation")
    )
    learnt = (pool.cache, part.pseudo) if pool is not None and part.pseudo.share else None
    around = recipe.sampling.model_copy(update={"foreground": 1.0, "groups": {}})
    folder = make_folder(experiment.folder / run.name)
    given = answers_for(run, answers)
    setup = Setup(
        method,
        PatchSampler(
            training,
            recipe.sampling,
            part.augmentation,
            part.seed,
            run.channels,
            learnt,
            given,
            run.task,
        ),
        list(validation),
        part.training,
        part.outputs,
        run.channels,
        folder,
        averaged=[(share, experiment.source(name)) for name, share in run.averaging.items()],
        recalibration=(
            PatchSampler(
                studies_to_recalibrate_on(training, method.student, run.channels),
                around,
                UNCHANGED,
                part.seed,
                run.channels,
                task=run.task,
            )
            if part.training.batch_norm_recalibration
            else None
        ),
        watch=lambda progress: watch(run.name, part.training.steps, progress),
    )
    if not ranks.leads():
        train_run(setup)
        return
    with lock_folder(folder):
        summary = train_run(setup) | _costs(method.student, run, recipe)
    if run.plugins:
        summary["plugins"] = dict(run.plugins)
    if given:
        pairs = zip(run.foreign, given, strict=True)
        summary["teachers"] = [teacher.as_dict() | made.facts() for teacher, made in pairs]
    if learnt is not None and pool is not None:
        counts = {kind: len(pool.facts[kind]) for kind in ("studies", "transductive")}
        summary["pseudo"] = {**counts, "labels": part.pseudo.labels, "sha256": pool.facts["sha256"]}
    write_text(folder / SUMMARY, json.dumps(summary, indent=1))


def _costs(student: Any, run: ResolvedRun, recipe: Recipe) -> dict[str, Any]:
    """Parameters and operations of the student."""
    shape = (1, len(run.channels), *recipe.sampling.patch)
    return {
        "parameters": count_parameters(student),
        "flops": flops(student, shape),
        "flops_shape": list(shape),
    }
