"""The ledger of a node: which images have come, what became of each study, what is to be sent."""

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gliodistill.serve.database import Database

RECEIVING, SEGMENTING, SENDING, DONE, PASSED, FAILED = STATES = (
    "receiving",
    "segmenting",
    "sending",
    "done",
    "passed over",
    "failed",
)
BACK_OFF_S = (5.0, 15.0, 60.0, 300.0, 600.0)
"""Seconds before the next try, after the first, second, … failure; the last again and again."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    uid TEXT PRIMARY KEY, key TEXT NOT NULL, state TEXT NOT NULL, fresh INTEGER NOT NULL,
    due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, job TEXT, content TEXT, reason TEXT,
    ended REAL
);
CREATE TABLE IF NOT EXISTS images (
    uid TEXT PRIMARY KEY, study TEXT NOT NULL, file TEXT NOT NULL, digest TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS images_by_study ON images (study);
CREATE TABLE IF NOT EXISTS outbox (
    file TEXT NOT NULL, peer TEXT NOT NULL, study TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0, sent REAL, reason TEXT,
    PRIMARY KEY (file, peer)
);
"""


class Conflict(Exception):
    """Another image with the same UID."""


@dataclass(frozen=True)
class Study:
    """A study of the ledger.

    Attributes:
        uid: StudyInstanceUID.
        key: a short hash of it, for logs and names.
        state: one of :data:`STATES`.
        attempts: to segment it that failed for want of room.
        job: that segments it.
        content: hash of the images that were last taken to be segmented.
        reason: why it was passed over or has failed.
    """

    uid: str
    key: str
    state: str
    attempts: int
    job: str | None
    content: str | None
    reason: str | None


@dataclass(frozen=True)
class Parcel:
    """A file to be sent to a peer."""

    file: Path
    peer: str
    study: str
    attempts: int


