"""Folders of the store. Their names are our own ids; nothing that a client says names a file."""

import os
import re
from pathlib import Path

from gliodistill.files import contents, make_folder, remove_folder, write_text

MARKER = "made_by_gliodistill"
"""A file that marks a folder as ours, so that it may be removed."""

_ID = re.compile(r"[0-9a-f]{16}")


def private_folder(path: Path) -> Path:
    """Make a folder that its owner alone can read; one that is there stays as it is.

    Raises:
        OutputError: it cannot be made.
    """
    if not path.exists():
        make_folder(path).chmod(0o700)
    return path


class Places:
    """Where things are in the folder of the store.

    Args:
        root: of the store; made where it is missing, then readable by its owner only.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, root: Path) -> None:
        self.root = private_folder(root)
        self.temporary = make_folder(root / "tmp")

    def upload(self, id: str) -> Path:
        """The folder of an upload."""
        return self.root / "uploads" / _checked(id)

    def job(self, id: str) -> Path:
        """The folder of a job's results."""
        return self.root / "jobs" / _checked(id)

    def make(self, folder: Path) -> Path:
        """Make a folder that can be removed again."""
        make_folder(folder)
        write_text(folder / MARKER, "This folder is removed with its study.\n")
        return folder

    def remove(self, folder: Path) -> None:
        """Remove a folder of an upload or a job, if it is there."""
        if (folder / MARKER).is_file():
            remove_folder(folder, MARKER)

    def size(self) -> int:
        """Bytes of all files."""
        return sum(
            (Path(folder) / file).lstat().st_size
            for folder, _, files in os.walk(self.root)
            for file in files
            if (Path(folder) / file).exists()
        )

    def clear_temporary(self) -> None:
        """Remove what killed workers left."""
        for path in contents(self.temporary):
            if path.is_dir():
                write_text(path / MARKER, "")
                remove_folder(path, MARKER)
            else:
                path.unlink(missing_ok=True)


def _checked(id: str) -> str:
    if not _ID.fullmatch(id):
        raise ValueError(f"no id of ours: {id!r}")
    return id
