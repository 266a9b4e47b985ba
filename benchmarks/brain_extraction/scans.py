"""The raw heads at hand: scans with skull, by case and sequence."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gliodistill.images import Volume, read_nifti


@dataclass(frozen=True)
class Scan:
    """One scan with skull.

    Attributes:
        case: patient, as the folder names it; stays on this machine.
        sequence: as the file names it.
        role: ``judge`` (its BraTS version is at hand; never trained on) or ``train``.
        file: NIfTI, or the folder of a DICOM series.
        brats2020_id: of the patient, where known.
    """

    case: str
    sequence: str
    role: str
    file: Path
    brats2020_id: str = ""

    @property
    def name(self) -> str:
        """Unique among the scans."""
        return f"{self.case}_{self.sequence}"

    def read(self) -> Volume:
        """The image."""
        if self.file.is_file():
            return read_nifti(self.file)
        from gliodistill.dicom.scan import Scan as Export

        with Export(self.file) as export:
            (series,) = [series for series in export.series if series.grid is not None]
            return series.volume()


def raw_heads(data: Path) -> Iterator[Scan]:
    """Every scan with skull below ``data``, judging patients first."""
    with (data / "lgg" / "lgg.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["form"] == "head"]
    for row in sorted(rows, key=lambda row: row["role"] != "raw_twin"):
        role = "judge" if row["role"] == "raw_twin" else "train"
        for sequence in row["sequences"].split("+"):
            path = data / "lgg" / row["id"] / f"{row['id']}_{sequence}.nii.gz"
            yield Scan(row["id"], sequence, role, path, row["brats2020_id"])
    for path in sorted((data / "native").rglob("*.nii.gz")):
        yield Scan(path.parent.name, path.name.split("_")[-1].split(".")[0], "train", path)
    for folder in ("FLAIR", "T1", "T2"):
        yield Scan("BRAINIX", folder, "train", data / "dicom" / "BRAINIX" / folder)
