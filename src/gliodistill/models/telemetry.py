"""OpenVINO, NNCF and ONNX Runtime without telemetry, and what their errors say."""

import logging
import sys
from types import ModuleType


def import_openvino() -> ModuleType:
    """The ``openvino`` module, imported so that it reports to nobody.

    ``import openvino`` alone sends an event over the network and leaves an identifier in the home
    folder wherever the package ``openvino_telemetry`` is installed, which OpenVINO's wheel
    requires. Without that package OpenVINO uses a stub, so here it is made to look absent. Always
    import OpenVINO through this function.
    """
    # None in sys.modules makes an import fail as if nothing were installed (Python reference,
    # 5.3.1).
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    module: ModuleType = openvino
    return module


def import_nncf() -> ModuleType:
    """The ``nncf`` module without the telemetry it shares with OpenVINO, and without its chatter."""
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
    """What a runtime's error says in the end: its last line with words in it, or its kind."""
    lines = [line.strip() for line in str(error).splitlines()]
    worded = [line for line in lines if any(mark.isalpha() for mark in line)]
    return worded[-1] if worded else type(error).__name__
