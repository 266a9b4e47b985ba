"""File locks, which the system releases when the process that holds them ends.

A lock is a small hidden file that its holder keeps locked (``flock``). An unlocked file is a
leftover of a killed process. Network file systems share these locks between machines unless they
were mounted without (``local_lock``, ``localflock``); on a file system without locks, nobody is
kept out and nothing counts as a leftover.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gliodistill.errors import OutputError, printable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".gliodistill.lock"
PATIENCE_S = 0.1
"""Seconds between two attempts to take a lock that another process holds."""


class Busy(OutputError):
    """Another process holds the lock."""


@contextmanager
def lock(path: Path, what: Path, *, wait: bool = False, shared: bool = False) -> Iterator[bool]:
    """Hold the lock file ``path``; it is removed at the end.

    Args:
        path: of the lock file; its folder exists.
        what: what is locked, for messages.
        wait: wait for another holder (and say so) instead of raising.
        shared: hold it together with others who share it.

    Yields:
        whether the file system has locks, so that nobody else holds this one.

    Raises:
        Busy: another process holds it.
        OutputError: the file cannot be made.
    """
    told = False
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise OutputError(
                "cannot write",
                file=what,
                got=error.strerror,
                hint="check the folder, its permissions and free space",
            ) from error
        try:
            real = _try(descriptor, shared)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace")
            os.close(descriptor)
            if not wait:
                raise Busy(
                    "another process is working on it",
                    file=what,
                    got=holder or None,
                    hint="wait until it has finished, or choose another output",
                ) from None
            if not told and sys.stderr is not None:
                with suppress(OSError, ValueError):
                    text = f"waiting for {holder or 'another process'}, working on {what}"
                    sys.stderr.write(printable(text) + "\n")
            told = True
            time.sleep(PATIENCE_S)
            continue
        if _is(descriptor, path):
            break
        os.close(descriptor)  # removed by its last holder before it was locked here
    try:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield real
    finally:
        with suppress(OSError):  # others still share it
            if not (shared and real) or _try(descriptor, False):
                path.unlink()
        os.close(descriptor)


@contextmanager
def lock_folder(folder: Path, *, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Lock the contents of ``folder`` for this process, or share it with others; as
    :func:`lock`.
    """
    with lock(folder / SUFFIX, folder, wait=wait, shared=shared):
        yield


@contextmanager
def lock_name(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Lock the files whose names begin with ``path``; as :func:`lock`."""
    with lock(path.with_name(f".{path.name}{SUFFIX}"), path, wait=wait):
        yield


def _try(descriptor: int, shared: bool) -> bool:
    """Lock; False if the file system has no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # this file system has no locks
        return False
    return True


def _is(descriptor: int, path: Path) -> bool:
    """Whether ``path`` is still the file that was opened."""
    try:
        there, here = path.stat(), os.fstat(descriptor)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
