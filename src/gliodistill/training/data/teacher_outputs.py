"""Outputs of foreign teachers for the training studies: predicted once, kept as levels, cut
with the patch they belong to.

A folder a teacher under ``cache-teachers``, a folder a study in it: ``levels.npy`` (uint8 3 X Y Z,
:mod:`gliodistill.teachers.levels`) on the prepared grid, which is the brain's box.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gliodistill.documents import read_json
from gliodistill.errors import GliodistillError, RecipeError, StudyError
from gliodistill.evaluation.metrics import dice
from gliodistill.files import atomic_folder, make_folder, remove_leftovers
from gliodistill.locks import lock_folder
from gliodistill.preparation.cache import DAMAGED, STUDY, Cache, CachedStudy, mapped
from gliodistill.preparation.prepared import Prepared, unpack_regions
from gliodistill.progress import track
from gliodistill.studies.cohort import Cohort
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.records import StudyRecord
from gliodistill.studies.study import Study, load_study
from gliodistill.teachers import ForeignTeacher, Teacher
from gliodistill.teachers.levels import to_levels, to_logits
from gliodistill.training.transforms.spatial import SpatialDraw, read_patch

FOLDER, LEVELS = "cache-teachers", "levels.npy"
FILES = (STUDY, LEVELS, "view.npy")
"""Files of a study; the first marks its folder as ours."""


Reader = Callable[[NDArray[np.int64], tuple[int, int, int], SpatialDraw], Tensor]
"""Centre and sides of the student's patch, and how it is moved → what belongs to it, C X Y Z."""
Studies = Mapping[Path, tuple[Path, Mapping[str, Any]]]
"""Folder of the prepared study → folder of what a teacher gives for it, and its facts."""


@dataclass(frozen=True)
class Asked:
    """The studies that a teacher is asked about.

    Attributes:
        parts: name → the prepared studies, and their files by id (None where only the cache is
            known).
        root: folder of the training; outputs go to ``cache-teachers`` in it.
        field: the recipe's key of the teacher, for errors.
    """

    parts: Mapping[str, tuple[Cache, Mapping[str, StudyRecord] | None]]
    root: Path
    field: str


@dataclass(frozen=True)
class TeacherOutputs:
    """A teacher's outputs for the studies of a cache.

    Attributes:
        studies: with the facts ``key``, ``dice`` (of the teacher on a labelled study, by region),
            ``seconds`` and ``bytes``.
    """

    studies: Studies

    def reader(self, study: CachedStudy) -> Reader:
        """What cuts the logits of WT, TC, ET of a patch, 3 X Y Z; −12.7 beyond the study.

        Raises:
            CacheError: the file is missing or damaged.
        """
        levels = mapped(self.studies[study.folder][0] / LEVELS, (3, *study.shape))

        def read(
            centre: NDArray[np.int64], patch: tuple[int, int, int], draw: SpatialDraw
        ) -> Tensor:
            cut = read_patch(levels[:1], levels, centre, patch, draw)[1]
            assert cut is not None  # levels were given
            return torch.from_numpy(to_logits(cut))

        return read

    def facts(self) -> dict[str, Any]:
        """For the summary of a run."""
        return stored_facts(self.studies)


def stored_facts(studies: Studies) -> dict[str, Any]:
    """Studies, digest, Dice of the teacher on the labelled ones where it is known, median seconds a
    study, and megabytes.
    """
    found = {place.name: facts for place, facts in studies.values()}
    keys = {id: facts["key"] for id, facts in found.items()}
    scores = [facts["dice"] for facts in found.values() if facts.get("dice")]
    told = {r: [each[r] for each in scores if r in each] for r in REGIONS}
    return {
        "studies": len(studies),
        "sha256": hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest(),
        "dice": {r: round(float(np.mean(values)), 4) for r, values in told.items() if values},
        "seconds_a_study": round(float(np.median([each["seconds"] for each in found.values()])), 2),
        "megabytes": round(sum(each["bytes"] for each in found.values()) / 1e6, 1),
    }


