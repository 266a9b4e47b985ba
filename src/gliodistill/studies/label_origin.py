"""The origin of a label map by names: file names of a BraTS year, ids of a task."""

import re
from dataclasses import dataclass

from gliodistill.studies.labels import (
    BRATS2013,
    BRATS2021,
    BRATS2023,
    BRATS_PED,
    MSD,
    LabelConvention,
)
from gliodistill.studies.layouts.brats import naming_of
from gliodistill.studies.records import StudyRecord

_OLDEST = re.compile(r"vsd\.brain|brats_(?:[hl]g|2013_pat|tcia_pat)\d+", re.IGNORECASE)
"""Ids of 2012 to 2016: BRATS_HG0001, brats_2013_pat0001_1, brats_tcia_pat101_1, VSD.Brain.XX.O.…"""
RADIOTHERAPY = "MEN-RT"
"""Kind of the case ids BraTS-MEN-RT-0001-1: label maps are targets, whose only code is 1."""


@dataclass(frozen=True)
class Origin:
    """The origin of one study by its names.

    Attributes:
        naming: ``"2021"`` or ``"2023"`` if files are named as in BraTS up to or from that year.
        task: of a BraTS id from 2023 on, e.g. ``"GLI"`` of BraTS-GLI-00001-000.
        oldest: whether the id is of BraTS 2012 to 2016.
    """

    naming: str | None = None
    task: str | None = None
    oldest: bool = False

    @classmethod
    def of(cls, record: StudyRecord) -> "Origin":
        """Of one study."""
        parts = record.id.split("-")
        task = parts[1].upper() if parts[0].lower() == "brats" and len(parts) > 2 else None
        if task is not None and parts[2].upper() == "RT":
            task = f"{task}-RT"
        return cls(naming_of([record]), task, bool(_OLDEST.match(record.id)))

    def __str__(self) -> str:
        words = []
        if self.naming:
            year = "up to 2021" if self.naming == "2021" else "from 2023 on"
            words.append(f"file names as in BraTS {year}")
        if self.task:
            words.append(f"case ids of BraTS-{self.task}")
        if self.oldest:
            words.append("case ids of BraTS 2012–2016")
        return ", ".join(words)

    def narrow(
        self, candidates: list[LabelConvention], codes: frozenset[int]
    ) -> list[LabelConvention]:
        """Narrow down ``candidates``, which all have ``codes``, by names."""
        if self.task == "PED":  # 2023: the codes of adults; from 2024 on its own
            return [c for c in candidates if c in (BRATS2023, BRATS_PED)] or candidates
        if self.task is not None:
            candidates = [c for c in candidates if c not in (BRATS_PED, BRATS2013)] or candidates
        if self.oldest:
            return [c for c in candidates if c is BRATS2013] or candidates
        if self.naming == "2021" and BRATS2021 in candidates:
            return [BRATS2021]
        if self.naming == "2023":
            # Old codes may have been renamed to new files: 1, 2, 4 stay ambiguous until a 3 is
            # seen.
            candidates = [
                c
                for c in candidates
                if c not in (MSD, BRATS2013) and (c is not BRATS2021 or 4 in codes)
            ] or candidates
            if BRATS2023 in candidates and (3 in codes or BRATS_PED not in candidates):
                return [BRATS2023]
        if self.naming is None and BRATS2021 in candidates and {1, 4} <= codes <= {1, 2, 4}:
            return [c for c in candidates if c in (BRATS2021, BRATS_PED)]
        return candidates
