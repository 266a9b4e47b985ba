"""Export of a trained network to a model package, with a parity check of every export."""

import copy
import os
import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gliodistill.errors import PackageError
from gliodistill.files import atomic_folder
from gliodistill.models.exports import FILES, Calibration, Export
from gliodistill.models.int8 import FLOAT_LAYERS, to_int8
from gliodistill.models.levels_input import LevelsInput
from gliodistill.models.onnx_graph import save_onnx
from gliodistill.models.package import ModelPackage, RuntimeNeeds, seal, versions_in_use
from gliodistill.models.parity import (
    MAX_RELATIVE_DIFFERENCE,
    MIN_DICE,
    Proof,
    Run,
    require_equal_logits,
)
from gliodistill.models.spec import ModelSpec
from gliodistill.models.telemetry import import_onnxruntime, import_openvino
from gliodistill.models.weights import digest, load_network, weights_as_bytes
from gliodistill.networks import Network, count_parameters
from gliodistill.networks.layers.subset_norm import SubsetNorm
from gliodistill.progress import track

FORMATS = ("openvino", "onnx", "torch")
DEFAULT_FORMATS = ("openvino", "torch")


@dataclass(frozen=True)
class Int8:
    """Settings of an int8 OpenVINO graph and its calibration data.

    Attributes:
        patches: prepared patches (uint8 C X Y Z) of training studies; parity must be measured on
            other studies.
        studies: how many studies the patches are from.
        default: whether this graph is OpenVINO's default.
        min_dice: least Dice of each region with the network's own output.
    """

    patches: Sequence[NDArray[np.uint8]]
    studies: int
    default: bool = False
    min_dice: float = MIN_DICE


def export_package(
    network: Network,
    spec: ModelSpec,
    out: str | os.PathLike[str],
    *,
    formats: Iterable[str] = DEFAULT_FORMATS,
    int8: Int8 | None = None,
    samples: Sequence[NDArray[np.uint8]] = (),
    limit: float = MAX_RELATIVE_DIFFERENCE,
    card: str = "",
) -> ModelPackage:
    """Write a model package: the network in one or more formats, card and description, atomically.

    Args:
        network: trained; not changed. ``spec.network`` must build the same architecture.
        spec: what the model is.
        out: new or empty folder.
        formats: some of ``FORMATS``.
        int8: adds a quantised OpenVINO graph.
        samples: prepared images (uint8 C X Y Z), a few, for comparing the exports in addition to
            random ones; int8 needs them.
        limit: largest logit difference allowed to a float export, relative to the largest logit (at
            least 1).
        card: more sections of the model card (:func:`~gliodistill.models.card.read_sections`).

    Raises:
        PackageError: an export and the network disagree, ``spec`` does not fit the network, weights
            are not finite, or no such format.
        OutputError: ``out`` exists or cannot be written.
    """
    formats = check_formats(formats, int8 is not None)
    _check_installed(formats, int8 is not None)
    stripped = copy.deepcopy(network).cpu().float().eval()
    stripped.strip()
    for module in stripped.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # in-place activations become several slow ONNX operations
        if isinstance(module, SubsetNorm):
            module.fold()
    _check_weights(stripped)
    wrapped, channels, weights = (
        LevelsInput(stripped),
        len(spec.sequences),
        weights_as_bytes(stripped),
    )
    proof = Proof(wrapped, spec, network.divisor, samples)
    exports: list[Export] = []
    with atomic_folder(out) as folder:
        for name in track(formats, "exporting"):
            weighed = next(w for runtime, w in FILES if runtime == name)
            path = folder / FILES[name, weighed][0]
            if name == "openvino":
                save_graph(wrapped, channels, network.divisor, path)
            elif name == "onnx":
                shared = FILES["openvino", "float16"][1]
                if save_onnx(
                    wrapped,
                    channels,
                    network.divisor,
                    path,
                    folder / shared if "openvino" in formats else None,
                ):
                    weighed = f"shared-{weighed}"
            else:
                path.write_bytes(weights)
            random, studies = proof.examine(_runner(name, path, spec))
            require_equal_logits(name, random, studies, limit=limit)
            exports.append(Export(name, weighed, random, studies))
        if int8 is not None:
            graph = convert(wrapped, channels, network.divisor)
            exports.insert(
                0 if int8.default else len(exports), _save_int8(graph, int8, proof, folder)
            )
        needs = RuntimeNeeds(
            network.divisor, bytes_per_voxel(stripped, channels), count_parameters(stripped)
        )
        versions = versions_in_use(
            "gliodistill",
            "torch",
            "openvino",
            *["onnx"] * ("onnx" in formats),
            *["nncf"] * (int8 is not None),
        )
        seal(folder, spec, needs, tuple(exports), digest(weights), versions, card)
        ModelPackage.open(folder)
    return ModelPackage.open(out)


