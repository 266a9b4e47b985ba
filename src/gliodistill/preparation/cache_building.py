"""Filling a cache: every study prepared in parallel, and kept while its files and settings are the
same.

``cache.json`` is written last and removed first when settings change, so a folder that has it is
complete. One process at a time fills a cache; another waits for it.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.documents import read_json
from gliodistill.errors import CacheError, GliodistillError, StudyError
from gliodistill.files import (
    atomic_folder,
    check_writable,
    contents,
    is_ours,
    make_folder,
    remove_leftovers,
    sha256,
    write_text,
)
from gliodistill.images.nifti import read_labels
from gliodistill.locks import lock_folder
from gliodistill.pool import Executor, Threads, tracked
from gliodistill.preparation.cache import DAMAGED, FILES, FORMAT, INDEX, STUDY, Cache, is_cache
from gliodistill.preparation.preparation import Preparation
from gliodistill.preparation.prepared import Prepared
from gliodistill.studies.cohort import Cohort
from gliodistill.studies.ids import check_names
from gliodistill.studies.labels import CONVENTIONS, LabelConvention
from gliodistill.studies.records import StudyRecord
from gliodistill.studies.study import load_study
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.task import Task

SoftFiles = Callable[[str], tuple[Path, ...]]
"""Id of a study → files of its soft labels: probabilities · 255 of WT, TC and ET, on the grid of
its images.
"""


def build_cache(
    cohort: Cohort,
    preparation: Preparation,
    folder: str | os.PathLike[str],
    jobs: int | None = None,
    soft: SoftFiles | None = None,
    task: Task | None = None,
    executor: Executor | None = None,
) -> Cache:
    """Prepare every study of ``cohort`` into ``folder``, in parallel; unchanged studies already
    there are kept.

    Args:
        cohort: the studies; the label convention must be known if any has a reference.
        preparation: the settings.
        folder: new, or a cache to continue. Each study is written whole or not at all. If another
            process is filling it, this one waits.
        jobs: studies prepared at once; None = one per core.
        soft: files of soft labels to prepare as well.
        task: whose regions the references become; None = glioma.
        executor: where the studies are prepared, instead of ``jobs`` threads here.

    Raises:
        GliodistillError: the first study that cannot be read (those prepared before are kept).
        StudyError: studies whose folders would have one name.
        CacheError: ``folder`` holds something else.
        OutputError: ``folder`` cannot be written.
    """
    task = task or glioma()
    for record in cohort.studies:  # before the work
        record.check()
        task.known(record.known_regions, _coded(record, cohort), record.id)
    root = Path(folder)
    facts = {
        "format": FORMAT,
        "preparation": preparation.to_dict(),
        "convention": None if cohort.convention is None else cohort.convention.name,
        "studies": sorted(record.id for record in cohort.studies),
    }
    if cohort.convention is not None and cohort.convention.name not in CONVENTIONS:
        facts["codes"] = {str(code): str(t) for code, t in cohort.convention.codes.items()}
    if cohort.labels_by is not None:
        facts["labels_by"] = cohort.labels_by
    if task.parts != glioma().parts:
        facts["regions"] = task.parts
    index = json.dumps(facts, indent=1)
    check_names({record.id: [record.id] for record in cohort.studies}, [INDEX], root)
    make_folder(root)
    check_writable(root)
    with lock_folder(root, wait=True):
        _claim(root, index)
        # Threads: gunzip, hashing and NumPy release the GIL.
        work = _Preparing(preparation, root, soft, task).prepare
        # What is there is read here: other machines need not see the folder.
        coded = [
            (record, _coded(record, cohort), _meta(root / record.id).get("key"))
            for record in cohort.studies
        ]
        done = (executor or Threads(jobs)).outcomes(work, coded)
        with tracked(done, "preparing studies", len(coded)) as outcomes:
            for outcome in outcomes:
                outcome.get()
        write_text(root / INDEX, index)
    return Cache.open(root)


def _claim(root: Path, index: str) -> None:
    """Prepare ``root`` for writing: ours or empty, without leftovers and outdated index."""
    remove_leftovers(root)
    strangers = [
        path.name
        for path in contents(root)
        if path.name != INDEX and not is_ours(path, STUDY, FILES)
    ]
    if strangers:
        raise CacheError(
            "folder holds something else",
            file=root,
            got=", ".join(sorted(strangers)[:4]),
            expected="a new folder, or a cache to continue",
        )
    if is_cache(root) and (root / INDEX).read_bytes() != index.encode():
        (root / INDEX).unlink()


def cache_key(
    record: StudyRecord,
    convention: LabelConvention | None,
    preparation: Preparation,
    soft: tuple[Path, ...] = (),
    task: Task | None = None,
) -> str:
    """Digest of content and settings: files' bytes, channels, convention, preparation, format, and
    regions other than those of gliomas.
    """
    task = task or glioma()
    files = {str(s): (sha256(f.path), f.channel) for s, f in record.images.items()}
    files |= {f"soft {path.name}": (sha256(path), None) for path in soft}
    if record.truth is not None:
        files["truth"] = (sha256(record.truth.path), record.truth.channel)
    if record.known is not None:
        files["known"] = (sha256(record.known.path), record.known.channel)
    name = None if convention is None else convention.name
    facts = [FORMAT, record.id, record.patient, files, name, preparation.to_dict()]
    if partial := _told(record, convention, task):
        facts.append(partial)
    if task.parts != glioma().parts:
        facts.append({"regions": task.parts})
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _coded(record: StudyRecord, cohort: Cohort) -> LabelConvention | None:
    """The convention of a study's reference, if it has one."""
    return None if record.truth is None else cohort.convention_of(record)


