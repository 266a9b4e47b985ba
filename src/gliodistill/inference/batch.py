"""Many studies, one after the other; a bad one does not stop the rest."""

import json
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from gliodistill.errors import GliodistillError, OutputError, StudyError
from gliodistill.files import write_text
from gliodistill.inference.predictor import Predictor
from gliodistill.inference.segmentation import Segmentation
from gliodistill.models.spec import find_convention
from gliodistill.progress import track
from gliodistill.studies.labels import LabelConvention
from gliodistill.studies.study import Study, StudyRecord


@dataclass
class BatchReport:
    """What became of each study.

    Attributes:
        done: id → its summary (volumes in ml, seconds), for those segmented now.
        skipped: ids finished before.
        failed: id → why.
    """

    done: dict[str, dict[str, object]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, GliodistillError] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every study has its segmentation."""
        return not self.failed


def segment_studies(
    records: Iterable[StudyRecord],
    predictor: Predictor,
    out: str | os.PathLike[str],
    *,
    labels: LabelConvention | str | None = None,
    resume: bool = False,
) -> BatchReport:
    """Write ``<id>.nii.gz`` and ``<id>.json`` (volumes, seconds, model) into ``out`` for every study.

    The JSON file is written last: where it is, the study is finished. The next study is read while one is segmented.

    Args:
        records: the studies; ids must be unique and fit to be file names.
        predictor: the model.
        out: folder; made if need be.
        labels: convention of the output; None = that of the model's training truth.
        resume: skip studies that this model has finished with this convention; else they are an error.

    Returns:
        What became of each study; callers exit non-zero unless ``ok``.

    Raises:
        StudyError: two studies of one id, or an id that is not a file name.
        OutputError: results exist and ``resume`` is not set, or ``out`` cannot be made.
    """
    convention = predictor.package.convention if labels is None else find_convention(labels)
    folder, todo, report = Path(out), list(records), BatchReport()
    check_ids(todo)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError("cannot make the folder", file=folder, got=error.strerror, hint="choose another") from error
    if resume:
        report.skipped = [r.id for r in todo if _finished(folder, r.id, predictor.package.fingerprint, convention)]
        todo = [r for r in todo if r.id not in set(report.skipped)]
    elif existing := [r.id for r in todo if any(path.exists() for path in _targets(folder, r.id))]:
        hint = "resume to keep what is finished, or choose another folder"
        raise OutputError("results exist", file=_targets(folder, existing[0])[0], got=f"{len(existing)} of {len(todo)}", hint=hint)
    for record, reading in track(read_ahead(todo), "segmenting studies", total=len(todo)):
        try:
            study, seconds = reading.result()
            report.done[record.id] = _segment_one(study, seconds, predictor, convention, folder)
        except GliodistillError as error:
            report.failed[record.id] = error
        except Exception as error:  # a night of work must not end at one study nobody foresaw
            report.failed[record.id] = GliodistillError("unforeseen failure", file=record.id, got=f"{type(error).__name__}: {error}")
    return report


def _segment_one(study: Study, reading: float, predictor: Predictor, convention: LabelConvention, folder: Path) -> dict[str, object]:
    segmentation: Segmentation = predictor.segment(study, labels=convention)
    image, summary = _targets(folder, study.id)
    summary.unlink(missing_ok=True)  # of another model: it must not vouch for the new labels
    began = time.perf_counter()
    segmentation.save(image)
    values = segmentation.summary()
    values["seconds"] = {"read": round(reading, 3), **values["seconds"], "write": round(time.perf_counter() - began, 3)}
    write_text(summary, json.dumps(values, indent=1) + "\n")
    return values


def _targets(folder: Path, id: str) -> tuple[Path, Path]:
    return folder / f"{id}.nii.gz", folder / f"{id}.json"


def _finished(folder: Path, id: str, fingerprint: str, convention: LabelConvention) -> bool:
    image, summary = _targets(folder, id)
    try:
        values = json.loads(summary.read_text())
        return image.is_file() and values["model"]["sha256"] == fingerprint and values["labels"]["convention"] == convention.name
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_ids(records: list[StudyRecord]) -> None:
    """Refuse studies whose outputs would not have a file name of their own.

    Raises:
        StudyError: two studies of one id, or an id that is not a file name.
    """
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise StudyError("two studies of one id", field="id", got=record.id, hint="segment them into different folders")
        if not record.id or record.id.startswith(".") or any(mark in record.id for mark in "/\\\0"):
            raise StudyError("id cannot name a file", field="id", got=repr(record.id), expected="no slash and no leading dot")
        seen.add(record.id)


def read_ahead(records: list[StudyRecord]) -> Iterator[tuple[StudyRecord, "Future[tuple[Study, float]]"]]:
    """Each record with its study being read in a thread, one ahead: decompression leaves the interpreter free."""
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
