"""Errors for a client: all that helps, and no path of this machine."""

import re
from pathlib import Path
from typing import Any

from gliodistill.errors import GliodistillError

_PATHS = re.compile(r"(?<![\w.])(?:/[^\s/:;,()'\"]+){2,}/?")
"""Two or more folders, from the root on."""


def told(error: BaseException, root: Path | None = None) -> dict[str, Any]:
    """``message``, ``kind`` and parts; a file is told by its name, without folders.

    Args:
        error: any; of one that is not ours only the kind is told.
        root: a folder whose files are called by their names alone.
    """
    if not isinstance(error, GliodistillError):
        error = GliodistillError(
            f"unforeseen {type(error).__name__}", hint="this is a bug; the log has the traceback"
        )
    file = None if error.file is None else Path(str(error.file)).name
    parts = {name: _hidden(getattr(error, name), root) for name in ("field", "got", "expected")}
    clean = type(error)(
        _hidden(error.problem, root) or "",
        file=file or None,
        hint=_hidden(error.hint, root),
        **parts,
    )
    return {"message": str(clean), "kind": type(error).__name__, **clean.as_dict()}


def _hidden(value: object, root: Path | None) -> str | None:
    if value is None:
        return None
    text = str(value)
    if root is not None:
        text = text.replace(f"{root}/", "")
    return _PATHS.sub(lambda found: Path(found[0]).name, text)
