"""Studies as scanned, found but not read yet: NIfTI in any layout, or DICOM."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gliodistill.dicom.inspection import choose, read_overrides
from gliodistill.dicom.scan import DicomStudy, Scan
from gliodistill.dicom.source import looks_like_dicom
from gliodistill.errors import LabelError, StudyError
from gliodistill.images.nifti import read_labels, read_nifti
from gliodistill.images.volume import Volume
from gliodistill.models.package import ModelPackage
from gliodistill.models.shipped import find_model
from gliodistill.studies.cohort import find_cohort
from gliodistill.studies.records import StudyRecord
from gliodistill.studies.sequence import MRSequence
from gliodistill.trust.appearance_model import AppearanceModel

Scans = dict[MRSequence, Volume]


class Source(Protocol):
    """One study."""

    @property
    def id(self) -> str:
        """Names its folder."""

    def read(self) -> tuple[Scans, dict[str, Any]]:
        """The scans, and what they were read from."""

    def labels(self) -> Volume | None:
        """Its label map, on the grid of one of the scans; None if there is none."""


@dataclass(frozen=True)
class NiftiSource:
    """A study of NIfTI files; grids may differ.

    Attributes:
        record: its files.
    """

    record: StudyRecord

    @property
    def id(self) -> str:
        """Of the study."""
        return self.record.id

    def read(self) -> tuple[Scans, dict[str, Any]]:
        """Every image on its own grid."""
        self.record.check()
        scans = {s: read_nifti(f.path, f.channel) for s, f in self.record.images.items()}
        files = {str(s): file.shown for s, file in self.record.images.items()}
        return scans, {"source": "NIfTI", "files": files}

    def labels(self) -> Volume | None:
        """The reference segmentation, if the layout found one."""
        truth = self.record.truth
        return None if truth is None else read_labels(truth.path, truth.channel)


@dataclass(frozen=True, eq=False)
class DicomSource:
    """A study of a DICOM export.

    Attributes:
        study: its series.
        reference: what the sequences look like.
        overrides: sequence → the series to take.
    """

    study: DicomStudy
    reference: AppearanceModel | None
    overrides: Mapping[MRSequence, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """A short hash of the study's UID: nothing of the patient."""
        return self.study.key

    def read(self) -> tuple[Scans, dict[str, Any]]:
        """The chosen series."""
        choice = choose(self.study, self.reference, self.overrides)
        if not choice.chosen:
            raise StudyError(
                "no T1, T1CE, T2 or FLAIR",
                file=self.id,
                got=f"{len(self.study.series)} series",
                hint="gliodistill inspect says what each was taken for; --series decides",
            )
        scans = {s: self.study.find(key).volume() for s, key in choice.chosen.items()}
        doubts = [
            f"{one.sequence} is series {one.key}: {doubt}"
            for one in choice.opinions
            if one.used
            for doubt in one.doubts
        ]
        told = choice.as_dict()
        facts = {"series": told["chosen"], "rules": told["rules"], "doubts": doubts}
        return scans, {"source": "DICOM", **facts}

    def labels(self) -> None:
        """None: label maps come as NIfTI."""
        return None


@contextmanager
def find_sources(
    paths: list[Path], layout: str | None = None, series: list[str] | None = None
) -> Iterator[tuple[list[Source], dict[str, str], list[str]]]:
    """Every study below ``paths``.

    Args:
        paths: studies or folders of studies as NIfTI; folders, zips or files of DICOM.
        layout: of NIfTI, if it cannot be determined.
        series: ``SEQUENCE=SERIES``, for an export of one study.

    Yields:
        The studies, unusable ones (id → why), and notes. Unpacked archives live until the end.

    Raises:
        StudyError: no study, or ``series`` where it does not apply.
        ImageError: an export that cannot be read.
    """
    overrides = read_overrides(series or [])
    sources: list[Source] = []
    unusable: dict[str, str] = {}
    notes: list[str] = []
    with ExitStack() as stack:
        for path in paths:
            if looks_like_dicom(path):
                scan = stack.enter_context(Scan(path))
                reference = ModelPackage.open(find_model()).spec.reference
                sources += [DicomSource(study, reference, overrides) for study in scan.studies]
                notes += scan.notes
                continue
            cohort, found = find_cohort(path, layout)
            sources += [NiftiSource(record) for record in cohort.studies]
            known = {record.id for record in found.studies}
            for problem in found.problems:
                if problem.blocking and problem.study and problem.study not in known:
                    unusable[problem.study] = str(problem)
                elif problem.file and not problem.blocking:
                    notes.append(str(problem))
        if overrides and (len(sources) != 1 or not isinstance(sources[0], DicomSource)):
            raise StudyError(
                "a series is chosen for one DICOM study",
                field="--series",
                got=f"{len(sources)} studies",
                expected="an export of one study",
            )
        yield sources, unusable, notes


def native_to(labels: Volume, scans: Scans, id: str) -> MRSequence:
    """The sequence whose grid a label map has.

    Raises:
        LabelError: none, or several different ones.
    """
    fitting = [sequence for sequence, scan in scans.items() if labels.same_grid(scan)]
    if not fitting:
        grids = "; ".join(f"{s}: {labels.difference(scan)}" for s, scan in scans.items())
        raise LabelError(
            "label map on the grid of no scan", file=id, got=grids, expected="the grid of one scan"
        )
    return fitting[0]
