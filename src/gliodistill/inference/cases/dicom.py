"""A study of a DICOM export: its sequences are chosen, read, and aligned."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from gliodistill.dicom.classify import Choice
from gliodistill.dicom.inspection import choose, study_facts
from gliodistill.dicom.scan import DicomStudy, Scan
from gliodistill.errors import StudyError
from gliodistill.inference.cases.base import DICOM, Ready
from gliodistill.inference.cases.scanned import align_scans
from gliodistill.models.package import ModelPackage
from gliodistill.models.shipped import find_model
from gliodistill.progress import stage
from gliodistill.studies.image_checks import Note
from gliodistill.studies.records import Sources
from gliodistill.studies.sequence import MRSequence
from gliodistill.trust.appearance_model import AppearanceModel


@cache
def shipped_appearance() -> AppearanceModel | None:
    """What the sequences look like, as the shipped model knows it."""
    return ModelPackage.open(find_model()).spec.reference


@dataclass(frozen=True, eq=False)
class DicomCase:
    """A study of a DICOM export.

    Attributes:
        scan: the export, open while the case is used.
        study: one of its studies.
        overrides: sequence → the series that the user wants for it.
        identity: of the patient, if it was asked for.
    """

    scan: Scan
    study: DicomStudy
    overrides: Mapping[MRSequence, str] = field(default_factory=dict)
    identity: str | None = None

    @property
    def id(self) -> str:
        """A short hash of the study's UID: nothing of the patient."""
        return self.study.key

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Every file of the study."""
        return tuple(file for series in self.study.series for file in series.files)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The series that the user chose, and whether the patient is named."""
        chosen = {str(sequence): said for sequence, said in self.overrides.items()}
        return {"series": chosen, "identity": self.identity is not None}

    def ready(self, threads: int | None = None) -> Ready:
        """Choose the series, read and align them."""
        if (refused := self.scan.refused.get(self.study.key)) is not None:
            raise refused
        began = time.perf_counter()
        stage("choose")
        choice = choose(self.study, shipped_appearance(), self.overrides)
        series = {sequence: self.study.find(key) for sequence, key in choice.chosen.items()}
        if not series:
            raise StudyError(
                "no T1, T1CE, T2 or FLAIR",
                file=self.id,
                got=f"{len(self.study.series)} series, none of which is one of them for sure",
                hint="gliodistill inspect says what each was taken for; --series T1CE=7 decides",
            )
        chosen = time.perf_counter()
        stage("read")
        images = {sequence: one.volume() for sequence, one in series.items()}
        return align_scans(
            self.id,
            self.study.patient,
            images,
            DICOM,
            sources=_sources(choice),
            notes=_doubts(choice),
            choice=study_facts(self.study, choice),
            series=series,
            identity=self.identity,
            seconds={"choose": chosen - began, "read": time.perf_counter() - chosen},
            threads=threads,
        )


def _name(key: str, name: str) -> str:
    return f"series {key} ({name})" if name else f"series {key}"


def _sources(choice: Choice) -> Sources:
    keys = {key: sequence for sequence, key in choice.chosen.items()}
    used: dict[MRSequence, str | None] = {}
    unused = {}
    for opinion in choice.opinions:
        name = _name(opinion.key, opinion.name)
        if opinion.key in keys:
            used[keys[opinion.key]] = name
        else:
            taken = choice.chosen.get(opinion.sequence) if opinion.sequence else None
            better = f"{opinion.sequence} is series {taken}" if taken else "cannot be told"
            unused[name] = opinion.other or better
    return Sources({s: used[s] for s in MRSequence if s in used}, unused)


def _doubts(choice: Choice) -> list[Note]:
    """Doubts about the series that were chosen."""
    return [
        Note("series_doubtful", f"{opinion.sequence} is series {opinion.key}: {doubt}")
        for opinion in choice.opinions
        if opinion.used
        for doubt in opinion.doubts
    ]
