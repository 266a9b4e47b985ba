"""Import of OpenVINO, NNCF and ONNX Runtime without telemetry, and their error messages."""

import logging
import sys
from types import ModuleType
from typing import Any

CONVERTER = "openvino.tools.ovc"


def import_openvino() -> ModuleType:
    """The ``openvino`` module, imported without telemetry.

    If the package ``openvino_telemetry`` is installed, which OpenVINO's wheel requires, ``import
    openvino`` sends an event over the network and writes an identifier into the home folder.
    Without it OpenVINO uses a stub, so its import is made to fail here. Always import OpenVINO
    through this function.
    """
    # None in sys.modules makes an import fail as if nothing were installed (Python reference,
    # 5.3.1).
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    if "openvino" not in sys.modules:
        # Half of the import is the converter of other frameworks' models, which few ever call.
        sys.modules[CONVERTER] = None  # type: ignore[assignment]
        try:
            import openvino
        finally:
            del sys.modules[CONVERTER]
        openvino.convert_model = _convert_model
    import openvino

    module: ModuleType = openvino
    return module


def _convert_model(*arguments: Any, **options: Any) -> Any:
    """``openvino.convert_model``, imported when it is called."""
    from openvino.tools.ovc import convert_model

    return convert_model(*arguments, **options)


def import_nncf() -> ModuleType:
    """The ``nncf`` module without the telemetry it shares with OpenVINO, and without its log
    messages.
    """
    import_openvino()
    import nncf

    nncf.set_log_level(logging.ERROR)
    module: ModuleType = nncf
    return module


def import_onnxruntime() -> ModuleType:
    """The ``onnxruntime`` module with its events, which some builds send, turned off."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    module: ModuleType = onnxruntime
    return module


def reason(error: Exception) -> str:
    """A runtime's error message: its last non-empty line, or its type."""
    lines = [line.strip() for line in str(error).splitlines()]
    worded = [line for line in lines if any(mark.isalpha() for mark in line)]
    return worded[-1] if worded else type(error).__name__
