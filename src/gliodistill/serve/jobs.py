"""Jobs on disk: asked for once, done once, found again after a crash, never half-done."""

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliodistill.documents.json_text import parse_json
from gliodistill.documents.reading import Refusal
from gliodistill.errors import GliodistillError, OutputError
from gliodistill.serve.database import Database

QUEUED, RUNNING, DONE, FAILED, CANCELLED = STATES = (
    "queued",
    "running",
    "done",
    "failed",
    "cancelled",
)
ENDED = (DONE, FAILED, CANCELLED)

INSPECT, SEGMENT, CORRECT, SCORE = KINDS = "inspect", "segment", "correct", "score"
"""Look at an upload, segment a study, write a corrected label map, compare two label maps."""

MOST_ATTEMPTS = 2
"""A job whose worker ends so often without a word (no memory left) has failed."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, key TEXT UNIQUE, upload TEXT, asked TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, began REAL,
    ended REAL, stages TEXT NOT NULL DEFAULT '[]', result TEXT, error TEXT,
    revision INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_by_revision ON jobs (revision);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, created);
CREATE TABLE IF NOT EXISTS clock (revision INTEGER NOT NULL);
INSERT INTO clock SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM clock);
"""
_NEXT = "(SELECT revision FROM clock)"


class QueueFull(GliodistillError):
    """More jobs than may wait."""


class OtherRequest(GliodistillError):
    """A key of a request that asked for something else."""


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        id: names its folder.
        kind: one of :data:`KINDS`, or of another face.
        upload: what it works on, if it is one.
        asked: what was asked for (JSON).
        state: one of :data:`STATES`.
        attempts: workers that began it.
        created: seconds since 1970, as all times.
        began: None while queued.
        ended: None until then.
        stages: what was begun, and when: ``[["read", 1.5e9], …]``.
        result: what its worker told (JSON).
        error: why it failed: ``message`` and its parts.
        revision: grows with every change of any job.
    """

    id: str
    kind: str
    upload: str | None
    asked: Mapping[str, Any]
    state: str
    attempts: int
    created: float
    began: float | None
    ended: float | None
    stages: Sequence[tuple[str, float]]
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    revision: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "upload": self.upload,
            "asked": dict(self.asked),
            "created": self.created,
            "began": self.began,
            "ended": self.ended,
            "stages": [list(stage) for stage in self.stages],
            "result": self.result,
            "error": self.error,
            "revision": self.revision,
        }


Handler = Callable[[Job], Mapping[str, Any]]
"""Does a job; what it returns is the job's result."""


