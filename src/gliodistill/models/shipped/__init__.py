"""The shipped models: every folder beside this file is a model package, named ``NAME@VERSION``.

A name without a version means its newest version. Adding a version is adding its folder.
"""

import json
import os
import re
from functools import cache
from pathlib import Path

from gliodistill.errors import PackageError
from gliodistill.registry import nearest

DEFAULT = "glioma"
"""The default model, in its newest version."""

_HERE = Path(__file__).parent
_DESCRIPTION = "model.json"


def names() -> tuple[str, ...]:
    """Names of the shipped models with their versions, the newest of each first."""
    found = [
        (match[1], -int(match[2]), folder.name)
        for folder in _HERE.iterdir()
        if (match := re.fullmatch(r"([a-z0-9_-]+)@([1-9]\d*)", folder.name))
        and (folder / _DESCRIPTION).is_file()
    ]
    return tuple(name for *_, name in sorted(found))


def newest() -> dict[str, str]:
    """Name without a version → the name of its newest version."""
    return {name.partition("@")[0]: name for name in reversed(names())}


def find_model(name_or_path: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a model: the given one, or that of a shipped model.

    A folder without a model does not hide a shipped model of the same name.

    Args:
        name_or_path: folder of a model package; or a shipped model with its version (``glioma@1``)
            or without (its newest version); None = ``DEFAULT``.

    Raises:
        PackageError: there is neither such a folder nor such a name or version; those there are
            are listed.
    """
    latest = newest()
    if name_or_path is None:  # a folder of that name in the working directory does not count
        return _HERE / latest.get(DEFAULT, DEFAULT)
    path = Path(name_or_path)
    shipped = latest.get(str(path), str(path))
    if not (path / _DESCRIPTION).is_file() and shipped in names():
        return _HERE / shipped
    if path.exists():
        return path  # opening it reports what is wrong with it
    name, _, version = str(path).partition("@")
    if version and name in latest:
        versions = ", ".join(each for each in names() if each.startswith(f"{name}@"))
        raise PackageError(
            "no such version of the model",
            file=path,
            expected=f"one of {versions}",
            hint=f"{name} is the newest of them; other versions come with other releases",
        )
    raise PackageError(
        "no such model",
        file=path,
        expected=f"the folder of a model, or one of {', '.join((*latest, *names()))}",
        hint=nearest(str(path), (*latest, *names()))
        or "make one with: gliodistill export RUN -o MODEL",
    )


@cache
def _fingerprints() -> dict[str, str]:
    """SHA-256 of each shipped package → its name and version."""
    described = {name: json.loads((_HERE / name / _DESCRIPTION).read_bytes()) for name in names()}
    return {values["files"][_DESCRIPTION]: name for name, values in described.items()}


def shipped_as(fingerprint: str) -> str | None:
    """The name and version under which a package is shipped, wherever it was copied to; None if it
    is not.
    """
    return _fingerprints().get(fingerprint)
