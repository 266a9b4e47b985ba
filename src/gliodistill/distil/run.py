"""Distil a student from a trained teacher: plan, train, export, segment, compare, report."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gliodistill.distil.report import write_distil_report
from gliodistill.distil.split import validation_of, with_one_fold
from gliodistill.documents import Refusal, read_json
from gliodistill.documents.yaml_text import parse_yaml
from gliodistill.errors import EvaluationError, OutputError, RecipeError, note
from gliodistill.evaluation.comparison import compare
from gliodistill.evaluation.conclusions import cautions, conclusion
from gliodistill.evaluation.evaluate import evaluate
from gliodistill.evaluation.scores import Scores
from gliodistill.files import make_folder, write_text
from gliodistill.images.nifti import write_nifti
from gliodistill.inference.batch import segment_studies
from gliodistill.inference.predictor import Predictor
from gliodistill.planner.foreign import of_foreign
from gliodistill.planner.output import write_plan
from gliodistill.planner.planning import SECONDS, plan_student
from gliodistill.progress import track
from gliodistill.recipes.reading import apply_settings
from gliodistill.recipes.schema import Recipe
from gliodistill.reports.pages.comparison import write_comparison_report
from gliodistill.studies.cohort import Cohort, open_cohort, split_patients
from gliodistill.studies.labels import REGIONS, LabelConvention
from gliodistill.studies.study import load_study
from gliodistill.teachers import ForeignTeacher
from gliodistill.training.experiment import Experiment
from gliodistill.training.packaging import export
from gliodistill.training.progress_bars import watcher
from gliodistill.training.run import train

RUNS = ("baseline", "distilled")
SUMMARY = "distil.json"
_NOT_FINISHED = Refusal(OutputError, "not the summary of a distillation", "remove it")


@dataclass(frozen=True)
class Distilled:
    """A finished distillation.

    Attributes:
        folder: of everything.
        experiment: with the runs ``baseline`` and ``distilled``.
        model: folder of the student's package.
        rows: ``teacher``, ``baseline``, ``distilled`` → ``dice`` by region, ``seconds`` a study,
            and ``megabytes`` (None where it is not known).
        conclusion: whether the distilled student is better than the baseline; None with too few
            studies.
    """

    folder: Path
    experiment: Experiment
    model: Path
    rows: Mapping[str, Mapping[str, Any]]
    conclusion: str | None


def distil(
    teacher: ForeignTeacher,
    data: str | os.PathLike[str],
    budgets: Sequence[str],
    out: str | os.PathLike[str],
    *,
    networks: Sequence[str] = ("unet",),
    settings: Sequence[str] = (),
    splits: str | os.PathLike[str] | None = None,
    layout: str | None = None,
    labels: str | None = None,
    threads: int | None = None,
    seconds: float = SECONDS,
    jobs: int | None = None,
) -> Distilled:
    """From a trained teacher to a packaged student; what is finished in ``out`` is kept.

    Args:
        teacher: of any kind.
        data: labelled studies, e.g. ``nnUNet_raw/DatasetXXX``.
        budgets: of the student, e.g. ``size<=8MB``; all must hold.
        out: new, or the folder of the same distillation. Gets ``plan/``, ``recipe.yaml``,
            ``experiment/``, ``models/``, ``segmentations/``, ``scores/``, ``comparison.html``,
            ``report.html`` and ``distil.json``.
        networks: families of students to search.
        settings: ``key=value`` of the recipe.
        splits: nnU-Net's ``splits_final.json``, where it is not in nnU-Net's folders.
        layout: of the data, if it cannot be determined.
        labels: label convention of the data, if it cannot be determined.
        threads: processor threads of the planner and of the timings; None = all cores.
        seconds: of the planner's measurements.
        jobs: studies prepared at once.

    Raises:
        GliodistillError: any step fails; nothing of a failed step is kept.
    """
    root = Path(out)
    named = with_one_fold(teacher)
    cohort = open_cohort(data, layout=layout, labels=labels).labelled()
    recipe = _recipe(root, named, cohort, Path(data), budgets, networks, settings, splits,
                     threads, seconds)  # fmt: skip
    folder = root / "experiment"
    if (root / SUMMARY).is_file():  # finished
        facts = read_json(root / SUMMARY, _NOT_FINISHED)
        return _made(root, Experiment.open(folder), facts)
    with watcher(recipe) as watch:
        experiment = train(
            recipe, data, folder, resume=folder.exists(), layout=layout, labels=labels, jobs=jobs,
            watch=watch,
        )  # fmt: skip
    for part in ("models", "scores"):
        make_folder(root / part)
    validation = cohort.select(experiment.split["validation"])
    if not len(validation):
        raise RecipeError(
            "no patient is left to compare on", field="data.validation", got=0,
            expected="1 or more",
        )  # fmt: skip
    convention = experiment.convention
    assert convention is not None  # labelled studies have one
    rows: dict[str, dict[str, Any]] = {}
    scores: dict[str, Scores] = {}
    for name in ("teacher", *RUNS):
        segmentations = root / "segmentations" / name
        if name == "teacher":
            rows[name] = _ask(named, validation, segmentations, convention)
        else:
            model = root / "models" / name
            if not model.exists():
                export(experiment.folder / name, model)
            rows[name] = _segment(model, validation, segmentations, threads)
        scores[name] = evaluate(
            segmentations, data, layout=layout, labels=labels,
            prediction_labels=convention.name, subset=True,
        )  # fmt: skip
        scores[name].write(root / "scores" / f"{name}.json")
        rows[name]["dice"] = {region: scores[name].mean(region) for region in REGIONS}
    facts = {
        "teacher": named.as_dict(),
        "outputs": experiment.summary("distilled")["teachers"],
        "budgets": list(budgets),
        "validation": experiment.split["validation"],
        "rows": rows,
        "conclusion": _compare(root, scores),
    }
    write_text(root / SUMMARY, json.dumps(facts, indent=1) + "\n")
    write_distil_report(root / "report.html", facts)
    return _made(root, experiment, facts)


def _made(root: Path, experiment: Experiment, facts: Mapping[str, Any]) -> Distilled:
    model = root / "models" / "distilled"
    return Distilled(root, experiment, model, facts["rows"], facts.get("conclusion"))


def _recipe(
    root: Path,
    named: ForeignTeacher,
    cohort: Cohort,
    data: Path,
    budgets: Sequence[str],
    networks: Sequence[str],
    settings: Sequence[str],
    splits: str | os.PathLike[str] | None,
    threads: int | None,
    seconds: float,
) -> Recipe:
    """The planned recipe, as it is stored or made now."""
    file = root / "recipe.yaml"
    if not file.exists():
        master = of_foreign(named, settings)
        validation = None
        if not any(setting.startswith("data.validation=") for setting in settings):
            given = None if splits is None else Path(splits)
            validation = validation_of(named, cohort, data, given)
        told = master.recipe.data
        left_out = told.validation if validation is None else validation
        patients = {record.id: record.patient for record in cohort.studies}
        training, _ = split_patients(patients, left_out, told.split_seed)
        plan = plan_student(
            master, budgets, networks=networks, threads=threads, seconds=seconds,
            training=cohort.select(training),
        )  # fmt: skip
        if plan.teaching is not None:
            note(plan.teaching.explain())
        make_folder(root)
        if not (root / "plan").exists():
            write_plan(plan, root / "plan")
        values = parse_yaml(plan.recipe(), Refusal(RecipeError, "cannot read the plan"))
        values = apply_settings(values, [s for s in settings if s.startswith("runs.")])
        if validation is not None:
            values["data"]["validation"] = list(validation)
        made = Recipe.of(values, file)
        write_text(file, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
        return made
    stored = Recipe.open(file)
    teachers = dict(stored.runs["distilled"].method.options.get("teacher", {}))
    if named.live is None:
        teachers.pop("live", None)  # as it was planned
    if teachers != named.as_dict():
        raise RecipeError(
            "folder is of another teacher", file=file, field="teacher", got=named.as_dict(),
            expected=teachers, hint="choose another folder",
        )  # fmt: skip
    note(f"{root} continues with its stored recipe; --set and --budget are not read again")
    return stored


def _ask(
    named: ForeignTeacher, validation: Cohort, out: Path, convention: LabelConvention
) -> dict[str, Any]:
    """Label maps of the teacher, and its costs; the student's package is timed alike."""
    teacher, times = named.open(), []
    make_folder(out)
    for record in track(validation.studies, "the teacher's segmentations"):
        began = time.perf_counter()
        study = load_study(record)
        drawn = teacher.predict(study).probability > 0.5
        write_nifti(
            study.grid.with_data(convention.from_regions(drawn)), out / f"{record.id}.nii.gz"
        )
        times.append(time.perf_counter() - began)
    network = teacher.as_network()
    size = None if network is None else 4e-6 * sum(p.numel() for p in network.parameters())
    return {"seconds": sorted(times)[len(times) // 2], "megabytes": size}


def _segment(model: Path, validation: Cohort, out: Path, threads: int | None) -> dict[str, Any]:
    """Label maps of a package, and its costs."""
    began = time.perf_counter()
    report = segment_studies(
        validation.studies, Predictor(model, threads=threads), out, resume=True
    )
    for error in report.failed.values():
        raise error
    done = len(report.done) or 1
    size = sum(file.stat().st_size for file in model.glob("*.bin")) / 1e6
    return {"seconds": (time.perf_counter() - began) / done, "megabytes": size}


def _compare(root: Path, scores: Mapping[str, Scores]) -> str | None:
    """The page of paired differences, and whether the student gained, where there are enough
    studies.
    """
    try:
        comparison = compare(scores)
    except EvaluationError as error:
        note(f"no comparison.html: {error.problem}")
        return None
    sources = {name: str(root / "scores" / f"{name}.json") for name in scores}
    write_comparison_report(root / "comparison.html", comparison, sources)
    found = conclusion(comparison, RUNS)
    return " ".join(filter(None, [found.sentence, found.details, *cautions(comparison)]))
