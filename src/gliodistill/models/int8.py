"""Post-training quantisation of the OpenVINO graph to int8 by NNCF.

Weights and activations of the convolutions become bytes; ranges of the activations are calibrated
on prepared patches. Choices that mattered on U-Nets of this project (results:
``benchmarks/parity.py``):

* Exact bias correction. NNCF's fast one gave worse results than none.
* The layers at the ends matter most: the finest ones, with the fewest channels.
* Weights in half their range (NNCF's overflow fix): without VNNI, sums of two products overflow 16
  bits, and results would differ between processors.
"""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.models.telemetry import import_nncf

FLOAT_LAYERS = (0, 1, 2, 4)
"""Convolutions to leave in float at either end, in the order tried; the first that passes the
parity check is taken.
"""

_CONVOLUTIONS = {
    "Convolution",
    "ConvolutionBackpropData",
    "GroupConvolution",
    "GroupConvolutionBackpropData",
}


def to_int8(graph: Any, patches: Sequence[NDArray[np.uint8]], float_layers: int) -> Any:
    """An int8 copy of an OpenVINO model.

    Args:
        graph: ``openvino.Model`` with float weights; not changed.
        patches: levels, uint8 C X Y Z, sides multiples of the network's divisor.
        float_layers: convolutions left in float at either end of the network.
    """
    nncf = import_nncf()
    names = [
        node.get_friendly_name()
        for node in graph.get_ordered_ops()
        if node.get_type_name() in _CONVOLUTIONS
    ]
    ends = [*names[:float_layers], *names[len(names) - float_layers :]]
    # NNCF draws progress bars on standard output and has no switch for it.
    with contextlib.redirect_stdout(io.StringIO()):
        return nncf.quantize(
            graph.clone(),
            nncf.Dataset([patch[None] for patch in patches]),
            subset_size=len(patches),
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(names=sorted(set(ends))),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
        )
