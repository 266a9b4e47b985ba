"""Packages of the optional extras of teachers, imported when a teacher is opened."""

import importlib
from types import ModuleType

from gliodistill.errors import GliodistillError


def load(name: str, extra: str, what: str) -> ModuleType:
    """A module of another package, e.g. ``load("onnxruntime", "onnx", "an ONNX teacher")``.

    Args:
        name: of the module.
        extra: of gliodistill that brings it.
        what: needs it.

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
            expected=f"{what} needs it",
            hint=f"pip install 'gliodistill[{extra}]'",
        ) from None