def build_outputs(teacher: ForeignTeacher, opened: Teacher, asked: Asked) -> TeacherOutputs:
    """Predict every study that has no output of this teacher yet.

    Args:
        teacher: as the recipe names it.
        opened: the same.
        asked: the studies.

    Raises:
        RecipeError: the images themselves are not known.
        StudyError: a study without an output, an output that is hard, or one on another grid.
        GliodistillError: any other error of the teacher.
    """

    def make(whole: Study, prepared: Prepared, study: CachedStudy, folder: Path) -> dict[str, Any]:
        said = opened.predict(whole)
        if said.hard:
            raise StudyError(
                "the teacher's output is hard: a label map without probabilities",
                file=study.id,
                field=asked.field,
                expected="probabilities",
                hint="export probabilities (nnU-Net: --save_probabilities), or use label maps as"
                " pseudo-labels: gliodistill pseudo-label STUDIES --teacher files:FOLDER",
            )
        levels = to_levels(prepared.from_native(said.probability))
        np.save(folder / LEVELS, levels)
        return {"dice": _dice(levels, study) if study.labelled else None, "bytes": levels.nbytes}

    return TeacherOutputs(each_study(teacher, opened, asked, "outputs", make))


def each_study(
    teacher: ForeignTeacher,
    opened: Teacher,
    asked: Asked,
    what: str,
    make: Callable[[Study, Prepared, CachedStudy, Path], dict[str, Any]],
) -> Studies:
    """Make and keep what a teacher gives for each study, unless it is there.

    Args:
        teacher: as the recipe names it.
        opened: the same.
        asked: the studies.
        what: is made: ``outputs`` or ``views``.
        make: the study as read, prepared, and in the cache, and a folder → its facts; writes into
            the folder.
    """
    plain = replace(teacher, live=None)
    said = json.dumps(plain.as_dict(), sort_keys=True)
    digest = hashlib.sha256(said.encode()).hexdigest()[:12]
    studies: dict[Path, tuple[Path, Mapping[str, Any]]] = {}
    for name, (cache, records) in asked.parts.items():
        files = records_for(records, cache, asked.field)
        folder = make_folder(asked.root / FOLDER / f"{teacher.kind}-{digest}-{what}-{name}")
        with lock_folder(folder, wait=True):
            remove_leftovers(folder)
            for study in track(cache.studies, f"{what} of {teacher}"):
                place, record = folder / study.id, files[study.id]
                prepared_as = read_json(study.folder / STUDY, DAMAGED)["key"]
                depends = [said, opened.facts(study.id), prepared_as]
                key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
                facts = _meta(place)
                if facts.get("key") != key:
                    facts = _made(opened, record, cache, study, place, key, make)
                studies[study.folder] = (place, facts)
    return studies


def _made(
    opened: Teacher,
    record: StudyRecord,
    cache: Cache,
    study: CachedStudy,
    place: Path,
    key: str,
    make: Callable[[Study, Prepared, CachedStudy, Path], dict[str, Any]],
) -> dict[str, Any]:
    """Make what a teacher gives for one study; its facts."""
    began = time.perf_counter()
    opened.check(record)
    whole = load_study(replace(record, truth=None, known=None))  # a teacher sees no reference
    prepared = cache.preparation.apply(whole)
    with atomic_folder(place, replaces=FILES) as folder:
        facts = make(whole, prepared, study, folder)
        facts |= {"key": key, "seconds": round(time.perf_counter() - began, 3)}
        (folder / STUDY).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return facts


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


def _dice(levels: NDArray[np.uint8], study: CachedStudy) -> dict[str, float]:
    """Dice of the teacher's regions on the prepared grid, as in validation."""
    truth = unpack_regions(study.truth(), len(study.regions))
    known = dict(zip(study.regions, truth, strict=True))
    return {
        region: 1.0 if (score := dice(drawn, known[region])) is None else round(score, 4)
        for region, drawn in zip(REGIONS, levels > 127, strict=True)
        if region in study.known_regions
    }


def _meta(folder: Path) -> dict[str, Any]:
    """The facts of a study's output; empty if they are missing or cannot be read."""
    try:
        meta: dict[str, Any] = read_json(folder / STUDY, DAMAGED)
        return meta
    except GliodistillError:
        return {}
