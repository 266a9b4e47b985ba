"""Prepared studies on disk for training: one folder a study, memory-mapped, keyed by content and
settings (:mod:`~gliodistill.preparation.cache_building` fills it).
"""

import ast
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gliodistill.documents import Fields, Refusal, read_json
from gliodistill.errors import CacheError, PackageError
from gliodistill.preparation.preparation import Preparation
from gliodistill.preparation.quantise import dequantise
from gliodistill.studies.duplicates import Signature, signature
from gliodistill.studies.ids import check_id, check_patient
from gliodistill.studies.labels import CONVENTIONS, REGIONS, LabelConvention
from gliodistill.studies.sequence import MRSequence
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.conventions import bring
from gliodistill.tasks.task import MOST_REGIONS, Task

FORMAT = 1
INDEX, STUDY = "cache.json", "study.json"
FILES = (STUDY, "image.npy", "truth.npy", "soft.npy")
"""Files of a study; the first marks its folder as ours."""
_NO_CACHE = Refusal(CacheError, "not a preparation cache", "run: gliodistill prepare")
DAMAGED = Refusal(CacheError, "damaged cache", "remove the study's folder and prepare again")


@dataclass(frozen=True)
class CachedStudy:
    """One prepared study on disk.

    Attributes:
        id, patient: as in the cohort.
        folder: holds ``image.npy`` (uint8 C X Y Z) and, with a reference, ``truth.npy`` (uint8 X Y
            Z, bits of :mod:`~gliodistill.preparation.prepared`); with soft labels ``soft.npy``
            (uint8 R X Y Z).
        present: which channels the study has.
        labelled: whether it has a reference.
        shape: voxels along X, Y, Z.
        known_regions: the regions that the reference defines.
        partial: whether some voxels are not known, and all beyond the study.
        group: its group for sampling, if any.
        notes: what was corrected, e.g. its background.
        regions: of the task, in order.
    """

    id: str
    patient: str
    folder: Path
    present: tuple[bool, ...]
    labelled: bool
    shape: tuple[int, int, int]
    known_regions: tuple[str, ...] = REGIONS
    partial: bool = False
    group: str | None = None
    notes: tuple[str, ...] = ()
    regions: tuple[str, ...] = REGIONS

    def image(self) -> NDArray[np.uint8]:
        """Levels, uint8 C X Y Z, memory-mapped.

        Raises:
            CacheError: the file is missing or damaged.
        """
        return self._array("image.npy", (len(self.present), *self.shape))

    def truth(self) -> NDArray[np.uint8]:
        """Bit mask of the regions and of what is not known, uint8 X Y Z, memory-mapped.

        Raises:
            CacheError: the file is missing or damaged.
        """
        return self._array("truth.npy", self.shape)

    def soft(self) -> NDArray[np.uint8]:
        """Probabilities · 255 of the regions, uint8 R X Y Z, memory-mapped.

        Raises:
            CacheError: there are none, or the file is damaged.
        """
        return self._array("soft.npy", (len(self.regions), *self.shape))

    def signature(self, sequences: Iterable[MRSequence]) -> Signature:
        """Its signature for the detection of duplicates (:mod:`gliodistill.studies.duplicates`).

        Args:
            sequences: of its channels, in order.

        Raises:
            CacheError: its file is damaged.
        """
        channels = zip(sequences, self.image(), strict=True)
        return signature((name, dequantise(levels), levels > 0) for name, levels in channels)

    def _array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        return mapped(self.folder / name, shape)


@dataclass(frozen=True)
class Cache:
    """Prepared studies of one cohort under one preparation.

    Attributes:
        folder: of the cache.
        preparation: the settings they share.
        convention: name of the cohort's label convention, if any study had a reference.
        studies: in order of id.
        labels_by: the command that made their label maps, if not an expert
            (:class:`~gliodistill.studies.cohort.Cohort`).
        parts: region of the task → its tissues.
    """

    folder: Path
    preparation: Preparation
    convention: LabelConvention | None
    studies: tuple[CachedStudy, ...]
    labels_by: str | None = None
    parts: Mapping[str, list[str]] = field(default_factory=lambda: glioma().parts)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        wanted: Preparation | None = None,
        task: Task | None = None,
    ) -> "Cache":
        """Open a folder written by :func:`build_cache`.

        Args:
            folder: of the cache.
            wanted: the preparation that it must have; None = any.
            task: whose regions it must have; None = any.

        Raises:
            CacheError: no cache there, of another format or other settings than those ``wanted``,
                or a study is missing or damaged.
        """
        root = Path(folder)
        index = Fields(read_json(root / INDEX, _NO_CACHE), _NO_CACHE.of(root / INDEX))
        if (format := index.whole("format")) != FORMAT:
            raise CacheError(
                "cache of another format",
                file=root,
                got=format,
                expected=FORMAT,
                hint="prepare again",
            )
        try:
            preparation = Preparation.from_dict(dict(index.part("preparation").values))
        except PackageError as error:
            raise index.refusal(error.field, error.got, error.expected) from error
        convention = None
        if index.get("convention", (str, NoneType), "a name or null") is not None:
            convention = _convention(index)
        channels = len(preparation.sequences)
        ids = [check_id(id, root / INDEX, "prepare again") for id in index.texts("studies")]
        parts = _parts(index)
        studies = tuple(_read_study(root / id, channels, tuple(parts)) for id in ids)
        labels_by = index.text("labels_by") if index.values.get("labels_by") is not None else None
        cache = cls(root, preparation, convention, studies, labels_by, parts)
        if wanted is not None and wanted != cache.preparation:
            raise CacheError(
                "cache was prepared with other settings",
                file=root,
                field="preparation",
                got=cache.preparation.to_dict(),
                expected=wanted.to_dict(),
                hint="prepare again, or give the cohort itself",
            )
        if task is not None and task.parts != cache.parts:
            raise CacheError(
                "cache was prepared for other regions",
                file=root,
                field="regions",
                got=cache.parts,
                expected=f"{task.parts} (task {task.name})",
                hint=f"prepare again with --task {task.name}, or give the cohort itself",
            )
        return cache

    def __iter__(self) -> Iterator[CachedStudy]:
        return iter(self.studies)

    def __len__(self) -> int:
        return len(self.studies)

    @property
    def notes(self) -> list[str]:
        """Notes on the studies, a line each."""
        return [f"{study.id}: {text}" for study in self for text in study.notes]

    def labelled(self) -> "Cache":
        """The studies with a reference."""
        return self.select({study.id for study in self if study.labelled})

    def select(self, ids: set[str]) -> "Cache":
        """The studies with these ids, in order of id.

        Raises:
            CacheError: an id is not in the cache.
        """
        unknown = sorted(ids - {study.id for study in self.studies})
        if unknown:
            raise CacheError(
                "studies not in the cache",
                file=self.folder,
                got=", ".join(unknown[:5]),
                hint="prepare them first",
            )
        return replace(self, studies=tuple(s for s in self.studies if s.id in ids))


