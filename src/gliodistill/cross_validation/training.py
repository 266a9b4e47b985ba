"""Train the runs of a cross-validation, several at once."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from gliodistill.cross_validation.plan import CACHE, RECIPE, CrossValidation, FoldRun
from gliodistill.errors import GliodistillError
from gliodistill.files import check_writable, make_folder, remove_leftovers
from gliodistill.locks import lock_folder
from gliodistill.pool import Executor, Processes, in_order, tracked
from gliodistill.preparation.cache import Cache
from gliodistill.preparation.cache_building import build_cache
from gliodistill.training.data.source import open_source, split_of
from gliodistill.training.experiment import Experiment
from gliodistill.training.pretrained import find_pretrained
from gliodistill.training.resolve import resolve
from gliodistill.training.run import train


@dataclass
class FoldsReport:
    """The outcome of each run.

    Attributes:
        done: trained now.
        skipped: finished before.
        failed: run → error.
    """

    done: list[FoldRun] = field(default_factory=list)
    skipped: list[FoldRun] = field(default_factory=list)
    failed: dict[FoldRun, GliodistillError] = field(default_factory=dict)


@dataclass(frozen=True)
class _Training:
    """What every run of a cross-validation is trained with."""

    plan: CrossValidation
    cache: Path
    pseudo: Path | None
    pretrained: Path | None

    def train(self, unit: FoldRun) -> None:
        """Train one run, from its last checkpoint if there is one."""
        train(
            self.plan.recipe_of(unit),
            self.cache,
            self.plan.folder / unit.experiment,
            resume=True,
            only=(unit.run,),
            jobs=1,
            pseudo=self.pseudo,
            pretrained=self.pretrained,
        )


def train_folds(
    plan: CrossValidation,
    *,
    resume: bool = False,
    jobs: int | None = None,
    pseudo: str | os.PathLike[str] | None = None,
    pretrained: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
) -> FoldsReport:
    """Train every run of a cross-validation: teachers before students, folds and seeds side by
    side, a process for each run. A run that fails stops only those that need it.

    A run whose process dies starts again from its last checkpoint, once.

    Args:
        plan: what to train, where, on which studies.
        resume: continue an interrupted one; finished runs are skipped.
        jobs: runs at once, which share the cores; None = 1.
        pseudo: as for :func:`~gliodistill.training.run.train`.
        pretrained: likewise.
        executor: where the runs are trained, instead of ``jobs`` processes here. Its workers read
            and write the folder of ``plan``.

    Raises:
        RecipeError: the recipe is inconsistent.
        OutputError: the folder exists and ``resume`` is not given, or cannot be written.
        StudyError: no labelled study, or too few patients for the folds.
        GliodistillError: a study cannot be read.
    """
    runs = resolve(plan.recipe)
    plan.claim(resume)
    source = open_source(plan.recipe, plan.data, plan.layout, plan.labels)
    splits = {unit.fold: split_of(plan.recipe_of(unit), source) for unit in plan.units}
    root = make_folder(plan.folder)
    check_writable(root)
    jobs = jobs or 1
    report = FoldsReport()
    with lock_folder(root):
        remove_leftovers(root)
        plan.write()
        cache = (
            source
            if isinstance(source, Cache)
            else build_cache(
                source,
                plan.recipe.data.preparation(),
                root / CACHE,
                task=plan.recipe.described_task,
            )
        )
        for unit in plan.units:
            folder = root / unit.experiment
            if not (folder / RECIPE).is_file():
                recipe = plan.recipe_of(unit)
                found = find_pretrained(runs, recipe, pretrained, None, folder)
                make_folder(folder)
                Experiment(
                    folder, recipe, splits[unit.fold], source.convention, cache.folder, None, found
                ).write()
        report.skipped = [
            unit
            for unit in plan.units
            if Experiment.open(root / unit.experiment).is_finished(unit.run)
        ]
        left = [unit for unit in plan.units if unit not in set(report.skipped)]
        # What runs of one experiment prepare together must not be prepared twice at once.
        one_by_one = pseudo is not None or any(run.foreign for run in runs)
        work = _Training(
            plan,
            cache.folder,
            None if pseudo is None else Path(pseudo).resolve(),
            None if pretrained is None else Path(pretrained).resolve(),
        )
        executor = executor or Processes(
            min(jobs, max(1, len(left))), max(1, (os.cpu_count() or 1) // jobs)
        )
        outcomes = in_order(executor, work.train, left, lambda unit: plan.needs(unit, one_by_one))
        with tracked(outcomes, "training runs", len(left)) as ended:
            for outcome in ended:
                if (error := outcome.problem(str(outcome.item))) is None:
                    report.done.append(outcome.item)
                else:
                    report.failed[outcome.item] = error
    return report
