"""Packages of the optional extras, imported when they are needed, with a clear word where they are
not installed.
"""

import importlib
from types import ModuleType

from gliodistill.errors import GliodistillError


def load(name: str = "pydicom", purpose: str = "DICOM", *, extra: str = "clinical") -> ModuleType:
    """A module of another package, e.g. ``load("highdicom.seg")``.

    Args:
        name: of the module.
        purpose: what needs it, for the error.
        extra: of gliodistill that brings it.

    Raises:
        GliodistillError: its package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise GliodistillError(
            "not installed",
            field=package,
            expected=f"{purpose} needs it",
            hint=f"pip install 'gliodistill[{extra}]'",
        ) from None
