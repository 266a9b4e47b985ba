"""The network as ONNX, with sides of any length."""

import logging
import warnings
from pathlib import Path

import torch

from gliodistill.errors import PackageError
from gliodistill.models.quantised import QuantisedInput


def save_onnx(wrapped: QuantisedInput, channels: int, divisor: int, path: Path) -> None:
    """Write the ONNX graph of a network: float32 weights, batch and sides dynamic.

    Tracing with symbolic sides takes from ten seconds to minutes, as it does for every network of this size.

    Raises:
        PackageError: torch cannot write this network as ONNX.
    """
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    # Unequal sides and a batch of two, lest sizes that happen to be equal be taken for one.
    example = torch.full((2, channels, 2 * divisor, 3 * divisor, 4 * divisor), 128, dtype=torch.uint8)
    free = dict.fromkeys((0, 2, 3, 4), torch.export.Dim.DYNAMIC)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                wrapped, (example,), dynamo=True, dynamic_shapes=(free,), input_names=["image"], output_names=["logits"], verbose=False
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
    ClearMetadataAndDocStringPass()(program.model)  # paths and lines of whoever exported
    program.save(path, external_data=False)
