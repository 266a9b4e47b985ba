"""The pseudo-labelled studies of a training: opened, checked, prepared."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliodistill.errors import CheckpointError, StudyError
from gliodistill.files import sha256
from gliodistill.inference.pseudo_cohort import PseudoLabels
from gliodistill.preparation.cache import Cache, is_cache
from gliodistill.preparation.cache_building import build_cache
from gliodistill.progress import track
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.duplicates import most_similar

FOLDER = "cache-pseudo"
Patients = Mapping[str, Mapping[str, str]]
"""Side (``training``, ``validation``) → labelled study's id → patient."""


@dataclass(frozen=True)
class Pool:
    """Pseudo-labelled studies, prepared.

    Attributes:
        cache: the prepared studies.
        facts: for ``data.json``: folder, fingerprint of the labels, ids, and the ``transductive``
            ones (of validation patients).
    """

    cache: Cache
    facts: dict[str, Any]


def open_labels(
    recipe: Recipe, runs: list[str], folder: str | os.PathLike[str] | None, patients: Patients
) -> PseudoLabels | Cache | None:
    """The pseudo-labels that ``runs`` use, if any; nothing is written.

    Raises:
        StudyError: there are none, they do not fit a run, or a labelled patient is among them.
        CacheError: ``folder`` is a cache of other settings, or not one.
    """
    using = [name for name in runs if recipe.runs[name].pseudo.share]
    if not using:
        return None
    if folder is None:
        hint = "give --pseudo OUT, made by: gliodistill pseudo-label"
        raise StudyError(
            f"run {using[0]} uses pseudo-labels",
            field=f"runs.{using[0]}.pseudo",
            got="none",
            hint=hint,
        )
    soft = any(recipe.runs[name].pseudo.labels == "soft" for name in using)
    labels: PseudoLabels | Cache
    if is_cache(folder):
        labels = _prepared(folder, recipe, soft)
        pool = {study.id: study.patient for study in labels}
    else:
        labels = _as_files(folder, recipe, soft)
        pool = {record.id: record.patient for record in labels.cohort.studies}
    for side, studies in patients.items():
        ids = {patient: id for id, patient in studies.items()}
        _refuse(
            labels.folder,
            side,
            {id: ids[patient] for id, patient in pool.items() if patient in ids},
            recipe.data.transductive,
        )
    return labels


def _prepared(folder: str | os.PathLike[str], recipe: Recipe, soft: bool) -> Cache:
    """The labelled studies of a cache, which must fit the recipe."""
    cache = Cache.open(folder, recipe.data.preparation(), recipe.described_task).labelled()
    if not len(cache):
        raise StudyError(
            "no labelled study",
            file=cache.folder,
            got="no truth",
            expected="studies with a label map each",
        )
    if cache.labels_by is None:
        raise StudyError(
            "cache is not of pseudo-labels",
            file=cache.folder,
            got="studies that an expert may have segmented",
            expected="those of gliodistill pseudo-label or gliodistill phantom",
            hint=(
                "give expert-labelled studies as --data; if these are pseudo-labels, run"
                " gliodistill prepare on them again to add what is missing"
            ),
        )
    if soft and not all((study.folder / "soft.npy").exists() for study in cache):
        raise StudyError(
            "pseudo-labels are hard",
            file=cache.folder,
            hint="give the folder of gliodistill pseudo-label --soft itself",
        )
    return cache


def _as_files(folder: str | os.PathLike[str], recipe: Recipe, soft: bool) -> PseudoLabels:
    """Pseudo-labelled studies as written, checked against the recipe."""
    labels = PseudoLabels.open(folder)
    for record in labels.cohort.studies:
        if record.problems or not set(record.images) & set(recipe.data.sequences):
            problem = record.problems[0] if record.problems else "no sequence that the recipe takes"
            raise StudyError(
                problem, file=f"{labels.folder}: {record.id}", hint="make the pseudo-labels again"
            )
        if soft:
            labels.soft_files(record.id)  # refuses hard ones
    return labels


def build_pool(
    recipe: Recipe,
    labels: PseudoLabels | Cache,
    cache: Cache,
    patients: Patients,
    root: Path,
    jobs: int | None,
) -> Pool:
    """Prepare the pseudo-labelled studies, and check that no labelled one is among them under
    another name.

    Raises:
        StudyError: a pseudo-labelled study has the images of a labelled one.
        GliodistillError: a study that cannot be read.
    """
    if isinstance(labels, Cache):
        pool, truths = labels, {study.id: study.folder / "truth.npy" for study in labels}
    else:
        soft = labels.soft_files if labels.soft else None
        pool = build_cache(
            labels.cohort,
            recipe.data.preparation(),
            root / FOLDER,
            jobs,
            soft,
            recipe.described_task,
        )
        truths = {
            record.id: record.truth.path
            for record in labels.cohort.studies
            if record.truth is not None
        }
    sequences = recipe.data.sequences
    known = {
        study.id: study.signature(sequences)
        for study in track(cache.studies, "comparing labelled studies")
    }
    twins = {
        study.id: most_similar(study.signature(sequences), known)
        for study in track(pool.studies, "comparing pseudo-labelled studies")
    }
    transductive = {s.id for s in pool if s.patient in set(patients["validation"].values())}
    for side, studies in patients.items():
        both = {
            id: match[0] for id, match in twins.items() if match is not None and match[0] in studies
        }
        _refuse(labels.folder, side, both, recipe.data.transductive)
        transductive |= set(both)
    ids = [study.id for study in pool]
    digests = {id: sha256(truths[id]) for id in ids}
    facts = {
        "folder": str(labels.folder.resolve()),
        "sha256": hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest(),
        "studies": ids,
        "transductive": sorted(transductive),
    }
    return Pool(pool, facts)


def check_same(there: dict[str, Any] | None, here: dict[str, Any], file: Path) -> None:
    """Raise CheckpointError if runs of one folder would use different pseudo-labels."""
    if there is not None and there["sha256"] != here["sha256"]:
        raise CheckpointError(
            "folder was trained on other pseudo-labels",
            file=file,
            field="pseudo",
            got=here["folder"],
            expected=there["folder"],
            hint="resume with the same pseudo-labels, or choose another folder",
        )


def _refuse(folder: Path, side: str, both: Mapping[str, str], transductive: bool) -> None:
    """Refuse patients that are labelled and pseudo-labelled; validation patients only if the recipe
    does not allow it.
    """
    if both and not (side == "validation" and transductive):
        (id, known), *others = both.items()
        raise StudyError(
            "a patient on two sides" if side == "validation" else "a patient labelled twice",
            file=folder,
            field="patient",
            got=f"{id}, which is {known} of {side}"
            + (f", and {len(others)} more" if others else ""),
            expected="pseudo-labels of patients who are not labelled",
            hint="make them with --exclude and the labelled studies"
            + (", or set data.transductive: true" if side == "validation" else ""),
        )
