"""Uploads: files of a client, streamed to disk within bounds, under names of our own.

The client's names are words about the files, never paths. Of NIfTI, whose names tell the sequences,
a name is built anew from their letters, digits and ``._-``; all else is numbered.
"""

import asyncio
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from gliodistill.errors import GliodistillError, OutputError
from gliodistill.files import make_folder
from gliodistill.serve.database import Database
from gliodistill.serve.places import Places

DICOM, NIFTI, ZIP = "dicom", "nifti", "zip"
ENDINGS = {".nii.gz": NIFTI, ".nii": NIFTI, ".zip": ZIP}
LOOSE = "study"
"""Folder of files that came without one."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    upload TEXT NOT NULL, place TEXT NOT NULL, kind TEXT NOT NULL, label TEXT NOT NULL,
    size INTEGER, PRIMARY KEY (upload, place)
);
"""


class TooLarge(GliodistillError):
    """More than the bounds allow."""


class TooSlow(GliodistillError):
    """A client that stopped sending."""


@dataclass(frozen=True)
class Bounds:
    """What a client may send.

    Attributes:
        file_bytes: of one file.
        upload_bytes: of all files of one upload.
        files: in one upload.
        open: uploads that are kept.
        free_bytes: that stay free on the disk.
        stall_s: seconds without a byte, after which a client has gone.
    """

    file_bytes: int = 4 << 30
    upload_bytes: int = 16 << 30
    files: int = 20_000
    open: int = 2000
    free_bytes: int = 1 << 30
    stall_s: float = 60.0


@dataclass(frozen=True)
class StoredFile:
    """A file of an upload.

    Attributes:
        place: below the folder of the upload.
        kind: :data:`DICOM` (anything without an ending that we know), :data:`NIFTI`, :data:`ZIP`.
        label: the client's name of it, without folders, for people.
        size: bytes.
    """

    place: str
    kind: str
    label: str
    size: int


class Uploads:
    """The uploads of a store."""

    def __init__(self, places: Places, bounds: Bounds) -> None:
        self._places, self.bounds = places, bounds
        self._data = Database(places.root / "uploads.sqlite", _SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._data.close()

    def create(self) -> str:
        """Begin an upload; its id.

        Raises:
            TooLarge: too many are kept.
        """
        count = self._data.rows("SELECT COUNT(*) FROM uploads")[0][0]
        if count >= self.bounds.open:
            raise TooLarge(
                "too many uploads are kept",
                got=count,
                expected=f"fewer than {self.bounds.open}",
                hint="remove earlier results",
            )
        id = secrets.token_hex(8)
        self._places.make(self._places.upload(id))
        self._data.change("INSERT INTO uploads VALUES (?, ?)", id, time.time())
        return id

    def is_there(self, id: str) -> bool:
        """Whether there is such an upload."""
        return self._data.row("SELECT 1 FROM uploads WHERE id = ?", id) is not None

    def files(self, id: str) -> list[StoredFile]:
        """The whole files of an upload, in the order of their places."""
        rows = self._data.rows(
            "SELECT * FROM files WHERE upload = ? AND size IS NOT NULL ORDER BY place", id
        )
        return [StoredFile(r["place"], r["kind"], r["label"], r["size"]) for r in rows]

    def older_than(self, seconds: float) -> list[str]:
        """Ids of uploads that were begun so long ago."""
        rows = self._data.rows("SELECT id FROM uploads WHERE created < ?", time.time() - seconds)
        return [row["id"] for row in rows]

    async def receive(self, id: str, name: str, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Write one file of an upload as it comes; whole or not at all.

        Raises:
            TooLarge: it exceeds a bound.
            TooSlow: nothing comes any more.
            GliodistillError: two NIfTI files of one name.
            OutputError: the disk is full.
        """
        place, kind, label = self._reserve(id, name)
        target = self._places.upload(id) / place
        try:
            make_folder(target.parent)
            size = await self._write(id, target, chunks)
        except BaseException:
            target.unlink(missing_ok=True)
            self._data.change("DELETE FROM files WHERE upload = ? AND place = ?", id, place)
            raise
        self._data.change(
            "UPDATE files SET size = ? WHERE upload = ? AND place = ?", size, id, place
        )
        return StoredFile(place, kind, label, size)

    def remove(self, id: str) -> None:
        """Remove an upload and its files."""
        self._places.remove(self._places.upload(id))
        with self._data.together():
            self._data.change("DELETE FROM files WHERE upload = ?", id)
            self._data.change("DELETE FROM uploads WHERE id = ?", id)

    def _reserve(self, id: str, name: str) -> tuple[str, str, str]:
        parts = [part for part in re.split(r"[/\\]", name) if part.strip(" .")]
        label = "".join(c for c in (parts or ["file"])[-1] if c.isprintable())[-120:]
        ending = next((e for e in ENDINGS if label.lower().endswith(e)), "")
        kind = ENDINGS.get(ending, DICOM)
        with self._data.together():
            number = self._data.rows("SELECT COUNT(*) FROM files WHERE upload = ?", id)[0][0]
            if number >= self.bounds.files:
                raise TooLarge(
                    "too many files",
                    got=number + 1,
                    expected=f"at most {self.bounds.files} in one upload",
                    hint="send a zip",
                )
            if kind == NIFTI:
                folders = [_clean(part) for part in parts[:-1]][-3:] or [LOOSE]
                stem = _clean(label[: -len(ending)])
                place = "/".join([NIFTI, *folders, f"{stem}{ending}"])
            else:
                place = f"{kind}/{number + 1:06d}{ending}"
            taken = "SELECT 1 FROM files WHERE upload = ? AND lower(place) = ?"
            if self._data.row(taken, id, place.lower()):
                raise GliodistillError(
                    "two files of one name", got=label, hint="rename one, or send it alone"
                )
            self._data.change("INSERT INTO files VALUES (?, ?, ?, ?, NULL)", id, place, kind, label)
        return place, kind, label

    async def _write(self, id: str, target: Path, chunks: AsyncIterator[bytes]) -> int:
        row = self._data.rows("SELECT SUM(size) FROM files WHERE upload = ?", id)[0]
        total = row[0] or 0
        most = min(self.bounds.file_bytes, self.bounds.upload_bytes - total)
        size = checked = 0
        try:
            with target.open("xb") as handle:
                while True:
                    chunk = await _next(chunks, self.bounds.stall_s)
                    if chunk is None:
                        break
                    size += len(chunk)
                    if size > most:
                        raise TooLarge(
                            "too large an upload", expected=f"at most {most / 1e6:.0f} MB more"
                        )
                    if size >= checked:
                        checked = size + (64 << 20)
                        self._check_room(target)
                    handle.write(chunk)
        except OSError as error:
            raise OutputError(
                "cannot keep the file", got=error.strerror, hint="make room on the disk"
            ) from None
        return size

    def _check_room(self, target: Path) -> None:
        free = shutil.disk_usage(target.parent).free
        if free < self.bounds.free_bytes:
            raise OutputError(
                "the disk is full", got=f"{free / 1e9:.1f} GB free", hint="make room on the disk"
            )


def _clean(text: str) -> str:
    """A name of letters, digits and ``._-`` that hides nothing and climbs nowhere."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[:80] or "x"


async def _next(chunks: AsyncIterator[bytes], stall_s: float) -> bytes | None:
    try:
        return await asyncio.wait_for(anext(chunks), stall_s)
    except StopAsyncIteration:
        return None
    except TimeoutError:
        raise TooSlow("no byte came", got=f"{stall_s:g} s", hint="send it again") from None
