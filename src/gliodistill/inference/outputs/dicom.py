"""DICOM files of a result: SEG, SR and, where asked for, RTSTRUCT."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliodistill.dicom.provenance import Provenance
from gliodistill.dicom.results import PREFERRED, preferred, write_results
from gliodistill.errors import GliodistillError, StudyError
from gliodistill.inference.cases.scanned import Scanned
from gliodistill.inference.outputs.base import Result
from gliodistill.studies.naming import parse_sequence
from gliodistill.studies.sequence import MRSequence

ALL = "all"


@dataclass(frozen=True)
class DicomWriter:
    """Writes results that a viewer opens beside the images; nothing for a study of NIfTI.

    Attributes:
        seg_on: the sequence whose series a result belongs to, :data:`ALL`, or None: T1CE, else
            FLAIR, T2, T1.
        rtstruct: whether contours are written too.
        deidentify: whether the patient's name, id and dates are left out.

    Raises:
        StudyError: an unknown sequence.
    """

    seg_on: str | None = None
    rtstruct: bool = False
    deidentify: bool = False

    def __post_init__(self) -> None:
        if self.seg_on is not None and self.seg_on != ALL:
            try:
                object.__setattr__(self, "seg_on", str(parse_sequence(self.seg_on)))
            except GliodistillError:
                raise StudyError(
                    "no such sequence",
                    field="--seg-on",
                    got=self.seg_on,
                    expected=", ".join((*PREFERRED, ALL)),
                ) from None

    @property
    def settings(self) -> Mapping[str, Any]:
        """All of them."""
        return {
            "dicom": {
                "seg_on": self.seg_on,
                "rtstruct": self.rtstruct,
                "deidentify": self.deidentify,
            }
        }

    def check(self, scan: Scanned) -> None:
        """Refuse a sequence without a series."""
        if scan.series and self.seg_on not in (None, ALL, *map(str, scan.series)):
            raise StudyError(
                "no series for the segmentation object",
                field="--seg-on",
                got=f"{self.seg_on}, which is absent",
                expected=", ".join((*map(str, scan.series), ALL)),
            )

    def write(self, result: Result, folder: Path) -> None:
        """``<sequence>_seg.dcm``, ``<sequence>_report.dcm``, ``<sequence>_rtstruct.dcm``."""
        from gliodistill import __version__

        answer, series = result.answer, {str(s): one for s, one in result.scan.series.items()}
        if not series:
            return
        provenance = Provenance(
            answer.model,
            __version__,
            answer.fingerprint,
            tuple(map(str, answer.sources.used)),
            tuple(map(str, answer.absent)),
            (
                f"Preprocessing: {answer.preprocessing.done}.",
                *(f"To be checked: {flag.text}." for flag in answer.quality.flags),
            ),
        )
        chosen = list(series) if self.seg_on == ALL else [self.seg_on or preferred(series)]
        for name in chosen:
            write_results(
                series[name],
                answer.on_series[MRSequence(name)],
                answer.convention,
                folder,
                provenance,
                name=name,
                rtstruct=self.rtstruct,
                deidentify=self.deidentify,
                task=answer.task,
            )
