"""Label maps that a person corrected, and Dice against a reference or another result."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gliodistill.errors import ImageError, LabelError, StudyError
from gliodistill.evaluation.metrics import dice
from gliodistill.files import write_text
from gliodistill.images.nifti import read_labels, write_nifti
from gliodistill.images.volume import Volume
from gliodistill.serve.jobs import Job
from gliodistill.serve.reading import open_dicom
from gliodistill.serve.settings import WorkSettings
from gliodistill.serve.uploads import NIFTI
from gliodistill.studies.cohort import resolve_convention
from gliodistill.studies.labels import REGIONS, LabelConvention, find_convention
from gliodistill.studies.layouts import Found
from gliodistill.studies.records import ImageFile, StudyRecord

REFERENCE = "reference"


@dataclass(frozen=True)
class Correction:
    """A corrected label map of a result.

    Attributes:
        parent: the job that made the result.
        before, labels: codes before and after.
        convention: of both.
        settings: of the worker.
    """

    parent: Job
    before: Volume
    labels: Volume
    convention: LabelConvention
    settings: WorkSettings

    @classmethod
    def of(cls, parent: Job, folder: Path, upload: Path, settings: WorkSettings) -> "Correction":
        """Read and check a corrected label map.

        Args:
            parent: the job that made the result.
            folder: of that job.
            upload: holds the corrected label map, and nothing else.
            settings: of the worker.

        Raises:
            ImageError: it lies on another grid.
            LabelError: it has codes that the convention does not know.
            StudyError: there is not exactly one file.
        """
        before, convention = _result(parent, folder)
        labels = read_labels(_only_file(upload))
        if not labels.same_grid(before):
            raise ImageError(
                "corrected label map on another grid",
                got=labels.difference(before),
                expected="the grid of the result's label map",
            )
        convention.check(labels.data)
        return cls(parent, before, before.with_data(labels.data), convention, settings)

    def write(self, folder: Path, upload: Path | None) -> dict[str, Any]:
        """Write the label map, a summary and, of DICOM, SEG and SR.

        Args:
            folder: of the correcting job.
            upload: of the study; None if it was removed.
        """
        told = self.parent.result or {}
        name = f"{told['study']}_corrected"
        write_nifti(self.labels, folder / f"{name}.nii.gz")
        regions = self.convention.to_regions(self.labels.data)
        summary: dict[str, Any] = {
            "id": told["study"],
            "corrected_by_hand": True,
            "voxels_changed": int(np.count_nonzero(self.labels.data != self.before.data)),
            "volumes_ml": {
                region: round(float(np.count_nonzero(mask)) * self.labels.voxel_ml, 4)
                for region, mask in zip(REGIONS, regions, strict=True)
            },
            "from": told["summary"]["model"],
            "labels": told["summary"]["labels"],
            "notice": "Research use, not a medical device.",
        }
        files = {f"{name}.nii.gz": f"{name}.nii.gz", f"{name}.json": f"{name}.json"}
        for file in self._write_dicom(folder, upload, told):
            files[file.name] = file.name
        write_text(folder / f"{name}.json", json.dumps(summary, indent=1) + "\n")
        return {
            "study": told["study"],
            "summary": summary,
            "files": files,
            "labels": f"{name}.nii.gz",
        }

    def _write_dicom(
        self, folder: Path, upload: Path | None, told: Mapping[str, Any]
    ) -> list[Path]:
        """SEG and SR for the series whose grid the label map has; none of NIfTI."""
        from gliodistill import __version__
        from gliodistill.dicom.provenance import Provenance
        from gliodistill.dicom.results import write_results

        summary = told["summary"]
        done = summary["preprocessing"]
        name = done.get("reference")
        if upload is None or name not in told["series"]:
            return []
        used = summary["sequences"]["used"]
        with open_dicom(upload, self.parent.asked["study"]) as opened:
            if opened is None:
                return []
            series = opened[1].find(told["series"][name])
            provenance = Provenance(
                summary["model"]["name"],
                __version__,
                summary["model"]["sha256"],
                tuple(used),
                tuple(summary["sequences"]["absent"]),
                (f"Preprocessing: {done['done']}.",),
                corrected=True,
            )
            files = write_results(
                series,
                self.labels,
                self.convention,
                folder,
                provenance,
                name=name,
                deidentify=self.settings.deidentify,
            )
        return list(files.values())


def score(
    result: tuple[Job, Path], other: tuple[Job, Path] | Path, labels: str | None = None
) -> dict[str, Any]:
    """Dice of WT, TC and ET.

    Args:
        result: a job and its folder.
        other: another one of the same grid, or the folder of an upload with one reference.
        labels: convention of the reference, if it cannot be determined.

    Raises:
        ImageError: another grid.
        LabelError: the convention of the reference cannot be determined.
    """
    mine, convention = _result(*result)
    if isinstance(other, Path):
        file = _only_file(other)
        theirs = read_labels(file)
        record = StudyRecord(REFERENCE, REFERENCE, {}, ImageFile(file))
        found = resolve_convention([record], Found(REFERENCE, (record,)), labels)
        if found is None:
            raise LabelError("no labels in the reference", field="labels", expected="some")
        their_convention = found
    else:
        theirs, their_convention = _result(*other)
    if not mine.same_grid(theirs):
        raise ImageError(
            "label maps on different grids",
            got=theirs.difference(mine),
            expected="the grid of the result's label map",
        )
    pairs = zip(
        REGIONS,
        convention.to_regions(mine.data),
        their_convention.to_regions(theirs.data),
        strict=True,
    )
    values = {region: dice(one, two) for region, one, two in pairs}
    return {
        "dice": {r: None if value is None else round(value, 4) for r, value in values.items()},
        "convention": their_convention.name,
    }


def _result(job: Job, folder: Path) -> tuple[Volume, LabelConvention]:
    if job.result is None or "labels" not in job.result:
        raise StudyError("no result to compare", got=f"a job that is {job.state}")
    convention = find_convention(job.result["summary"]["labels"]["convention"])
    return read_labels(folder / job.result["labels"]), convention


def _only_file(upload: Path) -> Path:
    files = sorted(file for file in (upload / NIFTI).rglob("*") if file.is_file())
    if len(files) != 1:
        raise StudyError(
            "a label map", got=f"{len(files)} NIfTI files", expected="one file, .nii or .nii.gz"
        )
    return files[0]
