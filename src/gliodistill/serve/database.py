"""One SQLite file that several threads and processes share, and that survives a kill."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gliodistill.errors import OutputError

PATIENCE_S = 30.0
"""How long a process waits for another that writes."""


class Database:
    """A connection; every change is whole or absent, however a process ends.

    Args:
        file: of the database; made where it is missing.
        schema: statements that make its tables where they are missing.
        durable: whether a change is kept over a loss of power, too; it then waits for the disk.

    Raises:
        OutputError: the file is no database, or cannot be written.
    """

    def __init__(self, file: Path, schema: str, durable: bool = False) -> None:
        self.file = file
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                file, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._connection.executescript(schema)
        except sqlite3.Error as error:
            raise OutputError(
                "cannot open the database",
                file=file,
                got=str(error),
                hint="check the folder, its permissions and free space",
            ) from None

    def rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of one statement, which may also change something.

        Raises:
            OutputError: no room on the disk, or it cannot be read; so do the others below.
        """
        with self._lock, self._explained():
            return self._connection.execute(statement, values).fetchall()

    def row(self, statement: str, *values: Any) -> sqlite3.Row | None:
        """The first row, or None."""
        found = self.rows(statement, *values)
        return found[0] if found else None

    def change(self, statement: str, *values: Any) -> int:
        """Run one statement; how many rows it changed."""
        with self._lock, self._explained():
            return self._connection.execute(statement, values).rowcount

    @contextmanager
    def together(self) -> Iterator[None]:
        """All changes within the block are made, or none; no other process writes meanwhile."""
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OutputError(
                "cannot use the database",
                file=self.file,
                got=str(error),
                hint="make room on the disk",
            ) from None

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()
