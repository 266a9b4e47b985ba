"""Packages of the extra ``clinical``, opened when they are needed, with a clear word where they are
not installed.
"""

import importlib
from types import ModuleType

from gliodistill.errors import GliodistillError


def load(name: str = "pydicom", purpose: str = "DICOM") -> ModuleType:
    """A module of the extra ``clinical``, e.g. ``load("highdicom.seg")``.

    Args:
        name: of the module.
        purpose: what needs it, for the error.

    Raises:
        GliodistillError: it is not installed.
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
            hint="pip install 'gliodistill[clinical]'",
        ) from None
