"""Writing that is whole or absent: temporary file beside the target, fsync, replace, fsync of the
folder.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gliodistill.errors import OutputError


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """While ``path`` is written: what the system says against it becomes an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            "cannot write",
            file=path,
            got=error.strerror or error,
            hint="check the folder, its permissions and free space",
        ) from error


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes ``path``, on any failure it is removed.

    The temporary name keeps the suffixes of ``path`` (writers choose a format by them).

    Raises:
        OutputError: the folder is missing, not writable, or the disk is full.
    """
    target = Path(path)
    temporary = target.with_name(f".{secrets.token_hex(4)}.partial.{target.name}")
    try:
        with writing(target):
            yield temporary
            _fsync(temporary)
            temporary.replace(target)
            _fsync(target.parent)
    finally:
        # What cannot be removed (its parent is a file, the disk is gone) must not hide why.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create ``path`` and its parents where they are missing.

    Raises:
        OutputError: a file is in the way, or no permission.
    """
    with writing(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove what a process that was killed left half-written in ``folder`` (not below it)."""
    for left in Path(folder).glob(".????????.partial.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with suppress(OSError):
                left.unlink()


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write ``content`` to ``path`` atomically, as UTF-8."""
    write_bytes(path, content.encode())


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder; on success it becomes ``path``, on any failure it is removed.

    Raises:
        OutputError: ``path`` exists and is not an empty folder, or cannot be written.
    """
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(
            "output exists",
            file=target,
            expected="a new or empty folder",
            hint="choose another or remove it",
        )
    temporary = target.with_name(f".{secrets.token_hex(4)}.partial.{target.name}")
    try:
        with writing(target):
            temporary.mkdir(parents=True)
            yield temporary
            for path in [*temporary.rglob("*"), temporary]:
                _fsync(path)
            if target.exists():
                target.rmdir()
            temporary.replace(target)
            _fsync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
