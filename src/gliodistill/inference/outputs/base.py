"""The folder of a study as scanned, and what adds files to it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gliodistill.files import atomic_folder, is_ours, write_text
from gliodistill.images.nifti import write_nifti
from gliodistill.images.volume import Volume
from gliodistill.inference.cases.scanned import Scanned
from gliodistill.inference.segmentation import Segmentation
from gliodistill.studies.sequence import MRSequence

ACCOUNT, PAGE = "study.json", "report.html"
"""Every decision and its reason, which marks a folder as ours; and a page for people."""

DICOM_KINDS = ("seg", "report", "rtstruct")
"""Files of a result as DICOM, for one series."""


@dataclass(frozen=True, eq=False)
class Result:
    """A segmented study as scanned.

    Attributes:
        answer: the segmentation, on the grid of each series.
        scan: how the study was made ready.
        common: labels on the common grid, that of ``scan.aligned.images``.
    """

    answer: Segmentation
    scan: Scanned
    common: Volume


class Writer(Protocol):
    """Adds files to the folder of a study as scanned."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the user chose (JSON); a result of other settings is made again."""

    def check(self, scan: Scanned) -> None:
        """Raise GliodistillError, before the network runs, if it cannot write this study."""

    def write(self, result: Result, folder: Path) -> None:
        """Write into a folder that exists."""


def labels_name(sequence: MRSequence) -> str:
    """File name of the labels on the grid of a series."""
    return f"labels_on_{sequence}.nii.gz"


def dicom_name(sequence: str, kind: str) -> str:
    """File name of a result as DICOM."""
    return f"{sequence}_{kind}.dcm"


NAMES = (
    ACCOUNT,
    PAGE,
    *map(labels_name, MRSequence),
    *(dicom_name(sequence, kind) for sequence in MRSequence for kind in DICOM_KINDS),
)
"""Every name that may occur in the folder of a study, the account's first."""


def folder_of(out: Path, id: str) -> Path:
    """The folder of a study as scanned."""
    return out / id


def is_finished(folder: Path) -> bool:
    """Whether a folder holds the results of a study as scanned, and nothing else."""
    return is_ours(folder, ACCOUNT, NAMES)


def write_folder(folder: Path, result: Result, writers: Sequence[Writer]) -> None:
    """Write labels on the grid of each series, what the writers add, and the account; whole or not
    at all. A folder of an earlier result is replaced.

    Raises:
        OutputError: the folder holds other files, or cannot be written.
    """
    answer = result.answer
    with atomic_folder(folder, replaces=NAMES) as temporary:
        for sequence, labels in answer.on_series.items():
            write_nifti(labels, temporary / labels_name(sequence))
        for writer in writers:
            writer.write(result, temporary)
        account = answer.summary() | {"choice": dict(answer.preprocessing.choice)}
        account["files"] = sorted(file.name for file in temporary.iterdir())
        write_text(temporary / ACCOUNT, json.dumps(account, indent=1) + "\n")
