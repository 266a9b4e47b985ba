"""Segment many studies, a few at once; a failure of one does not stop the others."""

import json
import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from gliodistill.errors import GliodistillError, OutputError
from gliodistill.files import (
    check_free,
    check_writable,
    make_folder,
    remove_folder,
    remove_leftovers,
    write_text,
)
from gliodistill.inference.cases.base import PREPARED_STUDY, Case
from gliodistill.inference.cases.nifti import AS_PREPARED, AUTO, NiftiCase
from gliodistill.inference.outputs.base import (
    ACCOUNT,
    NAMES,
    Result,
    Writer,
    folder_of,
    is_finished,
    write_folder,
)
from gliodistill.inference.predictor import Predictor
from gliodistill.inference.reading import check_ids
from gliodistill.inference.results import check_outputs, read_summary, result_files, write_volumes
from gliodistill.inference.tta import names
from gliodistill.locks import Busy, lock_name
from gliodistill.pool import Executor, Outcome, Threads, tracked
from gliodistill.progress import stage
from gliodistill.studies.image_checks import usable
from gliodistill.studies.labels import LabelConvention, find_convention
from gliodistill.studies.records import StudyRecord

JOBS = 2
"""Studies processed at once: one in the network, another being read, prepared or written. More only
cost memory.
"""


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
        writers: what to write for studies as scanned.
    """

    predictor: Predictor
    folder: Path
    convention: LabelConvention
    probability: bool
    writers: Sequence[Writer] = ()
    _network: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without the lock, which each process has its own of."""
        return {name: value for name, value in self.__dict__.items() if name != "_network"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _network=threading.Lock())

    def files(self, id: str) -> tuple[Path, Path, Path]:
        """Paths of a study's labels, summary and probabilities."""
        return result_files(self.folder, id)

    def settings(self, case: Case) -> dict[str, Any]:
        """What the user chose for a case and for its outputs."""
        chosen = dict(case.settings)
        for writer in self.writers:
            chosen |= writer.settings
        return chosen

    def summary(self, case: Case) -> dict[str, Any] | None:
        """The summary of a study already finished with the same settings."""
        image, summary, probabilities = self.files(case.id)
        wanted = {
            "precision": self.predictor.precision,
            "tta": names(self.predictor.tta),
            "postprocessing": [asdict(step) for step in self.predictor.steps],
        }
        try:
            told = read_summary(summary)
            values = dict(told.values)
            same = told.text("id") == case.id and all(values.get(k) == v for k, v in wanted.items())
            same &= told.part("labels").text("convention") == self.convention.name
            # The name of the same package may differ between releases.
            same &= told.part("model").text("sha256") == self.predictor.package.fingerprint
            same &= self._prepared_so(case, values.get("preprocessing"))
        except GliodistillError:
            return None
        return (
            values
            if same and image.is_file() and (probabilities.is_file() or not self.probability)
            else None
        )

    def _prepared_so(self, case: Case, told: object) -> bool:
        """Whether a finished study was made ready as it would be now, and its files are there."""
        if not isinstance(told, dict) or told.get("form") == PREPARED_STUDY:
            # A summary of an earlier version says nothing: then all studies were prepared.
            return case.settings.get("input") in (AUTO, AS_PREPARED)
        folder = folder_of(self.folder, case.id)
        return told.get("settings") == self.settings(case) and is_finished(folder)

    def segment(self, case: Case, resume: bool, wait: bool = False) -> dict[str, Any] | None:
        """Read, prepare, segment and write one study; its summary, which is written last. None if
        another process has just finished it and ``resume`` is set.

        Raises:
            Busy: another process is segmenting it, and ``wait`` is not set.
        """
        with lock_name(self.folder / case.id, wait=wait):
            if resume and self.summary(case) is not None:
                return None
            if not resume:
                self.check_absent([case])
            return self._segment(case)

    def check_absent(self, cases: list[Case]) -> None:
        """Raise OutputError if there are results of any of ``cases``."""
        existing = {
            case.id: path
            for case in cases
            for path in reversed(self.files(case.id))  # of several, the label map
            if path.exists()
        }
        if existing:
            raise OutputError(
                "results exist",
                file=next(iter(existing.values())),
                got=f"{len(existing)} of {len(cases)}",
                hint="resume to keep what is finished, or choose another folder",
            )

    def _segment(self, case: Case) -> dict[str, Any]:
        image, summary, probabilities = self.files(case.id)
        folder = folder_of(self.folder, case.id)
        began = time.perf_counter()
        ready = case.ready(self.predictor.threads)
        study, scan = ready.study, ready.scan
        if scan is not None:
            scan = scan.with_settings(self.settings(case))
            if not is_finished(folder):
                check_free(folder)
            for writer in self.writers:
                writer.check(scan)
        read = time.perf_counter()
        study = usable(study)
        prepared = self.predictor.prepare(study)
        sources, present, stages = study.sources, study.sequences, dict(ready.seconds)
        del study, ready  # only the levels are needed from here on
        done = time.perf_counter()
        with self._network:  # one at a time: a pass uses all threads and most of the memory
            answer = self.predictor.segment_prepared(
                prepared, labels=self.convention, probability=self.probability
            )
        stages = {**(stages or {"read": read - began}), "prepare": done - read, **answer.seconds}
        answer = replace(self.predictor.with_sources(answer, sources, present), seconds=stages)
        restored = time.perf_counter()
        common = answer.labels
        if scan is not None:
            answer = scan.back(answer)
        stage("write")
        # Remove results of another model.
        summary.unlink(missing_ok=True)
        if scan is not None:
            write_folder(folder, Result(answer, scan, common), self.writers)
        elif is_finished(folder):
            remove_folder(folder, ACCOUNT, NAMES)
        answer.save(image)
        if self.probability:
            answer.save_probabilities(probabilities)
        else:
            probabilities.unlink(missing_ok=True)
        values = answer.summary()
        seconds = {
            **answer.seconds,
            "write": time.perf_counter() - restored - answer.seconds.get("return", 0.0),
        }
        values["seconds"] = {stage: round(value, 3) for stage, value in seconds.items()}
        write_text(summary, json.dumps(values, indent=1) + "\n")
        return values


