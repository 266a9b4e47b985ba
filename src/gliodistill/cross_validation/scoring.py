"""Score every patient by the networks of the fold that left the patient out."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from gliodistill.cross_validation.plan import CrossValidation, FoldRun
from gliodistill.errors import CheckpointError, EvaluationError, GliodistillError, note
from gliodistill.evaluation.comparison import compare
from gliodistill.evaluation.evaluate import match_pairs, score_pairs
from gliodistill.evaluation.rules import Rules, get_rules
from gliodistill.evaluation.scores import Scores
from gliodistill.evaluation.statistics import mean_interval
from gliodistill.evaluation.tasks import bring
from gliodistill.files import check_writable, make_folder, remove_leftovers, write_text
from gliodistill.inference.batch import segment_studies
from gliodistill.inference.predictor import Predictor
from gliodistill.locks import lock_folder
from gliodistill.pool import Executor, Processes, tracked
from gliodistill.preparation.cache import Cache, is_cache
from gliodistill.reports.pages.comparison import write_comparison_report
from gliodistill.studies.cohort import Cohort, open_cohort
from gliodistill.tables import csv_text
from gliodistill.training.experiment import Experiment
from gliodistill.training.packaging import export

SUMMARY, TABLE, PAGE = "cross_validation.json", "cross_validation.csv", "comparison.html"
MODELS, SEGMENTATIONS, SCORES = "models", "segmentations", "scores"


@dataclass(frozen=True)
class _Segmenting:
    """Exports a run, and segments the patients that it has not seen."""

    plan: CrossValidation
    out: Path
    cohort: Cohort
    threads: int

    def segment(self, unit: FoldRun) -> None:
        """Packages and label maps that are there are kept."""
        experiment = Experiment.open(self.plan.folder / unit.experiment)
        model = self.out / MODELS / unit.experiment / unit.run
        if not model.exists():
            export(experiment.folder / unit.run, model, formats=("openvino",))
        unseen = self.cohort.select(experiment.split["validation"])
        folder = self.out / SEGMENTATIONS / f"{unit.run}-seed{unit.seed}"
        predictor = Predictor(model, threads=self.threads)
        report = segment_studies(unseen.studies, predictor, folder, resume=True, jobs=1)
        for error in report.failed.values():
            raise error


def cross_validate(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    rules: str = "plain",
    jobs: int | None = None,
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Export every run of a finished cross-validation, segment the patients of its fold, and score
    them on their own grid.

    Args:
        folder: of :func:`~gliodistill.cross_validation.training.train_folds`.
        out: new, or the folder of an interrupted call. Gets ``models/``, ``segmentations/``
            (``<run>-seed<n>/``), ``scores/``, ``cross_validation.json`` and ``.csv``, and
            ``comparison.html`` if there are several runs.
        data: the studies, if they were trained on as a cache or have moved.
        rules: name of the rule set.
        jobs: runs exported and studies scored at once; None = 1.
        executor: where runs are exported and applied, instead of ``jobs`` processes here.

    Returns:
        What ``cross_validation.json`` holds: ``runs``: run → region → ``mean`` Dice over patients
        (each the mean over seeds), its 95 % ``low`` and ``high``, the mean of each of the
        ``seeds``, and their standard deviation ``seeds_std``.

    Raises:
        CheckpointError: a run is not finished, or has seen a patient of its fold.
        GliodistillError: a study fails; what is finished is kept.
    """
    plan, root = CrossValidation.open(folder), Path(out)
    _check(plan)
    studies = _studies(plan, None if data is None else Path(data))
    cohort = open_cohort(studies, layout=plan.layout, labels=plan.labels).labelled()
    rule_set = get_rules(rules, bring(plan.recipe.described_task))
    jobs = jobs or 1
    make_folder(root)
    check_writable(root)
    with lock_folder(root):
        for part in (MODELS, SEGMENTATIONS, SCORES):
            remove_leftovers(make_folder(root / part))
        for unit in plan.units:
            make_folder(root / MODELS / unit.experiment)
        threads = max(1, (os.cpu_count() or 1) // jobs)
        work = _Segmenting(plan, root, cohort, threads).segment
        outcomes = (executor or Processes(jobs, threads)).outcomes(work, plan.units)
        with tracked(outcomes, "segmenting unseen patients", len(plan.units)) as ended:
            for outcome in ended:
                if (error := outcome.problem(str(outcome.item))) is not None:
                    raise error
        scores = {run: _score(plan, run, root, studies, rule_set, jobs) for run in plan.recipe.runs}
        averaged = {run: over_seeds(list(each.values())) for run, each in scores.items()}
        facts = _facts(plan, scores, averaged)
        _write(root, facts, averaged)
    return facts


def _check(plan: CrossValidation) -> None:
    """Every run is finished, every patient is in one fold, and unseen by its networks."""
    unfinished, seen = [], []
    for unit in plan.units:
        experiment = Experiment.open(plan.folder / unit.experiment)
        if not experiment.is_finished(unit.run):
            unfinished.append(str(unit))
        patients = {study.id: study.patient for study in Cache.open(experiment.cache)}
        trained, held_out = (
            {patients[id] for id in experiment.split[side]} for side in ("training", "validation")
        )
        seen += sorted(trained & held_out)
    if unfinished:
        raise CheckpointError(
            "run is not finished",
            file=plan.folder / unfinished[0],
            got=f"{len(unfinished)} of {len(plan.units)} runs are not",
            hint="continue with gliodistill train --resume",
        )
    if seen:
        raise CheckpointError(
            "a patient of a fold was trained on", file=plan.folder, got=", ".join(seen[:4])
        )


def _studies(plan: CrossValidation, data: Path | None) -> Path:
    where = data or plan.data
    if is_cache(where):
        raise GliodistillError(
            "a cache has no studies on their own grid",
            file=where,
            field="data",
            hint="give the studies that it was made from with --data",
        )
    return where


def _score(
    plan: CrossValidation, run: str, root: Path, studies: Path, rules: Rules, jobs: int
) -> dict[int, Scores]:
    """Seed → scores of all patients, each segmented by the network of its fold."""
    found = {}
    convention = Predictor(
        root / MODELS / plan.units[0].experiment / run, threads=1
    ).package.convention
    for seed in plan.seeds:
        pairs = match_pairs(
            root / SEGMENTATIONS / f"{run}-seed{seed}",
            studies,
            layout=plan.layout,
            labels=plan.labels,
            prediction_labels=convention.name,
            jobs=jobs,
            task=plan.recipe.described_task,
        )
        found[seed] = score_pairs(pairs, rules, jobs=jobs)
        if not found[seed].ok:
            id, why = next(iter(found[seed].failed.items()), ("", "no study"))
            raise EvaluationError("cannot score", file=id, got=why)
        found[seed].write(root / SCORES / f"{run}-seed{seed}.json")
    return found


def over_seeds(scores: Sequence[Scores]) -> Scores:
    """The mean over seeds of each value; None where one of them is undefined."""
    first = scores[0]
    if len(scores) == 1:
        return first

    def mean(id: str, region: str, metric: str) -> float | int | None:
        values = [each.studies[id][region][metric] for each in scores]
        told = [value for value in values if value is not None]
        return fmean(told) if len(told) == len(values) else None

    studies = {
        id: {
            region: {metric: mean(id, region, metric) for metric in values}
            for region, values in regions.items()
        }
        for id, regions in first.studies.items()
    }
    provenance = {**first.provenance, "seeds": f"means over {len(scores)} seeds"}
    return Scores(first.rules, studies, {}, provenance)


def _facts(
    plan: CrossValidation,
    scores: Mapping[str, Mapping[int, Scores]],
    averaged: Mapping[str, Scores],
) -> dict[str, Any]:
    def of(run: str, region: str) -> dict[str, Any]:
        values = averaged[run].values(region)
        low, high = mean_interval(values) if len(values) > 1 else (None, None)
        seeds = {str(seed): each.mean(region) for seed, each in scores[run].items()}
        told = [value for value in seeds.values() if value is not None]
        return {
            "mean": averaged[run].mean(region),
            "low": low,
            "high": high,
            "seeds": seeds,
            "seeds_std": stdev(told) if len(told) > 1 else None,
        }

    one = next(iter(averaged.values()))
    return {
        "recipe": plan.recipe.name,
        "folds": plan.folds,
        "seeds": list(plan.seeds),
        "studies": len(one.ids),
        "rules": {"name": one.rules.name, "task": one.rules.task},
        "what": "Dice; each patient by the network of the fold without the patient, mean over"
        " seeds; 95 % bootstrap interval over patients",
        "runs": {
            run: {region: of(run, region) for region in one.rules.regions} for run in averaged
        },
    }


def _write(root: Path, facts: dict[str, Any], averaged: Mapping[str, Scores]) -> None:
    """Tables and page; the summary last."""
    for run, each in averaged.items():
        each.write(root / SCORES / f"{run}.json")
    if len(averaged) > 1:
        try:
            comparison = compare(averaged)
        except EvaluationError as error:
            note(f"no {PAGE}: {error.problem}")
        else:
            sources = {run: str(root / SCORES / f"{run}.json") for run in averaged}
            write_comparison_report(root / PAGE, comparison, sources)
    rows = [
        [run, region, *(values[key] for key in ("mean", "low", "high", "seeds_std"))]
        for run, regions in facts["runs"].items()
        for region, values in regions.items()
    ]
    head = ["run", "region", "dice", "low", "high", "seeds_std"]
    write_text(root / TABLE, csv_text([head, *rows]))
    write_text(root / SUMMARY, json.dumps(facts, indent=1) + "\n")
