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
from gliodistill.studies.labels import LabelConvention, find_convention
from gliodistill.studies.layouts import Found
from gliodistill.studies.records import ImageFile, StudyRecord
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.description import task_of
from gliodistill.tasks.task import Task

REFERENCE = "reference"


@dataclass(frozen=True)
class Correction:
    """A corrected label map of a result.

    Attributes:
        parent: the job that made the result.
        before, labels: codes before and after.
        convention: of both.
        task: whose regions they are.
        settings: of the worker.
    """

    parent: Job
    before: Volume
    labels: Volume
    convention: LabelConvention
    task: Task
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
        before, convention, task = _result(parent, folder)
        labels = read_labels(_only_file(upload))
        if not labels.same_grid(before):
            raise ImageError(
                "corrected label map on another grid",
                got=labels.difference(before),
                expected="the grid of the result's label map",
            )
        convention.check(labels.data)
        return cls(parent, before, before.with_data(labels.data), convention, task, settings)

    def write(self, folder: Path, upload: Path | None) -> dict[str, Any]:
        """Write the label map, a summary and, of DICOM, SEG and SR.

        Args:
            folder: of the correcting job.
            upload: of the study; None if it was removed.
        """
        told = self.parent.result or {}
        name = f"{told['study']}_corrected"
        write_nifti(self.labels, folder / f"{name}.nii.gz")
        regions = self.task.regions_of(self.labels.data, self.convention)
        summary: dict[str, Any] = {
            "id": told["study"],
            "corrected_by_hand": True,
            "voxels_changed": int(np.count_nonzero(self.labels.data != self.before.data)),
            "volumes_ml": {
                region: round(float(np.count_nonzero(mask)) * self.labels.voxel_ml, 4)
                for region, mask in zip(self.task.names, regions, strict=True)
            },
            "from": told["summary"]["model"],
            "labels": told["summary"]["labels"],
            **({} if self.task == glioma() else {"task": self.task.name}),
            "notice": "Research use, not a medical device.",
        }
        files = {f"{name}.nii.gz": f"{name}.nii.gz", f"{name}.json": f"{name}.json"}
        for file in self._write_dicom(folder, upload, told):
            files[file.name] = file.name
        write_text(folder / f"{name}.json", json.dumps(summary, indent=1) + "\n")
        return {
            "study": told["study"],
            **({"task": told["task"]} if "task" in told else {}),
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
                task=None if self.task == glioma() else self.task,
            )
        return list(files.values())


def score(
    result: tuple[Job, Path], other: tuple[Job, Path] | Path, labels: str | None = None
) -> dict[str, Any]:
    """Dice of each region; of results of two tasks, of the regions that both have.

    Args:
        result: a job and its folder.
        other: another one of the same grid, or the folder of an upload with one reference.
        labels: convention of the reference, if it cannot be determined.

    Raises:
        ImageError: another grid.
        LabelError: the convention of the reference cannot be determined, or no region is in both.
    """
    mine, convention, task = _result(*result)
    their_task = task
    if isinstance(other, Path):
        file = _only_file(other)
        theirs = read_labels(file)
        their_convention = _convention_of(file, task, labels)
    else:
        theirs, their_convention, their_task = _result(*other)
    if not mine.same_grid(theirs):
        raise ImageError(
            "label maps on different grids",
            got=theirs.difference(mine),
            expected="the grid of the result's label map",
        )
    shared = task.shared(their_task)
    if not shared:
        raise LabelError(
            "results of tasks without a common region", got=their_task, expected=str(task)
        )
    one = task.regions_of(mine.data, convention)
    two = their_task.regions_of(theirs.data, their_convention)
    values = {task.names[own]: dice(one[own], two[their]) for own, their in shared}
    return {
        "dice": {r: None if value is None else round(value, 4) for r, value in values.items()},
        "convention": their_convention.name,
    }


def _convention_of(file: Path, task: Task, labels: str | None) -> LabelConvention:
    """That of a reference: declared, the only one that the task has, or detected."""
    own = {each.name: each for each in task.conventions}
    if labels in own or (labels is None and len(own) == 1):
        return own[labels or task.conventions[0].name]
    record = StudyRecord(REFERENCE, REFERENCE, {}, ImageFile(file))
    found = resolve_convention([record], Found(REFERENCE, (record,)), labels)
    if found is None:
        raise LabelError("no labels in the reference", field="labels", expected="some")
    return found


def _result(job: Job, folder: Path) -> tuple[Volume, LabelConvention, Task]:
    if job.result is None or "labels" not in job.result:
        raise StudyError("no result to compare", got=f"a job that is {job.state}")
    task = task_of(job.result["task"]) if "task" in job.result else glioma()
    name = job.result["summary"]["labels"]["convention"]
    own = {each.name: each for each in task.conventions}
    convention = own.get(name) or find_convention(name)
    return read_labels(folder / job.result["labels"]), convention, task


def _only_file(upload: Path) -> Path:
    files = sorted(file for file in (upload / NIFTI).rglob("*") if file.is_file())
    if len(files) != 1:
        raise StudyError(
            "a label map", got=f"{len(files)} NIfTI files", expected="one file, .nii or .nii.gz"
        )
    return files[0]