class Jobs:
    """The jobs of a folder.

    Args:
        folder: of the store.
        most: jobs that may wait.
    """

    def __init__(self, folder: Path, most: int = 200) -> None:
        self._most = most
        self._data = Database(folder / "jobs.sqlite", _SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._data.close()

    def submit(
        self,
        kind: str,
        asked: Mapping[str, Any],
        *,
        key: str | None = None,
        upload: str | None = None,
    ) -> tuple[Job, bool]:
        """Put a job into the queue; whether it is new. The same ``key`` gives the same job.

        Raises:
            QueueFull: too many wait.
            OtherRequest: ``key`` was used for another request.
        """
        text = json.dumps(asked, sort_keys=True)
        with self._data.together():
            known = self._data.row("SELECT * FROM jobs WHERE key = ?", key) if key else None
            if known is not None:
                if (known["kind"], known["asked"]) != (kind, text):
                    raise OtherRequest(
                        "this idempotency key was used for another request",
                        field="Idempotency-Key",
                        expected="a new key for a new request",
                    )
                return _job(known), False
            waiting = self._data.rows("SELECT 1 FROM jobs WHERE state = ?", QUEUED)
            if len(waiting) >= self._most:
                raise QueueFull(
                    "the queue is full",
                    got=f"{len(waiting)} jobs",
                    expected=f"at most {self._most}",
                    hint="try again later",
                )
            id = secrets.token_hex(8)
            self._tick()
            self._data.change(
                "INSERT INTO jobs (id, kind, key, upload, asked, state, created, revision)"
                f" VALUES (?, ?, ?, ?, ?, ?, ?, {_NEXT})",
                *(id, kind, key, upload, text, QUEUED, time.time()),
            )
            return self.get(id), True

    def find(self, id: str) -> Job | None:
        """A job by its id, or None."""
        row = self._data.row("SELECT * FROM jobs WHERE id = ?", id)
        return None if row is None else _job(row)

    def get(self, id: str) -> Job:
        """A job that is there."""
        if (job := self.find(id)) is None:
            raise GliodistillError("no such job", got=id)
        return job

    def since(self, revision: int = -1, most: int = 1000) -> list[Job]:
        """Jobs that changed after a revision, in the order of their last change."""
        rows = self._data.rows(
            "SELECT * FROM jobs WHERE revision > ? ORDER BY revision LIMIT ?", revision, most
        )
        return [_job(row) for row in rows]

    def listed(self, most: int = 500) -> list[Job]:
        """The newest first."""
        rows = self._data.rows("SELECT * FROM jobs ORDER BY created DESC, rowid DESC LIMIT ?", most)
        return [_job(row) for row in rows]

    def running(self) -> list[Job]:
        """Jobs that a worker has begun."""
        rows = self._data.rows("SELECT * FROM jobs WHERE state = ?", RUNNING)
        return [_job(row) for row in rows]

    def of_upload(self, upload: str) -> list[Job]:
        """Jobs that work on an upload, the oldest first."""
        rows = self._data.rows("SELECT * FROM jobs WHERE upload = ? ORDER BY rowid", upload)
        return [_job(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """State → number of jobs."""
        found = {row[0]: row[1] for row in self._data.rows(
            "SELECT state, COUNT(*) FROM jobs GROUP BY state"
        )}  # fmt: skip
        return {state: found.get(state, 0) for state in STATES}

    def claim(self, kinds: Sequence[str]) -> Job | None:
        """Take the oldest job of some kinds out of the queue; None if there is none."""
        marks = ", ".join("?" * len(kinds))
        with self._data.together():
            row = self._data.row(
                f"SELECT id FROM jobs WHERE state = ? AND kind IN ({marks})"
                " ORDER BY created, rowid LIMIT 1",
                *(QUEUED, *kinds),
            )
            if row is None:
                return None
            self._tick()
            self._data.change(
                "UPDATE jobs SET state = ?, began = ?, attempts = attempts + 1, stages = '[]',"
                f" revision = {_NEXT} WHERE id = ?",
                *(RUNNING, time.time(), row["id"]),
            )
            return self.get(row["id"])

    def begin(self, id: str, stage: str) -> None:
        """Note that a stage of a running job begins."""
        with self._data.together():
            job = self.get(id)
            self._tick()
            self._data.change(
                f"UPDATE jobs SET stages = ?, revision = {_NEXT} WHERE id = ? AND state = ?",
                *(json.dumps([*job.stages, (stage, time.time())]), id, RUNNING),
            )

    def finish(self, id: str, result: Mapping[str, Any]) -> bool:
        """A running job is done; False if it was cancelled meanwhile."""
        return self._end(id, DONE, (RUNNING,), result=json.dumps(result))

    def fail(self, id: str, error: Mapping[str, Any]) -> bool:
        """A running job has failed; False if it was cancelled meanwhile."""
        return self._end(id, FAILED, (RUNNING,), error=json.dumps(error))

    def cancel(self, id: str) -> bool:
        """Cancel a job that has not ended; whether it was one."""
        return self._end(id, CANCELLED, (QUEUED, RUNNING))

    def recover(self, kinds: Sequence[str], blame: bool = True) -> list[Job]:
        """Put the running jobs of some kinds back, since their worker has ended; one that was begun
        too often has failed.

        Args:
            kinds: of the worker.
            blame: whether the job may have been the reason.
        """
        marks = ", ".join("?" * len(kinds))
        found = []
        for row in self._data.rows(
            f"SELECT * FROM jobs WHERE state = ? AND kind IN ({marks})", RUNNING, *kinds
        ):
            if blame and row["attempts"] >= MOST_ATTEMPTS:
                error = GliodistillError(
                    "the worker process ended without a word",
                    got=f"{row['attempts']} times",
                    hint="perhaps the memory was full: close other programs, and try again",
                )
                self.fail(row["id"], {"message": str(error), **error.as_dict()})
            else:
                with self._data.together():
                    self._tick()
                    self._data.change(
                        "UPDATE jobs SET state = ?, began = NULL, stages = '[]',"
                        f" attempts = attempts - ?, revision = {_NEXT} WHERE id = ? AND state = ?",
                        *(QUEUED, int(not blame), row["id"], RUNNING),
                    )
            found.append(self.get(row["id"]))
        return found

    def remove(self, id: str) -> None:
        """Forget a job."""
        self._data.change("DELETE FROM jobs WHERE id = ?", id)

    def _tick(self) -> None:
        self._data.change("UPDATE clock SET revision = revision + 1")

    def _end(self, id: str, state: str, before: Sequence[str], **told: str) -> bool:
        marks = ", ".join("?" * len(before))
        sets = "".join(f", {name} = ?" for name in told)
        with self._data.together():
            self._tick()
            changed = self._data.change(
                f"UPDATE jobs SET state = ?, ended = ?{sets}, revision = {_NEXT}"
                f" WHERE id = ? AND state IN ({marks})",
                *(state, time.time(), *told.values(), id, *before),
            )
        return changed > 0


_NO_JOB = Refusal(OutputError, "damaged list of jobs", field="jobs")


def _job(row: sqlite3.Row) -> Job:
    def parsed(text: str | None) -> Any:
        return None if text is None else parse_json(text, _NO_JOB, (dict, list))

    return Job(
        row["id"],
        row["kind"],
        row["upload"],
        parsed(row["asked"]),
        row["state"],
        row["attempts"],
        row["created"],
        row["began"],
        row["ended"],
        [(name, began) for name, began in parsed(row["stages"])],
        parsed(row["result"]),
        parsed(row["error"]),
        row["revision"],
    )
