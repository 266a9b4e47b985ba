"""What the worker does for each kind of job."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from gliodistill.documents.json_text import read_json
from gliodistill.documents.reading import Refusal
from gliodistill.errors import GliodistillError, OutputError
from gliodistill.files import contents
from gliodistill.inference.batch import segment_studies
from gliodistill.inference.cases.nifti import NiftiCase
from gliodistill.inference.outputs.base import ACCOUNT, Writer, folder_of
from gliodistill.inference.outputs.dicom import DicomWriter
from gliodistill.inference.predictor import Predictor
from gliodistill.inference.results import read_summary, result_files
from gliodistill.models.package import ModelPackage
from gliodistill.models.shipped import find_model
from gliodistill.progress import stage
from gliodistill.reports.pages.study import PageWriter
from gliodistill.serve.correcting import Correction, score
from gliodistill.serve.jobs import CORRECT, INSPECT, SCORE, SEGMENT, Handler, Job, Jobs
from gliodistill.serve.places import Places
from gliodistill.serve.reading import look_into, open_case
from gliodistill.serve.roles import NETWORK, ROLES
from gliodistill.serve.settings import WorkSettings
from gliodistill.serve.viewing import VIEW, ViewWriter, images_in, keep_prepared
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.description import description_of

OUT = "out"
"""Folder of the results, in that of the job."""


def handlers_of(
    role: str, settings: WorkSettings, places: Places, jobs: Jobs
) -> dict[str, Handler]:
    """Kind → what does it, for a worker of that role.

    Raises:
        GliodistillError: no such model.
    """
    work = Work(settings, places, jobs)
    every: dict[str, Handler] = {
        INSPECT: work.inspect,
        SEGMENT: work.segment,
        CORRECT: work.correct,
        SCORE: work.score,
    }
    if role == NETWORK:
        work.predictor(settings.models[0])  # loaded before the first study comes
    return {kind: every[kind] for kind in ROLES[role]}


class Work:
    """The handlers, which share models."""

    def __init__(self, settings: WorkSettings, places: Places, jobs: Jobs) -> None:
        self._settings, self._places, self._jobs = settings, places, jobs
        self.predictor = lru_cache(maxsize=2)(self._load)

    def _load(self, model: str) -> Predictor:
        package = ModelPackage.open(find_model(model))
        return Predictor(package, threads=self._settings.threads)

    def inspect(self, job: Job) -> dict[str, Any]:
        """Look into an upload."""
        stage("look")
        found = look_into(self._upload_of(job))
        if not found.studies and not found.failed:
            raise GliodistillError(
                "nothing that can be segmented",
                expected="a DICOM folder, a zip of one, or NIfTI files (.nii, .nii.gz)",
            )
        return found.as_dict()

    def segment(self, job: Job) -> dict[str, Any]:
        """Segment a study; the files are those that the command ``segment`` writes."""
        asked, folder = job.asked, self._places.make(self._places.job(job.id))
        stage("load")
        predictor = self.predictor(asked["model"])
        with open_case(self._upload_of(job), asked["study"], asked["series"]) as case:
            files = case.record.images if isinstance(case, NiftiCase) else {}
            writers: list[Writer] = [
                DicomWriter(deidentify=self._settings.deidentify),
                PageWriter(),
                ViewWriter(folder / VIEW, files),
            ]
            report = segment_studies(
                [case],
                predictor,
                folder / OUT,
                probability=True,
                resume=True,
                jobs=1,
                writers=writers,
            )
            for error in report.failed.values():
                raise error
            if isinstance(case, NiftiCase) and not (folder / VIEW).is_dir():
                keep_prepared(case, folder / VIEW)
            labels, summary, probabilities = result_files(folder / OUT, case.id)
        task = predictor.package.spec.task
        return {
            "study": case.id,
            **({} if task == glioma() else {"task": description_of(task)}),
            "summary": dict(read_summary(summary).values),
            "series": _chosen(folder_of(folder / OUT, case.id)),
            "files": _files(folder, case.id),
            "labels": f"{OUT}/{labels.name}",
            "probabilities": f"{OUT}/{probabilities.name}",
            "images": images_in(folder),
        }

    def correct(self, job: Job) -> dict[str, Any]:
        """Check and keep a corrected label map, and write what belongs to it."""
        stage("check")
        folder = self._places.make(self._places.job(job.id))
        parent = self._jobs.get(job.asked["of"])
        correction = Correction.of(
            parent, self._places.job(parent.id), self._upload_of(job), self._settings
        )
        upload = None if parent.upload is None else self._places.upload(parent.upload)
        return correction.write(folder, upload)

    def score(self, job: Job) -> dict[str, Any]:
        """Dice of a result against a reference or another result."""
        stage("check")
        of = self._jobs.get(job.asked["of"])
        asked = job.asked
        if asked.get("other") is not None:
            other = self._jobs.get(asked["other"])
            return score((of, self._places.job(of.id)), (other, self._places.job(other.id)))
        return score((of, self._places.job(of.id)), self._upload_of(job), asked.get("labels"))

    def _upload_of(self, job: Job) -> Path:
        if job.upload is None or not self._places.upload(job.upload).is_dir():
            raise GliodistillError("the upload was removed", hint="send it again")
        return self._places.upload(job.upload)


_NO_ACCOUNT = Refusal(OutputError, "not an account of a study")


def _chosen(scans: Path) -> dict[str, str]:
    """Sequence → the DICOM series that was taken; empty of NIfTI."""
    account = scans / ACCOUNT
    told = read_json(account, _NO_ACCOUNT) if account.is_file() else {}
    return dict(told.get("choice", {}).get("chosen", {}))


def _files(folder: Path, id: str) -> dict[str, str]:
    """Name for a person → place below the folder of the job."""
    found = [file for file in result_files(folder / OUT, id) if file.is_file()]
    if (scans := folder_of(folder / OUT, id)).is_dir():
        found += contents(scans)
    return {file.name: str(file.relative_to(folder)) for file in found}