def segment_studies(
    studies: Iterable[StudyRecord | Case],
    predictor: Predictor,
    out: str | os.PathLike[str],
    *,
    labels: LabelConvention | str | None = None,
    probability: bool = False,
    resume: bool = False,
    jobs: int = JOBS,
    writers: Sequence[Writer] = (),
    executor: Executor | None = None,
) -> BatchReport:
    """Write ``<id>.nii.gz`` and ``<id>.json`` (volumes, seconds, model) into ``out`` for every
    study, and ``volumes.csv`` of all that the folder holds; for studies as scanned also a folder
    ``<id>`` with labels on the grid of each series, and what ``writers`` add.

    The JSON file is written last and marks the study as finished. While the network runs on one
    study, the next is read and prepared and the previous one is written. Several processes may
    write into one folder; each study is segmented by one of them.

    Args:
        studies: records of a cohort, or cases of any form
            (:func:`~gliodistill.inference.cases.finding.find_cases`).
        predictor: the model.
        out: folder; made if need be.
        labels: convention of the output; None = that of the model's training references.
        probability: also write ``<id>_prob.nii.gz``: WT, TC, ET in [0, 1] (4-D).
        resume: skip studies already segmented by this model with these settings; otherwise they are
            an error.
        jobs: studies processed at once; memory grows with it.
        writers: what to write into the folders of studies as scanned.
        executor: where they are segmented, instead of ``jobs`` threads here.

    Returns:
        The outcome of each study; callers exit non-zero unless ``ok``.

    Raises:
        StudyError: two studies with the same id, or with colliding file names.
        OutputError: results exist and ``resume`` is not set, or ``out`` cannot be written.
    """
    convention = predictor.package.convention if labels is None else find_convention(labels)
    batch, todo, report = (
        SegmentationJob(predictor, Path(out), convention, probability, tuple(writers)),
        [NiftiCase(one) if isinstance(one, StudyRecord) else one for one in studies],
        BatchReport(),
    )
    check_ids(todo)
    make_folder(batch.folder)
    check_writable(batch.folder)
    check_outputs(batch.folder, todo)
    if resume:
        remove_leftovers(batch.folder)
        report.skipped = [case.id for case in todo if batch.summary(case) is not None]
    else:
        batch.check_absent(todo)
    left = [case for case in todo if case.id not in set(report.skipped)]
    try:
        there = executor or Threads(jobs)
        elsewhere = []  # studies of another process
        work = partial(batch.segment, resume=resume)
        done = there.outcomes(work, left)
        with tracked(done, "segmenting studies", len(left)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome.error, Busy):
                    elsewhere.append(outcome.item)
                else:
                    _note(report, outcome)
        work = partial(batch.segment, resume=resume, wait=True)
        for outcome in there.outcomes(work, elsewhere) if elsewhere else ():
            _note(report, outcome)
    finally:
        write_volumes(batch.folder)
    report.done = {case.id: report.done[case.id] for case in left if case.id in report.done}
    return report


def _note(report: BatchReport, outcome: Outcome[Case, dict[str, Any] | None]) -> None:
    id = outcome.item.id
    if (error := outcome.problem(id)) is not None:
        report.failed[id] = error
    elif outcome.value is None:
        report.skipped.append(id)
    else:
        report.done[id] = outcome.value
