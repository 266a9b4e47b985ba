"""The files of a DICOM export: a folder, a zip, a DICOMDIR or one file, none of which is trusted.

A zip is unpacked into a temporary folder under names of our own: the names in it may climb out of
the folder, be too long, or hold the patient's name.
"""

import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from gliodistill.errors import ImageError

MOST_FILES = 100_000
MOST_BYTES = 16 * 2**30
"""Unpacked from one zip."""

MOST_TIMES, FREE_BYTES = 200, 2**30
"""A zip that grows more than so many times is a bomb, once it has more than so many bytes: a series
of black images may shrink that much, a whole export does not."""

MOST_DEPTH = 32
PREFIX = 132
"""A DICOM file begins with 128 bytes of anything and the letters DICM."""

_CHUNK = 1 << 20


def is_dicom(path: Path) -> bool:
    """Whether a file says at its start that it is DICOM."""
    try:
        with path.open("rb") as file:
            return file.read(PREFIX)[128:] == b"DICM"
    except OSError:
        return False


def looks_like_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a path that a user gives holds DICOM: told from few files, without pydicom."""
    path = Path(path)
    if path.is_file():
        return path.suffix.lower() == ".zip" or is_dicom(path)
    if not path.is_dir():
        return False
    files, _ = _walk(path)
    if any(file.name.lower().endswith((".nii", ".nii.gz")) for file in files):
        return False
    return any(is_dicom(file) for file in files[:50])


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[list[Path], list[str]]]:
    """The files to look at, in a fixed order, and notes on what was passed over.

    Files of a zip live until the context ends.

    Raises:
        ImageError: nothing there, too many files, or a zip that is damaged or hostile.
    """
    path = Path(path)
    if path.is_dir():
        yield _some(path, *_walk(path))
    elif not path.exists():
        raise ImageError("no such file or folder", file=path)
    elif not path.is_file():
        raise ImageError("not a regular file", file=path, expected="a folder, a zip, or a file")
    elif zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory(prefix="gliodistill-") as folder:
            yield _some(path, *_unpack(path, Path(folder)))
    elif path.suffix.lower() == ".zip":
        raise ImageError("damaged zip", file=path, expected="an archive that can be listed")
    elif path.name.upper() == "DICOMDIR":
        yield _some(path, *_listed(path))
    else:
        yield [path], []


def _some(path: Path, files: list[Path], notes: list[str]) -> tuple[list[Path], list[str]]:
    if not files:
        raise ImageError("no files in it", file=path, expected="DICOM")
    return files, notes


def _walk(root: Path) -> tuple[list[Path], list[str]]:
    """Regular files below a folder. Links to folders are not followed; links to files are, where
    they stay in it.
    """
    files: list[Path] = []
    links = other = 0
    home = root.resolve()
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise ImageError("folders too deep", file=root, expected=f"at most {MOST_DEPTH} levels")
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((path, depth + 1))
                elif entry.is_symlink() and not _stays(path, home):
                    links += 1
                elif not entry.is_file():
                    other += 1
                else:
                    files.append(path)
                if len(files) > MOST_FILES:
                    raise ImageError("too many files", file=root, expected=f"at most {MOST_FILES}")
    notes = []
    if links:
        notes.append(f"{links} links to folders or out of the folder were not followed")
    if other:
        notes.append(f"{other} entries that are no files were passed over")
    return sorted(files), notes


def _stays(link: Path, home: Path) -> bool:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return target.is_file() and target.is_relative_to(home)


def _listed(directory: Path) -> tuple[list[Path], list[str]]:
    """The files that a DICOMDIR names."""
    from gliodistill.dicom.headers import read_header

    header = read_header(directory)
    home = directory.parent.resolve()
    files, missing = [], 0
    for record in header.get("DirectoryRecordSequence") or ():
        parts = record.get("ReferencedFileID")
        if not parts:
            continue
        named = PurePosixPath(*([parts] if isinstance(parts, str) else parts))
        target = (home / named).resolve()
        if not target.is_relative_to(home):
            raise ImageError(
                "a DICOMDIR that names a file outside its folder",
                file=directory,
                field="ReferencedFileID",
                expected="files below the folder of the DICOMDIR",
            )
        if target.is_file():
            files.append(target)
        else:
            missing += 1
    if missing:
        raise ImageError(
            "files of the DICOMDIR are missing",
            file=directory,
            got=f"{missing} missing, {len(files)} there",
            expected="every file that it names",
            hint="give the folder instead, to read what is there",
        )
    return list(dict.fromkeys(files)), []


def _unpack(path: Path, folder: Path) -> tuple[list[Path], list[str]]:
    """Unpack every file of a zip, as ``folder/000001`` and so on."""

    def refuse(problem: str, got: object = None, expected: object = None) -> ImageError:
        return ImageError(problem, file=path, field="zip", got=got, expected=expected)

    files, nested, left = [], 0, MOST_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > MOST_FILES:
                raise refuse("too many files", len(entries), f"at most {MOST_FILES}")
            left = _allowed(path, folder, sum(entry.file_size for entry in entries))
            for number, entry in enumerate(entries, 1):
                _check_entry(entry, number, refuse)
                if entry.filename.lower().endswith(".zip"):
                    nested += 1
                    continue
                target = folder / f"{number:06d}"
                with archive.open(entry) as source, target.open("wb") as unpacked:
                    while chunk := source.read(_CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            raise refuse("a zip bomb", "more than it says")
                        unpacked.write(chunk)
                files.append(target)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise refuse("damaged zip", str(error) or type(error).__name__, "a whole archive") from None
    except Exception as error:
        if type(error).__module__ in ("zlib", "_lzma", "lzma", "bz2"):
            raise refuse("damaged zip", str(error), "a whole archive") from None
        raise
    return files, [f"{nested} zips inside the zip were not opened"] if nested else []


def _allowed(path: Path, folder: Path, size: int) -> int:
    """Bytes that may be unpacked, where a zip says that it has ``size``."""
    packed = path.stat().st_size
    if size > MOST_BYTES or (size > FREE_BYTES and size > MOST_TIMES * packed):
        raise ImageError(
            "a zip bomb",
            file=path,
            field="zip",
            got=f"{size / 2**30:.3g} GiB in a file of {packed / 2**20:.3g} MiB",
            expected=f"at most {MOST_BYTES // 2**30} GiB, and {MOST_TIMES} times the file's size",
        )
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ImageError(
            "no room to unpack",
            file=path,
            got=f"{free / 2**30:.3g} GiB free",
            expected=f"{size / 2**30:.3g} GiB",
            hint="set TMPDIR to a folder with more",
        )
    return size


def _check_entry(
    entry: zipfile.ZipInfo, number: int, refuse: Callable[[str, object, object], ImageError]
) -> None:
    name = entry.filename.replace("\\", "/")
    where = f"entry {number}"
    if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
        raise refuse("a zip whose entries leave its folder", where, "names below the folder")
    mode = entry.external_attr >> 16
    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        raise refuse("a zip with links or devices in it", where, "files")
    if entry.flag_bits & 1:
        raise refuse("an encrypted zip", where, "an archive without password")
