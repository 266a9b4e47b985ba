"""pydicom, opened when a DICOM file is, with a clear word where it is not installed."""

import importlib
from types import ModuleType

from gliodistill.errors import GliodistillError


def load(name: str = "pydicom") -> ModuleType:
    """A module of the extra ``clinical``, e.g. ``load("highdicom.seg")``.

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
            expected="DICOM needs it",
            hint="pip install 'gliodistill[clinical]'",
        ) from None