class Ledger:
    """The ledger in a folder; every change is on the disk before it is told.

    Args:
        folder: of the node.
    """

    def __init__(self, folder: Path) -> None:
        self._data = Database(folder / "pacs.sqlite", _SCHEMA, durable=True)

    def close(self) -> None:
        """Close it."""
        self._data.close()

    def count(self, study: str) -> int:
        """Images of a study."""
        return int(self._data.rows("SELECT COUNT(*) FROM images WHERE study = ?", study)[0][0])

    def knows(self, image: str, digest: str) -> bool:
        """Whether an image has come before.

        Raises:
            Conflict: another one with its UID has.
        """
        row = self._data.row("SELECT digest FROM images WHERE uid = ?", image)
        if row is not None and row["digest"] != digest:
            raise Conflict
        return row is not None

    def add(
        self, study: str, key: str, image: str, file: Path, digest: str, quiet_s: float
    ) -> None:
        """Note an image whose file is on the disk; its study is complete so many seconds later, if
        no other comes.
        """
        due = time.time() + quiet_s
        with self._data.together():
            self._data.change(
                "INSERT INTO images VALUES (?, ?, ?, ?)", image, study, str(file), digest
            )
            self._data.change(
                "INSERT INTO studies (uid, key, state, fresh, due) VALUES (?, ?, ?, 1, ?)"
                " ON CONFLICT (uid) DO UPDATE SET fresh = 1, due = excluded.due",
                *(study, key, RECEIVING, due),
            )

    def complete(self) -> list[Study]:
        """Studies that have new images, and had quiet since."""
        return self._studies("fresh = 1 AND due <= ? AND state NOT IN (?, ?)", time.time(),
                             SEGMENTING, SENDING)  # fmt: skip

    def in_state(self, state: str) -> list[Study]:
        """Studies in a state."""
        return self._studies("state = ?", state)

    def study(self, uid: str) -> Study:
        """The study of that UID, which is there."""
        return self._studies("uid = ?", uid)[0]

    def files(self, study: str) -> list[Path]:
        """Files of a study's images."""
        rows = self._data.rows("SELECT file FROM images WHERE study = ? ORDER BY uid", study)
        return [Path(row["file"]) for row in rows]

    def content(self, study: str) -> str:
        """A hash of which images a study has."""
        rows = self._data.rows("SELECT uid, digest FROM images WHERE study = ? ORDER BY uid", study)
        text = "\n".join(f"{row['uid']} {row['digest']}" for row in rows)
        return hashlib.sha256(text.encode()).hexdigest()

    def take(self, study: Study, content: str, job: str) -> None:
        """A study is being segmented."""
        self._data.change(
            "UPDATE studies SET state = ?, fresh = 0, content = ?, job = ? WHERE uid = ?",
            *(SEGMENTING, content, job, study.uid),
        )

    def end(self, study: Study, state: str, reason: str | None = None) -> None:
        """A study is done, was passed over, or has failed; new images begin it again."""
        fresh = ", fresh = 0" if state == PASSED else ""
        self._data.change(
            f"UPDATE studies SET state = ?, reason = ?, ended = ?, attempts = 0{fresh}"
            " WHERE uid = ?",
            *(state, reason, time.time(), study.uid),
        )

    def put_off(self, study: Study, reason: str) -> None:
        """Try to segment a study again, later."""
        due = time.time() + back_off(study.attempts)
        self._data.change(
            "UPDATE studies SET state = ?, fresh = 1, due = ?, attempts = attempts + 1, reason = ?,"
            " content = NULL WHERE uid = ?",
            *(RECEIVING, due, reason, study.uid),
        )

    def post(self, study: Study, files: Sequence[Path], peers: Sequence[str]) -> None:
        """Results of a study are to be sent; once for each file and peer."""
        with self._data.together():
            for file in files:
                for peer in peers:
                    self._data.change(
                        "INSERT OR IGNORE INTO outbox (file, peer, study) VALUES (?, ?, ?)",
                        *(str(file), peer, study.uid),
                    )
            self._data.change("UPDATE studies SET state = ? WHERE uid = ?", SENDING, study.uid)

    def parcels(self) -> list[Parcel]:
        """What is due to be sent, the oldest first."""
        rows = self._data.rows(
            "SELECT * FROM outbox WHERE sent IS NULL AND due <= ? ORDER BY rowid", time.time()
        )
        return [Parcel(Path(r["file"]), r["peer"], r["study"], r["attempts"]) for r in rows]

    def sent(self, parcel: Parcel) -> bool:
        """A parcel has arrived; whether it was the last of its study."""
        with self._data.together():
            self._data.change(
                "UPDATE outbox SET sent = ?, reason = NULL WHERE file = ? AND peer = ?",
                *(time.time(), str(parcel.file), parcel.peer),
            )
            left = self._data.row(
                "SELECT 1 FROM outbox WHERE study = ? AND sent IS NULL", parcel.study
            )
            return left is None

    def returned(self, parcel: Parcel, reason: str) -> float:
        """A parcel has not arrived; seconds until the next try."""
        wait = back_off(parcel.attempts)
        self._data.change(
            "UPDATE outbox SET attempts = attempts + 1, due = ?, reason = ?"
            " WHERE file = ? AND peer = ?",
            *(time.time() + wait, reason, str(parcel.file), parcel.peer),
        )
        return wait

    def ended_before(self, when: float) -> list[Study]:
        """Studies that ended before a time and have images."""
        return self._studies(
            "ended < ? AND fresh = 0 AND state IN (?, ?, ?) AND uid IN (SELECT study FROM images)",
            *(when, DONE, PASSED, FAILED),
        )

    def forget_files(self, study: Study) -> None:
        """Files of a study were removed: its images stay known by UID, without a file."""
        self._data.change("UPDATE images SET file = '' WHERE study = ?", study.uid)

    def _studies(self, where: str, *values: object) -> list[Study]:
        rows = self._data.rows(f"SELECT * FROM studies WHERE {where} ORDER BY rowid", *values)
        return [_study(row) for row in rows]


def back_off(attempts: int) -> float:
    """Seconds before the next try, after so many that failed before."""
    return BACK_OFF_S[min(attempts, len(BACK_OFF_S) - 1)]


def _study(row: sqlite3.Row) -> Study:
    names = ("uid", "key", "state", "attempts", "job", "content", "reason")
    return Study(*(row[name] for name in names))
