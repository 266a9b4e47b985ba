"""Segment many studies, a few at once; a failure of one does not stop the others."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from gliodistill.documents import Fields, Refusal, read_json
from gliodistill.errors import GliodistillError, OutputError, StudyError
from gliodistill.files import check_writable, make_folder, remove_leftovers, write_text
from gliodistill.inference.predictor import Predictor
from gliodistill.inference.tta import names
from gliodistill.locks import Busy, lock_name
from gliodistill.progress import track
from gliodistill.studies.ids import check_id, check_names
from gliodistill.studies.image_checks import usable
from gliodistill.studies.labels import REGIONS, LabelConvention, find_convention
from gliodistill.studies.records import StudyRecord
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study, load_brain, load_study
from gliodistill.tables import csv_text

JOBS = 2
"""Studies processed at once: one in the network, another being read, prepared or written. More only
cost memory.
"""

VOLUMES = "volumes.csv"
_FIRST = ["id", *(f"{region}_ml" for region in REGIONS), "model", "sha256"]
_HEADER = [*_FIRST, *map(str, MRSequence), "unused"]
_SUMMARY = Refusal(OutputError, "not a summary of segment")


@dataclass
class BatchReport:
    """The outcome of each study.

    Attributes:
        done: id → its summary (volumes in ml, seconds), for those segmented now.
        skipped: ids already finished.
        failed: id → error.
    """

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, GliodistillError] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every study has its segmentation."""
        return not self.failed


@dataclass(frozen=True)
class SegmentationJob:
    """The settings for every study, and the output folder.

    Attributes:
        predictor: the model.
        folder: of the results.
        convention: of the output labels.
        probability: whether to write probabilities too.
    """

    predictor: Predictor
    folder: Path
    convention: LabelConvention
    probability: bool
    _network: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def files(self, id: str) -> tuple[Path, Path, Path]:
        """Paths of a study's labels, summary and probabilities."""
        return (
            self.folder / f"{id}.nii.gz",
            self.folder / f"{id}.json",
            self.folder / f"{id}_prob.nii.gz",
        )

    def summary(self, id: str) -> dict[str, Any] | None:
        """The summary of a study already finished with the same settings."""
        image, summary, probabilities = self.files(id)
        wanted = {
            "model": {
                "name": self.predictor.package.name,
                "sha256": self.predictor.package.fingerprint,
            },
            "precision": self.predictor.precision,
            "tta": names(self.predictor.tta),
            "postprocessing": [asdict(step) for step in self.predictor.steps],
        }
        try:
            told = _read_summary(summary)
            values = dict(told.values)
            same = told.text("id") == id and all(values.get(k) == v for k, v in wanted.items())
            same &= told.part("labels").text("convention") == self.convention.name
        except GliodistillError:
            return None
        return (
            values
            if same and image.is_file() and (probabilities.is_file() or not self.probability)
            else None
        )

    def segment(
        self, record: StudyRecord, resume: bool, wait: bool = False
    ) -> dict[str, Any] | None:
        """Read, prepare, segment and write one study; its summary, which is written last. None if
        another process has just finished it and ``resume`` is set.

        Raises:
            Busy: another process is segmenting it, and ``wait`` is not set.
        """
        with lock_name(self.folder / record.id, wait=wait):
            if resume and self.summary(record.id) is not None:
                return None
            if not resume:
                self.check_absent([record])
            return self._segment(record)

    def check_absent(self, records: list[StudyRecord]) -> None:
        """Raise OutputError if there are results of any of ``records``."""
        existing = [r.id for r in records if any(path.exists() for path in self.files(r.id))]
        if existing:
            raise OutputError(
                "results exist",
                file=next(path for path in self.files(existing[0]) if path.exists()),
                got=f"{len(existing)} of {len(records)}",
                hint="resume to keep what is finished, or choose another folder",
            )

    def _segment(self, record: StudyRecord) -> dict[str, Any]:
        image, summary, probabilities = self.files(record.id)
        began = time.perf_counter()
        study = load_brain(record)
        read = time.perf_counter()
        study = usable(study)
        prepared = self.predictor.prepare(study)
        sources, present = study.sources, study.sequences
        del study  # only the levels are needed from here on
        ready = time.perf_counter()
        with self._network:  # one at a time: a pass uses all threads and most of the memory
            answer = self.predictor.segment_prepared(
                prepared, labels=self.convention, probability=self.probability
            )
        answer = self.predictor.with_sources(answer, sources, present)
        restored = time.perf_counter()
        # Remove results of another model.
        summary.unlink(missing_ok=True)
        answer.save(image)
        if self.probability:
            answer.save_probabilities(probabilities)
        else:
            probabilities.unlink(missing_ok=True)
        values = answer.summary()
        seconds = {
            "read": read - began,
            "prepare": ready - read,
            **answer.seconds,
            "write": time.perf_counter() - restored,
        }
        values["seconds"] = {stage: round(value, 3) for stage, value in seconds.items()}
        write_text(summary, json.dumps(values, indent=1) + "\n")
        return values