def check_formats(formats: Iterable[str], int8: bool = False) -> tuple[str, ...]:
    """The formats in the order of ``FORMATS``.

    Raises:
        PackageError: one is unknown, there is none, or int8 is wanted without OpenVINO.
    """
    wanted = set(formats)
    if not wanted or wanted - set(FORMATS):
        got = ", ".join(sorted(wanted - set(FORMATS))) or "none"
        raise PackageError(
            "unknown format", field="--format", got=got, expected=f"some of {', '.join(FORMATS)}"
        )
    if int8 and "openvino" not in wanted:
        raise PackageError(
            "int8 is a precision of the OpenVINO graph",
            field="--int8",
            expected="openvino among --format",
        )
    return tuple(name for name in FORMATS if name in wanted)


def _check_installed(formats: Collection[str], int8: bool) -> None:
    needed = [
        *(("onnxscript", "onnxruntime") if "onnx" in formats else ()),
        *(("nncf",) if int8 else ()),
    ]
    for name in needed:
        if find_spec(name) is None:
            raise PackageError(
                "not installed",
                field=name,
                expected="onnx and int8 need it",
                hint="pip install 'gliodistill[export]'",
            )


def bytes_per_voxel(network: nn.Module, channels: int) -> int:
    """Memory of one pass in float32 per input voxel, from the sizes of the layers' outputs; a
    conservative estimate.

    The peak is at the concatenation of the finest maps: six of the largest output, and four float
    copies of the image. Compared with OpenVINO's measured peak: 160 against 123 bytes for ``fast``,
    832 against about 830 for ``nnunet``.
    """
    sizes: list[int] = []
    hooks = [
        module.register_forward_hook(
            lambda _m, _i, output: (
                sizes.append(output.numel()) if isinstance(output, torch.Tensor) else None
            )
        )
        for module in network.modules()
        if not list(module.children())
    ]
    side = 4 * getattr(network, "divisor", 1)
    try:
        with torch.inference_mode():
            network(torch.zeros(1, channels, side, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    return int(4 * (6 * max(sizes) / side**3 + 4 * channels))


def convert(wrapped: LevelsInput, channels: int, divisor: int) -> Any:
    """The network as an ``openvino.Model`` with float32 weights, for images of any sides."""
    openvino = import_openvino()
    # A cube; the parity check uses other shapes, which shows that no side is fixed in the graph.
    example = torch.full((1, channels, *[2 * divisor] * 3), 128, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The tracer warns of every shape read in Python; the parity check on other shapes decides.
        warnings.simplefilter("ignore")
        shape = openvino.PartialShape([-1, channels, -1, -1, -1])
        graph = openvino.convert_model(wrapped, example_input=example, input=[shape])
    graph.inputs[0].get_tensor().set_names({"image"})
    graph.outputs[0].get_tensor().set_names({"logits"})
    return graph


def save_graph(wrapped: LevelsInput, channels: int, divisor: int, path: Path) -> None:
    """Write the OpenVINO graph of a network, weights in float16, for images of any sides, without
    comparing the two.
    """
    import_openvino().save_model(convert(wrapped, channels, divisor), path, compress_to_fp16=True)


def _save_int8(graph: Any, wish: Int8, proof: Proof, folder: Path) -> Export:
    """Write the first int8 graph that passes the parity check: all layers quantised, else with the
    ends of the network in float.
    """
    path, worst = folder / FILES["openvino", "int8"][0], 0.0
    for float_layers in track(FLOAT_LAYERS, "quantising"):
        import_openvino().save_model(
            to_int8(graph, wish.patches, float_layers), path, compress_to_fp16=True
        )
        random, studies = proof.examine(_runner("openvino", path))
        if studies is None:
            raise PackageError(
                "no studies to compare the int8 graph on",
                field="--int8",
                hint="keep the cache of the run until the export",
            )
        worst = max(worst, min(studies.dice.values()))
        if min(studies.dice.values()) >= wish.min_dice:
            return Export(
                "openvino",
                "int8",
                random,
                studies,
                Calibration(wish.studies, len(wish.patches), float_layers),
            )
    raise PackageError(
        "int8 changes the output too much",
        field="--int8",
        got=f"Dice {worst:.4f} with the network's own segmentations in the worst region",
        expected=f"at least {wish.min_dice:g}",
        hint="export without --int8",
    )


def _runner(name: str, path: Path, spec: ModelSpec | None = None) -> Run:
    """A runtime for an export, in float32, so that only the graph and the rounding of weights
    differ.
    """
    if name == "openvino":
        model = (
            import_openvino().Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        )
        return lambda image: model(image, share_outputs=False)[0]
    if name == "onnx":
        session = import_onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda image: session.run(None, {"image": image})[0]
    assert spec is not None
    network = LevelsInput(load_network(path, spec.network)).eval()

    def run(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = network(torch.from_numpy(image)).numpy()
        return logits

    return run


def _check_weights(network: nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise PackageError(
                "weights are not finite",
                field=name,
                hint="the training diverged: export an earlier checkpoint",
            )
