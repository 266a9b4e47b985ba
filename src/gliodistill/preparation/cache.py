"""Prepared studies on disk for training: one folder a study, memory-mapped, keyed by content and settings."""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import CacheError
from gliodistill.files import atomic_folder, sha256, write_text
from gliodistill.preparation.preparation import Preparation
from gliodistill.progress import track
from gliodistill.studies.cohort import Cohort
from gliodistill.studies.labels import CONVENTIONS, LabelConvention
from gliodistill.studies.study import StudyRecord

FORMAT = 1
_INDEX = "cache.json"


@dataclass(frozen=True)
class CachedStudy:
    """One prepared study on disk.

    Attributes:
        id, patient: as in the cohort.
        folder: holds ``image.npy`` (uint8 C X Y Z) and, with a truth, ``truth.npy`` (uint8 X Y Z bit mask).
        present: which channels the study has.
        labelled: whether it has a truth.
    """

    id: str
    patient: str
    folder: Path
    present: tuple[bool, ...]
    labelled: bool

    def image(self) -> NDArray[np.uint8]:
        """Levels, uint8 C X Y Z, memory-mapped."""
        return self._array("image.npy")

    def truth(self) -> NDArray[np.uint8]:
        """Bit mask (WT 1, TC 2, ET 4), uint8 X Y Z, memory-mapped."""
        return self._array("truth.npy")

    def _array(self, name: str) -> NDArray[np.uint8]:
        try:
            array: NDArray[np.uint8] = np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CacheError("damaged cache", file=self.folder / name, got=error, hint="remove the folder and prepare again") from error
        return array


@dataclass(frozen=True)
class Cache:
    """Prepared studies of one cohort under one preparation.

    Attributes:
        folder: where it lies.
        preparation: the settings they share.
        convention: label convention of the cohort they came from (by name), if any had a truth.
        studies: in order of id.
    """

    folder: Path
    preparation: Preparation
    convention: LabelConvention | None
    studies: tuple[CachedStudy, ...]

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "Cache":
        """Open a folder written by :func:`build_cache`.

        Raises:
            CacheError: no cache there, of another format, or a study is missing.
        """
        root = Path(folder)
        try:
            index = json.loads((root / _INDEX).read_text())
            if index["format"] != FORMAT:
                raise CacheError("cache of another format", file=root, got=index["format"], expected=FORMAT, hint="prepare again")
            convention = None if index["convention"] is None else CONVENTIONS[index["convention"]]
            studies = tuple(_read_study(root / id) for id in index["studies"])
            return cls(root, Preparation.from_dict(index["preparation"]), convention, studies)
        except (OSError, json.JSONDecodeError, KeyError) as error:
            raise CacheError(
                "not a preparation cache", file=root, got=error, expected=f"a folder with {_INDEX}", hint="run: gliodistill prepare"
            ) from error

    def __iter__(self) -> Iterator[CachedStudy]:
        return iter(self.studies)

    def __len__(self) -> int:
        return len(self.studies)

    def select(self, ids: set[str]) -> "Cache":
        """The studies with these ids.

        Raises:
            CacheError: an id is not in the cache.
        """
        unknown = sorted(ids - {study.id for study in self.studies})
        if unknown:
            raise CacheError("studies not in the cache", file=self.folder, got=", ".join(unknown[:5]), hint="prepare them first")
        return Cache(self.folder, self.preparation, self.convention, tuple(s for s in self.studies if s.id in ids))


def is_cache(folder: str | os.PathLike[str]) -> bool:
    """Whether ``folder`` holds a preparation cache."""
    return (Path(folder) / _INDEX).is_file()


def build_cache(cohort: Cohort, preparation: Preparation, folder: str | os.PathLike[str], jobs: int | None = None) -> Cache:
    """Prepare every study of ``cohort`` into ``folder``, in parallel; what is there already and unchanged is kept.

    Args:
        cohort: the studies; with a truth, the cohort's label convention must be known.
        preparation: the settings.
        folder: new, or a cache to continue. Each study is written whole or not at all.
        jobs: processes; None = one per core.

    Raises:
        GliodistillError: the first study that cannot be read (those prepared so far stay).
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    tasks = [(record, cohort.convention, preparation, root) for record in cohort.studies]
    workers = min(jobs or os.cpu_count() or 1, max(1, len(tasks)))
    if workers == 1:
        for task in track(tasks, "preparing studies"):
            _prepare_one(*task)
    else:
        with ProcessPoolExecutor(workers) as pool:
            pending = [pool.submit(_prepare_one, *task) for task in tasks]
            try:
                for done in track(as_completed(pending), "preparing studies", total=len(pending)):
                    done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    index = {
        "format": FORMAT,
        "preparation": preparation.to_dict(),
        "convention": None if cohort.convention is None else cohort.convention.name,
        "studies": sorted(record.id for record in cohort.studies),
    }
    write_text(root / _INDEX, json.dumps(index, indent=1))
    return Cache.open(root)


def _key(record: StudyRecord, convention: LabelConvention | None, preparation: Preparation) -> str:
    """Content and settings in one digest: files' bytes, channels, convention, preparation, format."""
    files = {str(s): (sha256(f.path), f.channel) for s, f in record.images.items()}
    if record.truth is not None:
        files["truth"] = (sha256(record.truth.path), record.truth.channel)
    name = None if convention is None else convention.name
    text = json.dumps([FORMAT, record.id, record.patient, files, name, preparation.to_dict()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _prepare_one(record: StudyRecord, convention: LabelConvention | None, preparation: Preparation, root: Path) -> None:
    folder, key = root / record.id, _key(record, convention, preparation)
    if folder.is_dir():
        if _meta(folder).get("key") == key:
            return
        import shutil

        shutil.rmtree(folder)
    prepared = preparation.apply(record.load(convention))
    with atomic_folder(folder) as temporary:
        np.save(temporary / "image.npy", prepared.image)
        if prepared.truth is not None:
            np.save(temporary / "truth.npy", prepared.truth)
        meta = {
            "key": key,
            "patient": prepared.patient,
            "present": list(prepared.present),
            "labelled": prepared.truth is not None,
            "shape": list(prepared.shape),
            "affine": prepared.affine.tolist(),
        }
        (temporary / "study.json").write_text(json.dumps(meta, indent=1))


def _meta(folder: Path) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = json.loads((folder / "study.json").read_text())
        return meta
    except (OSError, json.JSONDecodeError):
        return {}


def _read_study(folder: Path) -> CachedStudy:
    meta = _meta(folder)
    if not meta:
        raise CacheError("study missing from the cache", file=folder, hint="run gliodistill prepare again: it fills what is missing")
    return CachedStudy(folder.name, meta["patient"], folder, tuple(meta["present"]), meta["labelled"])
