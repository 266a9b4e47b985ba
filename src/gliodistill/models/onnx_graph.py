"""The network as ONNX, with sides of any length, its weights in half precision and, where possible,
in the file of another graph.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gliodistill.errors import PackageError
from gliodistill.models.levels_input import LevelsInput

HALVED = 512
"""Least size of a tensor that is stored as float16; smaller ones (norms, biases, constants) save
nothing.
"""


def save_onnx(
    wrapped: LevelsInput, channels: int, divisor: int, path: Path, shared: Path | None = None
) -> bool:
    """Write the ONNX graph of a network: float16 weights that are cast to float32 at load, with
    dynamic batch and sides.

    Tracing with symbolic sides takes from ten seconds to minutes, as for every network of this
    size.

    Args:
        wrapped: the network, in evaluation mode.
        channels: of its input.
        divisor: of its sides.
        path: of the graph.
        shared: a file in the same folder, of the OpenVINO graph: weights with the same bytes are
            not written again but read from there, as ONNX external data.

    Returns:
        whether any weights are read from ``shared``.

    Raises:
        PackageError: torch cannot write this network as ONNX.
    """
    import onnx_ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    # Unequal sides and a batch of two, so that the tracer does not merge equal sizes.
    example = torch.full(
        (2, channels, 2 * divisor, 3 * divisor, 4 * divisor), 128, dtype=torch.uint8
    )
    free = dict.fromkeys((0, 2, 3, 4), torch.export.Dim.DYNAMIC)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                wrapped,
                (example,),
                dynamo=True,
                dynamic_shapes=(free,),
                input_names=["image"],
                output_names=["logits"],
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise PackageError(
            "torch cannot write this network as ONNX",
            field="--format",
            got=str(error).strip().splitlines()[0],
            hint="leave onnx out of --format",
        ) from error
    finally:
        logger.setLevel(level)
    assert program is not None  # dynamo always returns one
    ClearMetadataAndDocStringPass()(program.model)  # paths and lines of the exporting machine
    found = _halve(program.model.graph, shared)
    onnx_ir.save(program.model, path)
    return found


def _halve(graph: Any, shared: Path | None) -> bool:
    """Store the large weights of an ``onnx_ir.Graph`` as float16, cast back where they are used;
    runtimes do that once, at load.
    """
    import onnx_ir

    content, found = shared.read_bytes() if shared else b"", False
    casts = []
    for name, weight in list(graph.initializers.items()):
        if weight.dtype != onnx_ir.DataType.FLOAT or weight.const_value.size < HALVED:
            continue
        half = weight.const_value.numpy().astype(np.float16)
        tensor, offset = onnx_ir.tensor(half, name=name), content.find(half.tobytes())
        if shared and offset >= 0:
            found = True
            tensor = onnx_ir.ExternalTensor(
                shared.name,
                offset,
                half.nbytes,
                tensor.dtype,
                shape=onnx_ir.Shape(half.shape),
                name=name,
                base_dir=shared.parent,
            )
        full = onnx_ir.Value(
            name=f"{name}.float32", type=onnx_ir.TensorType(weight.dtype), shape=weight.shape
        )
        weight.replace_all_uses_with(full)
        casts.append(
            onnx_ir.node(
                "Cast", [weight], attributes={"to": onnx_ir.DataType.FLOAT}, outputs=[full]
            )
        )
        weight.const_value, weight.dtype = tensor, tensor.dtype
    graph.insert_before(graph[0], casts)
    return found
