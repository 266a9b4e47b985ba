"""Align many studies, a few at once; a failure of one does not stop the others."""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gliodistill.alignment.aligned import AlignedStudy
from gliodistill.alignment.sources import Source, native_to
from gliodistill.alignment.study import Extract, align_study, check_settings
from gliodistill.alignment.writing import RECORD, write_study
from gliodistill.documents import Refusal, read_json
from gliodistill.errors import GliodistillError, LabelError, OutputError
from gliodistill.files import check_writable, make_folder, remove_leftovers
from gliodistill.images.volume import Volume
from gliodistill.locks import lock_name
from gliodistill.pool import Executor, Threads, tracked
from gliodistill.studies.ids import check_names

_NO_RECORD = Refusal(
    OutputError, "folder is no aligned study", "remove it or choose another folder"
)


@dataclass
class AlignReport:
    """The outcome of each study.

    Attributes:
        done: id → its record, for those aligned now.
        skipped: ids already finished with the same settings.
        failed: id → error.
    """

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, GliodistillError] = field(default_factory=dict)


@dataclass(frozen=True)
class AlignJob:
    """The settings for every study.

    Attributes:
        folder: of the aligned studies.
        reference, space, spacing: as for :func:`~gliodistill.alignment.study.align_study`.
        labels: whether label maps are carried along.
        extract: brain extraction; None = that of the package.
        threads: scans of a study worked on at once.
    """

    folder: Path
    reference: str | None = None
    space: str = "reference"
    spacing: float = 1.0
    labels: bool = False
    extract: Extract | None = None
    threads: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """What a finished study must have been made with to be kept."""
        return {
            "reference": self.reference,
            "space": self.space,
            "spacing": self.spacing,
            "labels": self.labels,
        }

    def finished(self, id: str) -> bool:
        """Whether a study is there, made with these settings."""
        record = self.folder / id / RECORD
        if not record.is_file():
            return False
        made: Mapping[str, Any] = read_json(record, _NO_RECORD)
        if made.get("settings") != self.settings:
            raise OutputError(
                "aligned with other settings",
                file=self.folder / id,
                got=made.get("settings"),
                expected=self.settings,
                hint="choose another folder",
            )
        return True

    def align(self, source: Source) -> dict[str, Any] | None:
        """Read, align and write one study; its record. None if it is finished already."""
        with lock_name(self.folder / source.id, wait=True):
            if self.finished(source.id):
                return None
            began = time.perf_counter()
            scans, facts = source.read()
            read = time.perf_counter() - began
            aligned = align_study(
                {str(sequence): scan for sequence, scan in scans.items()},
                reference=self.reference,
                space=self.space,
                spacing=self.spacing,
                extract=self.extract,
                threads=self.threads,
            )
            labels, told = self._labels(source, aligned)
            facts |= {"id": source.id, "settings": self.settings, "seconds_read": round(read, 3)}
            write_study(aligned, self.folder / source.id, labels, facts | told)
            return facts | told | aligned.as_dict()

    def _labels(
        self, source: Source, aligned: AlignedStudy
    ) -> tuple[Volume | None, dict[str, Any]]:
        labels = source.labels() if self.labels else None
        if labels is None:
            return None, {}
        sequence = native_to(labels, dict(aligned.scans), source.id)
        if sequence not in aligned.matrices:
            raise LabelError(
                "label map of a scan that was left out",
                file=source.id,
                field=str(sequence),
                got="; ".join(aligned.flags),
            )
        return aligned.label_map_from(labels, sequence), {"labels_from": str(sequence)}


def align_studies(
    sources: Iterable[Source],
    out: str | os.PathLike[str],
    *,
    reference: str | None = None,
    space: str = "reference",
    spacing: float = 1.0,
    labels: bool = False,
    extract: Extract | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
) -> AlignReport:
    """Write an aligned study ``OUT/<id>/`` for every source.

    A study is written whole or not at all, and kept if it is there: a run that was stopped goes on
    where it ended. Several processes may write into one folder.

    Args:
        sources: the studies.
        out: folder; made if need be.
        reference: as for :func:`~gliodistill.alignment.study.align_study`.
        space: likewise.
        spacing: likewise, mm.
        extract: likewise.
        labels: carry label maps along, each from the grid of its scan.
        jobs: studies aligned at once; None = one per core.
        executor: where they are aligned, a thread for each, instead of ``jobs`` threads here.

    Returns:
        The outcome of each study.

    Raises:
        StudyError: a setting out of range, two studies with one id, or whose folders would have
            one name.
        OutputError: ``out`` cannot be written.
    """
    check_settings(reference, space, spacing)
    todo, report, root = list(sources), AlignReport(), Path(out)
    check_names({source.id: [source.id] for source in todo}, [], root)
    make_folder(root)
    check_writable(root)
    remove_leftovers(root)
    cores = os.cpu_count() or 1
    workers = min(jobs or cores, max(1, len(todo)))
    threads = max(1, round(cores / workers)) if executor is None else 1
    job = AlignJob(root, reference, space, spacing, labels, extract, threads)
    left = []
    for source in todo:  # before other machines, which need not see the folder
        try:
            finished = job.finished(source.id)
        except GliodistillError as error:
            report.failed[source.id] = error
        else:
            if finished:
                report.skipped.append(source.id)
            else:
                left.append(source)
    done = (executor or Threads(workers)).outcomes(job.align, left)
    with tracked(done, "aligning studies", len(left)) as outcomes:
        for outcome in outcomes:
            id = outcome.item.id
            if (problem := outcome.problem(id)) is not None:
                report.failed[id] = problem
            elif outcome.value is None:
                report.skipped.append(id)
            else:
                report.done[id] = outcome.value
    order = [source.id for source in todo]
    report.done = {id: report.done[id] for id in order if id in report.done}
    report.skipped.sort(key=order.index)
    return report
