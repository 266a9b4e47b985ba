"""Reading many studies, one ahead of the work."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from gliodistill.errors import StudyError
from gliodistill.inference.cases.base import Case
from gliodistill.studies.records import StudyRecord
from gliodistill.studies.study import Study, load_study


def check_ids(studies: Iterable[StudyRecord | Case]) -> None:
    """Refuse two studies with the same id.

    Raises:
        StudyError: there are two.
    """
    seen: set[str] = set()
    for study in studies:
        if study.id in seen:
            raise StudyError(
                "two studies with the same id",
                field="id",
                got=study.id,
                hint="segment them into different folders",
            )
        seen.add(study.id)


def read_ahead(
    records: list[StudyRecord],
) -> Iterator[tuple[StudyRecord, "Future[tuple[Study, float]]"]]:
    """Yield each record with the future of its study, which a thread reads one ahead; decompression
    releases the GIL.
    """
    with ThreadPoolExecutor(1) as pool:
        reading = [pool.submit(read, records[0])] if records else []
        for index, record in enumerate(records):
            current = reading.pop()
            if index + 1 < len(records):
                current.exception()  # wait: at most one study beside the current one is in memory
                reading.append(pool.submit(read, records[index + 1]))
            yield record, current


def read(record: StudyRecord) -> tuple[Study, float]:
    """A study without its reference, and the seconds of reading."""
    began = time.perf_counter()
    study = load_study(replace(record, truth=None))  # the reference is not used
    return study, time.perf_counter() - began
