"""The shipped models: every folder beside this file is a model package with its name."""

import os
from pathlib import Path

from gliodistill.errors import PackageError

DEFAULT = "glioma"
"""The default model."""

_HERE = Path(__file__).parent
_DESCRIPTION = "model.json"


def names() -> tuple[str, ...]:
    """Names of the shipped models, sorted."""
    return tuple(
        sorted(folder.name for folder in _HERE.iterdir() if (folder / _DESCRIPTION).is_file())
    )


def find_model(name_or_path: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a model: the given one, or that of a shipped model.

    A folder without a model does not hide a shipped model of the same name.

    Args:
        name_or_path: folder of a model package, or name of a shipped model; None = ``DEFAULT``.

    Raises:
        PackageError: there is neither such a folder nor such a name; the names are listed.
    """
    if name_or_path is None:
        return _HERE / DEFAULT  # a folder of that name in the working directory does not count
    path = Path(name_or_path)
    if not (path / _DESCRIPTION).is_file() and str(path) in names():
        return _HERE / path
    if not path.exists():
        expected = f"the folder of a model, or one of {', '.join(names())}"
        raise PackageError(
            "no such model",
            file=path,
            expected=expected,
            hint="make one with: gliodistill export RUN -o MODEL",
        )
    return path  # opening it reports what is wrong with it