def _told(record: StudyRecord, convention: LabelConvention | None, task: Task) -> dict[str, Any]:
    """Partial labels and group of the record; empty for most studies, so that their digest does not
    change.
    """
    known = task.known(record.known_regions, convention, record.id)
    told = {
        "known_regions": None if known == task.names else list(known),
        "partial": record.known is not None or None,
        "group": record.group,
        "normalised": record.normalised or None,
    }
    return {key: value for key, value in told.items() if value is not None}


@dataclass(frozen=True)
class _Preparing:
    """The settings of every study of a cache, and its folder."""

    preparation: Preparation
    root: Path
    soft: SoftFiles | None
    task: Task

    def prepare(self, coded: tuple[StudyRecord, LabelConvention | None, str | None]) -> None:
        """Prepare a study, given with the convention of its reference and the key of what is
        there.
        """
        record, convention, there = coded
        maps = () if self.soft is None else self.soft(record.id)
        folder = self.root / record.id
        key = cache_key(record, convention, self.preparation, maps, self.task)
        if there == key:
            return
        prepared = self.preparation.apply(load_study(record, convention), self.task)
        with atomic_folder(folder, replaces=FILES) as temporary:
            np.save(temporary / "image.npy", prepared.image)
            if prepared.truth is not None:
                np.save(temporary / "truth.npy", prepared.truth)
            if maps:
                np.save(temporary / "soft.npy", _soft(maps, prepared, self.task))
            meta = {
                "key": key,
                "patient": prepared.patient,
                "present": list(prepared.present),
                "labelled": prepared.truth is not None,
                "shape": list(prepared.shape),
                "affine": prepared.affine.tolist(),
            } | _told(record, convention, self.task)
            if prepared.notes:
                meta["notes"] = [note.text for note in prepared.notes]
            (temporary / STUDY).write_text(json.dumps(meta, indent=1))


def _soft(files: tuple[Path, ...], prepared: Prepared, task: Task) -> NDArray[np.uint8]:
    """Soft labels (uint8 R X Y Z) of WT, TC, ET as the regions of the task, resampled as the images
    are; 0 where they tell nothing.
    """
    maps = [read_labels(file) for file in files]
    for file, volume in zip(files, maps, strict=True):
        if not volume.same_grid(prepared.native):
            raise StudyError(
                "soft label on another grid",
                file=file,
                got=volume.difference(prepared.native),
                expected="the grid of the images",
            )
    found = np.rint(prepared.from_native(np.stack([volume.data for volume in maps])))
    soft = np.zeros((len(task.regions), *found.shape[1:]), np.uint8)
    for own, at in task.shared(glioma()):
        soft[own] = found[at]
    return soft


def _meta(folder: Path) -> dict[str, Any]:
    """The facts file of a prepared study; empty if it is missing or cannot be read."""
    try:
        meta: dict[str, Any] = read_json(folder / STUDY, DAMAGED)
        return meta
    except GliodistillError:
        return {}