def is_cache(folder: str | os.PathLike[str]) -> bool:
    """Whether ``folder`` holds a preparation cache."""
    return (Path(folder) / INDEX).is_file()


def mapped(
    file: Path, shape: tuple[int, ...], kind: type[np.generic] = np.uint8
) -> np.memmap[Any, Any]:
    """An array of a prepared study, of this shape and type, memory-mapped.

    Raises:
        CacheError: the file is missing or damaged.
    """
    hint, wanted = "remove the study's folder and prepare again", np.dtype(kind).str
    try:
        stored, found, order, offset = _npy_header(file)
        if (stored, found) == (wanted, shape):
            return np.memmap(file, kind, "r", offset, shape, order)
    except Exception as error:  # a header is Python, whose parser has errors of many kinds
        raise CacheError("damaged cache", file=file, got=error, hint=hint) from error
    raise CacheError(
        "damaged cache",
        file=file,
        got=f"{stored} {found}",
        expected=f"{wanted} {shape}",
        hint=hint,
    )


def _npy_header(file: Path) -> tuple[Any, Any, Literal["C", "F"], int]:
    """Type, shape and order of an array as ``np.save`` wrote it, and where it begins.

    ``np.load`` would open archives and pickles too, and warn of headers that Python 2 wrote.
    """
    with file.open("rb") as handle:
        start = handle.read(10)
        if start[:8] != b"\x93NUMPY\x01\0":
            raise ValueError(f"a file that starts with {start[:8]!r}")
        length = int.from_bytes(start[8:], "little")
        header = ast.literal_eval(handle.read(length).decode("latin-1"))
    if set(header) != {"descr", "fortran_order", "shape"}:
        raise ValueError(f"a header of {', '.join(map(str, header))}")
    if not isinstance(header["fortran_order"], bool):
        raise ValueError(f"fortran_order {header['fortran_order']!r}")
    order: Literal["C", "F"] = "F" if header["fortran_order"] else "C"
    return header["descr"], header["shape"], order, len(start) + length


def _convention(index: Fields) -> LabelConvention:
    """The convention that the index names; a user's own comes with its codes."""
    if "codes" not in index:
        return CONVENTIONS[index.text("convention", CONVENTIONS)]
    codes = index.part("codes")
    if not all(code.isdecimal() and 0 < int(code) < 256 for code in codes):
        raise index.refusal("codes", list(codes), "codes from 1 to 255")
    given = {int(code): codes.text(code) for code in codes}
    return bring(index.text("convention"), "a user's own", given)


def _parts(index: Fields) -> dict[str, list[str]]:
    """Regions and their tissues; those of gliomas where the index names none."""
    if "regions" not in index:
        return glioma().parts
    regions = index.part("regions")
    if not 0 < len(regions.values) <= MOST_REGIONS:
        raise index.refusal("regions", len(regions.values), f"1 to {MOST_REGIONS}")
    return {name: regions.texts(name) for name in regions}


def _read_study(folder: Path, channels: int, regions: tuple[str, ...]) -> CachedStudy:
    file = folder / STUDY
    if not file.is_file():
        raise CacheError(
            "study missing from the cache",
            file=folder,
            hint="run gliodistill prepare again: it fills what is missing",
        )
    meta = Fields(read_json(file, DAMAGED), DAMAGED.of(file))
    present, shape = meta.listed("present", bool, "true or false"), meta.listed("shape", int, "3")
    if len(present) != channels:
        raise meta.refusal("present", len(present), f"{channels} channels")
    if len(shape) != 3 or not all(0 < side < 2**15 for side in shape):
        raise meta.refusal("shape", shape, "voxels along X, Y, Z")
    x, y, z = shape
    patient, labelled = check_patient(meta.text("patient"), file), meta.flag("labelled")
    known = tuple(meta.texts("known_regions")) if "known_regions" in meta else regions
    if not set(known) <= set(regions):
        raise meta.refusal("known_regions", known, ", ".join(regions))
    study = CachedStudy(
        folder.name,
        patient,
        folder,
        tuple(present),
        labelled,
        (x, y, z),
        known,
        meta.flag("partial") if "partial" in meta else False,
        meta.text("group") if meta.values.get("group") is not None else None,
        tuple(meta.texts("notes")) if "notes" in meta else (),
        regions,
    )
    study.image()  # its header: damage is reported before training
    if labelled:
        study.truth()
    return study
