"""Atomic writing, and removal of only what this program made.

Writing: a temporary name beside the target, fsync, replace, fsync of the folder. The temporary name
``.<token>.partial.<name>`` belongs to whoever holds the lock ``.<token>.partial``; without a holder
it is a leftover of a process that was killed.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from gliodistill.errors import OutputError
from gliodistill.locks import SUFFIX, lock

_HINT = "check the folder, its permissions and free space"
_MARK = f".{'[0-9a-f]' * 8}.partial"


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """While ``path`` is written, turn an OSError into an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            "cannot write", file=path, got=error.strerror or error, hint=_HINT
        ) from error


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A temporary name beside ``target`` that belongs to this process; whatever has the name at the
    end is removed.
    """
    token = secrets.token_hex(4)
    temporary = target.with_name(f".{token}.partial.{target.name}")
    with lock(target.with_name(f".{token}.partial"), target):
        try:
            yield temporary
        finally:
            _clear(temporary)


def _clear(path: Path) -> None:
    """Remove a temporary file or folder. A failure to remove it must not hide the first error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes ``path``, on any failure it is removed.

    The temporary name keeps the suffixes of ``path`` (writers choose a format by them).

    Raises:
        OutputError: the folder is missing, not writable, or the disk is full.
    """
    target = Path(path)
    with writing(target), _temporary(target) as temporary:
        yield temporary
        _fsync(temporary)
        temporary.replace(target)
        _fsync(target.parent)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create ``path`` and its parents where they are missing.

    Raises:
        OutputError: a file is in the way, or no permission.
    """
    with writing(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


def check_writable(
    folder: str | os.PathLike[str], named: str | os.PathLike[str] | None = None
) -> None:
    """Check, before long work, that ``folder`` (or its nearest existing parent) can be written.

    Args:
        folder: the folder to write.
        named: what the message is about, if it is not ``folder``.

    Raises:
        OutputError: a file is in the way, no permission, a read-only disk.
    """
    nearest = Path(folder)
    while not nearest.exists() and nearest.parent != nearest:
        nearest = nearest.parent
    with writing(folder if named is None else named):
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        with lock(nearest / f".{secrets.token_hex(4)}.partial", Path(named or folder)):
            pass


def check_free(path: str | os.PathLike[str]) -> None:
    """Check, before long work, that a new folder can be written at ``path``. Leftovers of killed
    processes beside it are removed.

    Raises:
        OutputError: ``path`` exists and is not an empty folder, or cannot be written.
    """
    target = Path(path)
    _check_absent(target)
    check_writable(target.parent, target)
    remove_leftovers(target.parent, target.name)


def _check_absent(target: Path) -> None:
    if _holds_us(target):
        raise OutputError(
            "will not replace the folder that this process works in",
            file=target,
            expected="a new folder below it, or elsewhere",
        )
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise OutputError(
            "output exists",
            file=target,
            expected="a new or empty folder",
            hint="choose another or remove it",
        )


def check_file(path: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Check, before long work, that a file can be written at ``path``; an existing file may be
    replaced.

    Args:
        path: of the file.
        inputs: files that the work reads and must not replace.

    Raises:
        OutputError: ``path`` is a folder or an input, its own folder is missing or cannot be
            written.
    """
    target = Path(path)
    if target.exists() and any(Path(file).exists() and target.samefile(file) for file in inputs):
        raise OutputError(
            "output would overwrite an input", file=target, hint="choose another name"
        )
    if target.is_dir() or not target.parent.is_dir():
        raise OutputError(
            "cannot write",
            file=target,
            got="a folder" if target.is_dir() else "no such folder",
            expected="a file name in a folder that exists",
        )
    check_writable(target.parent, target)
    remove_leftovers(target.parent, target.name)


def remove_leftovers(folder: str | os.PathLike[str], name: str | None = None) -> None:
    """Remove half-written leftovers of killed processes in ``folder`` (not below it), under any
    name or those for ``name``. Files of a living process stay.
    """
    root = Path(folder)
    for mark in root.glob(_MARK):
        left = list(root.glob(f"{mark.name}.*"))
        if name is None or not left or any(p.name == f"{mark.name}.{name}" for p in left):
            with suppress(OutputError), lock(mark, root) as dead:
                for path in left if dead else ():
                    _clear(path)
    for path in root.glob(f"{_MARK}.*"):
        mark_name, _, target = path.name[1:].partition(".partial.")
        if name in (None, target) and not (root / f".{mark_name}.partial").exists():
            _clear(path)
    for idle in (root / SUFFIX, *root.glob(f".*{SUFFIX}")) if name is None else ():
        if idle.exists():
            with suppress(OutputError), lock(idle, root):
                pass


def contents(folder: str | os.PathLike[str]) -> list[Path]:
    """The contents of ``folder``, sorted, without locks and half-written files."""
    return sorted(
        path
        for path in Path(folder).iterdir()
        if not path.name.endswith(SUFFIX) and not fnmatch(path.name, f"{_MARK}*")
    )


def is_ours(folder: Path, marker: str, names: Collection[str] | None = None) -> bool:
    """Whether this program made ``folder``: a folder, no link, with the file ``marker`` and, if
    ``names`` are given, no other files.
    """
    if folder.is_symlink() or not (folder / marker).is_file():
        return False
    return names is None or all(
        entry.name in names and entry.is_file() and not entry.is_symlink()
        for entry in folder.iterdir()
    )


def _holds_us(folder: Path) -> bool:
    """Whether the working directory is ``folder`` or below it, or is unknown."""
    real = Path(os.path.realpath(folder))
    return folder.name in ("", "..") or Path(os.path.realpath(os.curdir)).is_relative_to(real)


def remove_folder(
    folder: str | os.PathLike[str], marker: str, names: Collection[str] | None = None
) -> None:
    """Remove a folder that this program made (:func:`is_ours`); the only function that removes
    folders. It is removed completely or not at all.

    Raises:
        OutputError: it is not ours, a link, named by way of ``..``, or this process works in it.
    """
    target = Path(folder)
    if _holds_us(target) or not is_ours(target, marker, names):
        raise OutputError(
            "will not remove a folder that gliodistill did not make",
            file=target,
            expected=f"a folder with {marker}" + ("  and no other files" if names else ""),
            hint="check it, and move or remove it yourself",
        )
    with writing(target), _temporary(target) as temporary:
        target.rename(temporary)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    r"""Write ``content`` to ``path`` atomically, as UTF-8.

    Bytes of a file name that are not UTF-8 (Python keeps them as lone surrogates) are written as
    ``\udcXX``, which JSON reads back.
    """
    write_bytes(path, content.encode(errors="backslashreplace"))


def shown_name(name: str | os.PathLike[str]) -> str:
    r"""A printable file name: bytes that are not UTF-8 and
    control characters as ``\xXX``.
    """
    text = os.fsencode(name).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


@contextmanager
def atomic_folder(
    path: str | os.PathLike[str], replaces: Collection[str] | None = None
) -> Iterator[Path]:
    """Yield a temporary folder; on success it becomes ``path``, on any failure it is removed.

    Args:
        path: of the folder.
        replaces: names of files, the first of which marks a folder as ours: such a folder at
            ``path`` is replaced once the new one is complete.

    Raises:
        OutputError: ``path`` exists and is not an empty folder, or cannot be written.
    """
    target = Path(path)
    marker = next(iter(replaces)) if replaces else None
    old = marker is not None and is_ours(target, marker, replaces)
    if not old:
        _check_absent(target)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(target) as temporary:
            temporary.mkdir()
            yield temporary
            for inner in [*temporary.rglob("*"), temporary]:
                _fsync(inner)
            if old and marker is not None:
                remove_folder(target, marker, replaces)
            elif target.exists():
                target.rmdir()
            temporary.replace(target)
            _fsync(target.parent)


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
