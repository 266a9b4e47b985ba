"""Many studies, a few at work at once; a bad one does not stop the rest."""

import csv
import io
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gliodistill.errors import GliodistillError, OutputError, StudyError
from gliodistill.files import remove_leftovers, write_text
from gliodistill.inference.predictor import Predictor
from gliodistill.models.spec import find_convention
from gliodistill.progress import track
from gliodistill.studies.labels import REGIONS, LabelConvention
from gliodistill.studies.study import Study, StudyRecord

JOBS = 2
"""Studies at work at once: while the network has one, another is read, prepared or written. More
only cost memory.
"""

VOLUMES = "volumes.csv"


@dataclass
class BatchReport:
    """What became of each study.

    Attributes:
        done: id → its summary (volumes in ml, seconds), for those segmented now.
        skipped: ids finished before.
        failed: id → why.
    """

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, GliodistillError] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every study has its segmentation."""
        return not self.failed


@dataclass(frozen=True)
class Batch:
    """What is done with every study, and where results go.

    Attributes:
        predictor: the model.
        folder: of the results.
        convention: of the labels written.
        probability: whether probabilities are written as well.
    """

    predictor: Predictor
    folder: Path
    convention: LabelConvention
    probability: bool
    _network: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def files(self, id: str) -> tuple[Path, Path, Path]:
        """Where labels, summary and probabilities of a study go."""
        return (
            self.folder / f"{id}.nii.gz",
            self.folder / f"{id}.json",
            self.folder / f"{id}_prob.nii.gz",
        )

    def summary(self, id: str) -> dict[str, Any] | None:
        """The summary of a study that this batch, or one of the same settings, has finished."""
        image, summary, probabilities = self.files(id)
        wanted = {
            "model": {
                "name": self.predictor.package.name,
                "sha256": self.predictor.package.fingerprint,
            },
            "precision": self.predictor.precision,
            "flips": self.predictor.looks,
            "postprocessing": [asdict(step) for step in self.predictor.steps],
        }
        try:
            values: dict[str, Any] = json.loads(summary.read_text())
            same = all(values[key] == value for key, value in wanted.items())
            same &= values["labels"]["convention"] == self.convention.name and set(
                values["volumes_ml"]
            ) == set(REGIONS)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return (
            values
            if same and image.is_file() and (probabilities.is_file() or not self.probability)
            else None
        )

    def segment(self, record: StudyRecord) -> dict[str, Any]:
        """Read, prepare, segment and write one study; its summary, which is written last."""
        image, summary, probabilities = self.files(record.id)
        began = time.perf_counter()
        study = record.load_brain()
        read = time.perf_counter()
        prepared = self.predictor.prepare(study)
        del study  # of the images only their levels are needed now
        ready = time.perf_counter()
        with self._network:  # one at a time: a pass takes every thread and most of the memory
            answer = self.predictor.segment_prepared(
                prepared, labels=self.convention, probability=self.probability
            )
        restored = time.perf_counter()
        summary.unlink(missing_ok=True)  # of another model: it must not vouch for the new labels
        answer.save(image)
        if self.probability:
            answer.save_probabilities(probabilities)
        else:
            probabilities.unlink(missing_ok=True)  # of another model
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
    study, and ``volumes.csv`` of all.

    The JSON file is written last: where it is, the study is finished. While the network works on
    one study, the next is read and prepared and the last is written.

    Args:
        records: the studies; ids must be unique and fit to be file names.
        predictor: the model.
        out: folder; made if need be.
        labels: convention of the output; None = that of the model's training truth.
        probability: write ``<id>_prob.nii.gz`` as well: WT, TC, ET in [0, 1] (4-D).
        resume: skip studies that this model has finished with these settings; else they are an
        error.
        jobs: studies at work at once; each takes the memory of one.

    Returns:
        What became of each study; callers exit non-zero unless ``ok``.

    Raises:
        StudyError: two studies of one id, or an id that is not a file name.
        OutputError: results exist and ``resume`` is not set, or ``out`` cannot be made.
    """
    convention = predictor.package.convention if labels is None else find_convention(labels)
    batch, todo, report = (
        Batch(predictor, Path(out), convention, probability),
        list(records),
        BatchReport(),
    )
    check_ids(todo)
    try:
        batch.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            "cannot make the folder", file=out, got=error.strerror, hint="choose another"
        ) from error
    finished: dict[str, dict[str, Any]] = {}
    if resume:
        remove_leftovers(batch.folder)
        finished = {
            record.id: values for record in todo if (values := batch.summary(record.id)) is not None
        }
        report.skipped = list(finished)
    elif existing := [
        record.id for record in todo if any(path.exists() for path in batch.files(record.id))
    ]:
        hint = "resume to keep what is finished, or choose another folder"
        raise OutputError(
            "results exist",
            file=batch.files(existing[0])[0],
            got=f"{len(existing)} of {len(todo)}",
            hint=hint,
        )
    left = [record for record in todo if record.id not in finished]
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        working = {pool.submit(batch.segment, record): record.id for record in left}
        try:
            for work in track(as_completed(working), "segmenting studies", total=len(working)):
                try:
                    report.done[working[work]] = work.result()
                except GliodistillError as error:
                    report.failed[working[work]] = error
                except (
                    Exception
                ) as error:  # a night of work must not end at one study nobody foresaw
                    text = f"{type(error).__name__}: {error}"
                    report.failed[working[work]] = GliodistillError(
                        "unforeseen failure", file=working[work], got=text
                    )
        finally:
            pool.shutdown(cancel_futures=True)
    known = finished | report.done
    report.done = {record.id: report.done[record.id] for record in left if record.id in report.done}
    _write_volumes(
        batch.folder / VOLUMES, [known[record.id] for record in todo if record.id in known]
    )
    return report


def _write_volumes(path: Path, summaries: list[dict[str, Any]]) -> None:
    """The cohort as one table; a new folder in which nothing was segmented stays empty."""
    if not summaries and not path.exists():
        return
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["id", *(f"{region}_ml" for region in REGIONS), "model", "sha256"])
    for values in summaries:
        rows.writerow(
            [
                values["id"],
                *(values["volumes_ml"][region] for region in REGIONS),
                values["model"]["name"],
                values["model"]["sha256"],
            ]
        )
    write_text(path, text.getvalue())


def check_ids(records: list[StudyRecord]) -> None:
    """Refuse studies whose outputs would not have a file name of their own.

    Raises:
        StudyError: two studies of one id, or an id that is not a file name.
    """
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise StudyError(
                "two studies of one id",
                field="id",
                got=record.id,
                hint="segment them into different folders",
            )
        if not record.id or record.id.startswith(".") or any(mark in record.id for mark in "/\\\0"):
            raise StudyError(
                "id cannot name a file",
                field="id",
                got=repr(record.id),
                expected="no slash and no leading dot",
            )
        seen.add(record.id)


def read_ahead(
    records: list[StudyRecord],
) -> Iterator[tuple[StudyRecord, "Future[tuple[Study, float]]"]]:
    """Each record with its study being read in a thread, one ahead: decompression leaves the
    interpreter free.
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
    study = replace(record, truth=None).load()  # the answer is not looked at
    return study, time.perf_counter() - began
