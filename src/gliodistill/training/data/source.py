"""The labelled studies of a training: opened, checked, split by patient."""

from collections.abc import Iterable
from itertools import compress
from pathlib import Path
from typing import NoReturn

from gliodistill.errors import StudyError
from gliodistill.preparation.cache import Cache, is_cache
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.cohort import Cohort, open_cohort, split_patients
from gliodistill.studies.records import StudyRecord
from gliodistill.training.resolved import ResolvedRun

Source = Cohort | Cache


def open_source(recipe: Recipe, data: Path, layout: str | None, labels: str | None) -> Source:
    """The labelled studies at ``data``, of a cohort or of a cache, which must fit the recipe.

    Raises:
        StudyError: none, or one that cannot be used.
        CacheError: a cache of other settings.
    """
    source: Source
    if is_cache(data):
        source = Cache.open(data, recipe.data.preparation(), recipe.described_task).labelled()
    else:
        cohort = open_cohort(data, layout=layout, labels=labels)
        source = cohort.labelled()
        if not len(source):
            _refuse_unlabelled(data, cohort.problems)
        cohort.note_unlabelled()
        for record in source.studies:
            recipe.described_task.known(
                record.known_regions, cohort.convention_of(record), record.id
            )
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


def check_sequences(runs: Iterable[ResolvedRun], source: Source) -> None:
    """Raise StudyError if a study has none of the sequences that one of the ``runs`` takes."""
    for run in runs:
        for study in source.studies:
            there = (
                study.images
                if isinstance(study, StudyRecord)
                else compress(run.data_sequences, study.present)
            )
            if not set(run.sequences) & set(there):
                raise StudyError(
                    "study has no sequence that the student takes",
                    file=study.id,
                    field=f"runs.{run.name}",
                    expected=f"at least one of {', '.join(run.sequences)}",
                )


def split_of(recipe: Recipe, source: Source) -> dict[str, list[str]]:
    """The split: ``training`` and ``validation`` → study ids.

    The split is by patient: a validation study named by its id brings all studies of its patient.

    Raises:
        StudyError: no training study is left, or a validation id is unknown.
    """
    patients = {study.id: study.patient for study in source.studies}
    training, validation = split_patients(patients, recipe.data.validation, recipe.data.split_seed)
    return {"training": training, "validation": validation}
