"""Outputs of foreign teachers for the training studies: predicted once, kept as levels, cut with
the patch they belong to.

A folder a teacher under ``cache-teachers``, a folder a study in it: ``levels.npy`` (uint8 3 X Y Z,
:mod:`gliodistill.teachers.levels`) on the prepared grid, which is the brain's box.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.documents import read_json
from gliodistill.errors import GliodistillError, RecipeError, StudyError
from gliodistill.evaluation.metrics import dice
from gliodistill.files import atomic_folder, make_folder, remove_leftovers
from gliodistill.locks import lock_folder
from gliodistill.preparation.cache import DAMAGED, STUDY, Cache, CachedStudy, mapped
from gliodistill.preparation.prepared import unpack_regions
from gliodistill.progress import track
from gliodistill.studies.cohort import Cohort
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.records import StudyRecord
from gliodistill.studies.study import load_study
from gliodistill.teachers import ForeignTeacher, Teacher
from gliodistill.teachers.levels import to_levels

FOLDER, LEVELS = "cache-teachers", "levels.npy"
FILES = (STUDY, LEVELS)
"""Files of a study; the first marks its folder as ours."""
_KEYS = ("dice", "seconds", "bytes")


@dataclass(frozen=True)
class TeacherOutputs:
    """A teacher's outputs for the studies of a cache.

    Attributes:
        studies: folder of the prepared study → folder of its output, and its facts: ``key``,
            ``dice`` (of the teacher on a labelled study, by region), ``seconds`` and ``bytes``.
    """

    studies: Mapping[Path, tuple[Path, Mapping[str, Any]]]

    def levels(self, study: CachedStudy) -> NDArray[np.uint8]:
        """Levels of the logits of WT, TC, ET (uint8 3 X Y Z), memory-mapped.

        Raises:
            CacheError: the file is missing or damaged.
        """
        return mapped(self.studies[study.folder][0] / LEVELS, (3, *study.shape))

    def facts(self) -> dict[str, Any]:
        """For the summary of a run: studies, digest, Dice of the teacher on the labelled ones,
        median seconds a study, and megabytes.
        """
        found = {place.name: facts for place, facts in self.studies.values()}
        keys = {id: facts["key"] for id, facts in found.items()}
        scores = [facts["dice"] for facts in found.values() if facts["dice"]]
        told = {r: [each[r] for each in scores if r in each] for r in REGIONS}
        return {
            "studies": len(self.studies),
            "sha256": hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest(),
            "dice": {r: round(float(np.mean(values)), 4) for r, values in told.items() if values},
            "seconds_a_study": round(
                float(np.median([each["seconds"] for each in found.values()])), 2
            ),
            "megabytes": round(sum(each["bytes"] for each in found.values()) / 1e6, 1),
        }


def build_outputs(
    teacher: ForeignTeacher,
    parts: Mapping[str, tuple[Cache, Mapping[str, StudyRecord] | None]],
    root: Path,
    field: str,
) -> TeacherOutputs:
    """Predict every study that has no output of this teacher yet.

    Args:
        teacher: as the recipe names it.
        parts: name → the prepared studies, and their files by id (None where only the cache is
            known).
        root: folder of the training; outputs go to ``cache-teachers`` in it.
        field: the recipe's key of the teacher, for errors.

    Raises:
        RecipeError: the images themselves are not known.
        StudyError: a study without an output, an output that is hard, or one on another grid.
        GliodistillError: any other error of the teacher.
    """
    opened, said = teacher.open(), json.dumps(teacher.as_dict(), sort_keys=True)
    digest = hashlib.sha256(said.encode()).hexdigest()[:12]
    studies: dict[Path, tuple[Path, Mapping[str, Any]]] = {}
    for name, (cache, records) in parts.items():
        files = records_for(records, cache, field)
        folder = make_folder(root / FOLDER / f"{teacher.kind}-{digest}-{name}")
        with lock_folder(folder, wait=True):
            remove_leftovers(folder)
            for study in track(cache.studies, f"outputs of {teacher}"):
                facts = _one(opened, said, study, cache, files[study.id], folder, field)
                studies[study.folder] = (folder / study.id, facts)
    return TeacherOutputs(studies)


def records_for(
    records: Mapping[str, StudyRecord] | None, cache: Cache | Cohort, field: str
) -> Mapping[str, StudyRecord]:
    """The files of the studies.

    Raises:
        RecipeError: they are not known, because prepared studies were given.
    """
    if records is None:
        raise RecipeError(
            "a teacher that is no run reads the studies themselves",
            field=field,
            got=f"prepared studies in {cache.folder}" if isinstance(cache, Cache) else "nothing",
            expected="the folder of the cohort",
        )
    return records


def _one(
    teacher: Teacher,
    said: str,
    study: CachedStudy,
    cache: Cache,
    record: StudyRecord,
    folder: Path,
    field: str,
) -> dict[str, Any]:
    """Predict one study unless its output is there; its facts."""
    prepared_as = read_json(study.folder / STUDY, DAMAGED)
    depends = [said, teacher.facts(study.id), prepared_as["key"]]
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
    there = _meta(folder / study.id)
    if there.get("key") == key and all(name in there for name in _KEYS):
        return there
    began = time.perf_counter()
    teacher.check(record)
    whole = load_study(replace(record, truth=None, known=None))  # a teacher sees no reference
    said_of = teacher.predict(whole)
    if said_of.hard:
        raise StudyError(
            "the teacher's output is hard: a label map without probabilities",
            file=study.id,
            field=field,
            expected="probabilities",
            hint="export probabilities (nnU-Net: --save_probabilities), or use label maps as"
            " pseudo-labels: gliodistill pseudo-label STUDIES --teacher files:FOLDER",
        )
    levels = to_levels(cache.preparation.apply(whole).from_native(said_of.probability))
    facts = {
        "key": key,
        "dice": _dice(levels, study) if study.labelled else None,
        "seconds": round(time.perf_counter() - began, 3),
        "bytes": levels.nbytes,
    }
    with atomic_folder(folder / study.id, replaces=FILES) as temporary:
        np.save(temporary / LEVELS, levels)
        (temporary / STUDY).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return facts


def _dice(levels: NDArray[np.uint8], study: CachedStudy) -> dict[str, float]:
    """Dice of the teacher's regions on the prepared grid, as in validation."""
    truth = unpack_regions(study.truth(), len(study.regions))
    regions = zip(study.regions, levels > 127, truth, strict=True)
    return {
        region: 1.0 if (score := dice(drawn, truth)) is None else round(score, 4)
        for region, drawn, truth in regions
        if region in study.known_regions
    }


def _meta(folder: Path) -> dict[str, Any]:
    """The facts of a study's output; empty if they are missing or cannot be read."""
    try:
        meta: dict[str, Any] = read_json(folder / STUDY, DAMAGED)
        return meta
    except GliodistillError:
        return {}