def segment_studies(
    records: Iterable[StudyRecord],
    predictor: Predictor,
    out: str | os.PathLike[str],
    *,
    labels: LabelConvention | str | None = None,
    probability: bool = False,
    resume: bool = False,
    jobs: int = JOBS,
) -> BatchReport:
    """Write ``<id>.nii.gz`` and ``<id>.json`` (volumes, seconds, model) into ``out`` for every
    study, and ``volumes.csv`` of all that the folder holds.

    The JSON file is written last and marks the study as finished. While the network runs on one
    study, the next is read and prepared and the previous one is written. Several processes may
    write into one folder; each study is segmented by one of them.

    Args:
        records: the studies.
        predictor: the model.
        out: folder; made if need be.
        labels: convention of the output; None = that of the model's training references.
        probability: also write ``<id>_prob.nii.gz``: WT, TC, ET in [0, 1] (4-D).
        resume: skip studies already segmented by this model with these settings; otherwise they are
            an error.
        jobs: studies processed at once; memory grows with it.

    Returns:
        The outcome of each study; callers exit non-zero unless ``ok``.

    Raises:
        StudyError: two studies of one id, or whose files would have one name.
        OutputError: results exist and ``resume`` is not set, or ``out`` cannot be written.
    """
    convention = predictor.package.convention if labels is None else find_convention(labels)
    batch, todo, report = (
        SegmentationJob(predictor, Path(out), convention, probability),
        list(records),
        BatchReport(),
    )
    check_ids(todo)
    make_folder(batch.folder)
    check_writable(batch.folder)
    _check_outputs(batch, todo)
    if resume:
        remove_leftovers(batch.folder)
        report.skipped = [record.id for record in todo if batch.summary(record.id) is not None]
    else:
        batch.check_absent(todo)
    left = [record for record in todo if record.id not in set(report.skipped)]
    try:
        elsewhere = _segment_all(batch, left, resume, jobs, report)
        for record in elsewhere:  # studies of another process, once it has ended
            _note(report, record.id, partial(batch.segment, record, resume, wait=True))
    finally:
        write_volumes(batch.folder)
    report.done = {record.id: report.done[record.id] for record in left if record.id in report.done}
    return report


def _segment_all(
    batch: SegmentationJob, left: list[StudyRecord], resume: bool, jobs: int, report: BatchReport
) -> list[StudyRecord]:
    """Segment, a few at a time; returns the studies that another process is segmenting."""
    elsewhere = []
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        working = {pool.submit(batch.segment, record, resume): record for record in left}
        try:
            for work in track(as_completed(working), "segmenting studies", total=len(working)):
                try:
                    _note(report, working[work].id, work.result)
                except Busy:
                    elsewhere.append(working[work])
        finally:
            pool.shutdown(cancel_futures=True)
    return elsewhere


def _note(report: BatchReport, id: str, work: Callable[[], dict[str, Any] | None]) -> None:
    """Run ``work`` and record its outcome."""
    try:
        values = work()
    except Busy:
        raise
    except GliodistillError as error:
        report.failed[id] = error
    except Exception as error:  # an unexpected error of one study must not stop the others
        text = f"{type(error).__name__}: {error}"
        report.failed[id] = GliodistillError("unforeseen failure", file=id, got=text)
    else:
        if values is None:
            report.skipped.append(id)
        else:
            report.done[id] = values


