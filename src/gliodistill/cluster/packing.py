"""Work, items and results on their way to another machine and back.

Every path within a pickled object is named in it, so that the other machine can say which files it
lacks, and read those that are sent from a folder of its own.
"""

import io
import os
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from gliodistill.errors import GliodistillError
from gliodistill.files import atomic_folder, write_bytes

Files = Mapping[str, bytes]
"""Absolute path, or path within the output folder → content."""


@dataclass(frozen=True)
class Packed:
    """A pickled object.

    Attributes:
        content: the pickle; paths are persistent ids.
        needs: absolute path → size of each file that it names.
    """

    content: bytes
    needs: Mapping[str, int]

    def missing(self) -> list[str]:
        """The files that this machine does not have."""
        return [path for path, size in self.needs.items() if _size(path) != size]

    def files(self) -> dict[str, bytes]:
        """The content of its files."""
        return {path: Path(path).read_bytes() for path in self.needs}

    def unpack(self, place: Callable[[str], Path]) -> Any:
        """The object.

        Args:
            place: absolute path there → path here.
        """
        unpickler = _Unpickler(io.BytesIO(self.content))
        unpickler.place = place
        return unpickler.load()


def pack(thing: object, output: Path | None = None, folders: bool = False) -> Packed:
    """Pickle an object.

    Args:
        thing: any.
        output: folder of the results, whose files are not needed.
        folders: whether what is in the folders that it names is needed too, such as a model's.

    Raises:
        GliodistillError: it cannot be pickled.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.found = set()
    try:
        pickler.dump(thing)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise GliodistillError(
            "cannot be sent to another machine",
            file=type(thing).__name__,
            got=error,
            hint="leave --cluster out",
        ) from error
    needs: dict[str, int] = {}
    for text in sorted(pickler.found):
        path = Path(text)
        if output is not None and path.is_relative_to(output):
            continue
        if path.is_file():
            needs[text] = path.stat().st_size
        elif folders and path.is_dir():
            needs |= {str(file): file.stat().st_size for file in path.rglob("*") if file.is_file()}
    return Packed(buffer.getvalue(), needs)


class _Pickler(pickle.Pickler):
    found: set[str]

    def persistent_id(self, thing: object) -> str | None:
        if not isinstance(thing, Path):
            return None
        self.found.add(os.path.abspath(thing))  # noqa: PTH100 (links are kept)
        return os.path.abspath(thing)  # noqa: PTH100


class _Unpickler(pickle.Unpickler):
    place: Callable[[str], Path]

    def persistent_load(self, name: str) -> Path:
        return self.place(name)


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return None


def below(folder: Path, path: str) -> Path:
    """The place in ``folder`` of an absolute path of another machine."""
    pure = PurePath(path)
    return folder.joinpath(*pure.parts[1:])


def results_in(folder: Path) -> dict[str, bytes]:
    """What was written into an output folder, in the order of writing; it is removed there."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    files.sort(key=lambda path: path.stat().st_mtime_ns)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    for path in files:
        path.unlink()
    return found


def deliver(made: Files, output: Path) -> None:
    """Write results of another machine: new folders whole, files one by one, the last one written
    there (which marks a result as finished) last.

    Raises:
        OutputError: they cannot be written.
    """
    folders: dict[str, dict[str, bytes]] = {}
    for name, content in made.items():
        top, _, rest = name.partition("/")
        if rest and not (output / top).exists():
            folders.setdefault(top, {})[rest] = content
    for top, files in folders.items():
        with atomic_folder(output / top) as temporary:
            _write(files.items(), temporary)
    _write(((n, c) for n, c in made.items() if n.partition("/")[0] not in folders), output)


def _write(files: Iterable[tuple[str, bytes]], folder: Path) -> None:
    for name, content in files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, content)