def _check_outputs(batch: SegmentationJob, records: list[StudyRecord]) -> None:
    """Refuse studies whose output files would collide with each other, with earlier results,
    ``volumes.csv`` or inputs.
    """
    ids = dict.fromkeys((*(record.id for record in records), *finished_in(batch.folder)))
    outputs = {id: [path.name for path in batch.files(id)] for id in ids}
    check_names(outputs, [VOLUMES], batch.folder)
    inputs = {
        file.path.resolve()
        for record in records
        for file in (*record.images.values(), record.truth)
        if file is not None
    }
    for record in records:
        for path in batch.files(record.id):
            if path.resolve() in inputs:
                raise OutputError(
                    "output would overwrite an input image or label map",
                    file=path,
                    hint="choose another folder",
                )
        _check_summary(batch.files(record.id)[1])
    table = batch.folder / VOLUMES
    try:
        first = table.read_bytes().partition(b"\n")[0] if table.exists() else None
    except OSError:
        first = b""
    if first not in (None, *(",".join(header).encode() for header in (_HEADER, _FIRST))):
        raise OutputError(
            "another file has the table's name",
            file=table,
            expected=f"none, or a table of {', '.join(_HEADER)}",
            hint="choose another folder, or rename it",
        )


def _check_summary(file: Path) -> None:
    """Refuse to replace JSON that is no summary, such as a manifest; a damaged summary may be
    replaced.
    """
    try:
        values = read_json(file, _SUMMARY) if file.is_file() else None
    except GliodistillError:
        return
    if values is not None and not (isinstance(values, dict) and "volumes_ml" in values):
        raise OutputError(
            "another file has the summary's name",
            file=file,
            expected="none, or a summary of the study",
            hint="choose another folder, or rename it",
        )


def finished_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Id → summary of every study that ``segment`` has finished in ``folder``, in order of id."""
    found = {}
    for file in sorted(folder.glob("*.json")):
        try:
            told = _read_summary(file)
            id = check_id(told.text("id"))
        except GliodistillError:
            continue  # another file, or of an unfinished study
        if file.name == f"{id}.json" and (folder / f"{id}.nii.gz").is_file():
            found[id] = dict(told.values)
    return dict(sorted(found.items()))


def _read_summary(file: Path) -> Fields:
    """The summary of a finished study, checked.

    Raises:
        OutputError: it is none.
    """
    told = Fields(read_json(file, _SUMMARY), _SUMMARY.of(file))
    told.text("id"), told.part("model").text("name"), told.part("model").text("sha256")
    for region in REGIONS:
        told.part("volumes_ml").number(region)
    return told


def write_volumes(folder: Path) -> None:
    """Write ``volumes.csv`` of all studies finished in ``folder``, by any call. Nothing is written
    if there is none.
    """
    # One process at a time: the last one sees all finished studies.
    with lock_name(folder / VOLUMES, wait=True):
        finished = finished_in(folder)
        if finished or (folder / VOLUMES).exists():
            rows = [
                [
                    id,
                    *(values["volumes_ml"][region] for region in REGIONS),
                    values["model"]["name"],
                    values["model"]["sha256"],
                    *_files_used(values),
                ]
                for id, values in finished.items()
            ]
            write_text(folder / VOLUMES, csv_text([_HEADER, *rows]))


def _files_used(summary: dict[str, Any]) -> list[str]:
    """The file of each sequence (empty if absent), and unused files."""
    try:
        told = summary["sequences"]
        used = {str(name): str(file or "in memory") for name, file in told["used"].items()}
        return [*(used.get(str(s), "") for s in MRSequence), "; ".join(map(str, told["unused"]))]
    except (KeyError, TypeError, AttributeError):  # of an earlier version
        return [""] * (len(MRSequence) + 1)


def check_ids(records: list[StudyRecord]) -> None:
    """Refuse two studies with the same id.

    Raises:
        StudyError: there are two.
    """
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise StudyError(
                "two studies with the same id",
                field="id",
                got=record.id,
                hint="segment them into different folders",
            )
        seen.add(record.id)


def read_ahead(
    records: list[StudyRecord],
) -> Iterator[tuple[StudyRecord, "Future[tuple[Study, float]]"]]:
    """Yield each record with the future of its study, which a thread reads one ahead; decompression
    releases the GIL.
    """
    with ThreadPoolExecutor(1) as pool:
        reading = [pool.submit(_read, records[0])] if records else []
        for index, record in enumerate(records):
            current = reading.pop()
            if index + 1 < len(records):
                current.exception()  # wait: at most one study beside the current one is in memory
                reading.append(pool.submit(_read, records[index + 1]))
            yield record, current


def _read(record: StudyRecord) -> tuple[Study, float]:
    began = time.perf_counter()
    study = load_study(replace(record, truth=None))  # the reference is not used
    return study, time.perf_counter() - began
