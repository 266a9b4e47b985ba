"""From a trained network to a model package, refused where the exported graph does not compute the same."""

import copy
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from gliodistill.errors import PackageError
from gliodistill.files import atomic_folder
from gliodistill.models.package import GRAPH, WEIGHTS, ModelPackage, Parity, RuntimeNeeds, seal, versions_in_use
from gliodistill.models.quantised import QuantisedInput
from gliodistill.models.quiet import import_openvino
from gliodistill.models.spec import ModelSpec
from gliodistill.networks import Network, count_parameters
from gliodistill.preparation.quantise import quantise
from gliodistill.studies.labels import REGIONS

MAX_RELATIVE_DIFFERENCE = 0.02
"""Largest logit difference allowed, relative to the largest logit (at least 1). Half-precision weights cost ~0.001."""


def export_package(
    network: Network,
    spec: ModelSpec,
    out: str | os.PathLike[str],
    *,
    samples: Iterable[NDArray[np.uint8]] = (),
    limit: float = MAX_RELATIVE_DIFFERENCE,
) -> ModelPackage:
    """Write a model package: weights, OpenVINO graph, card and description, whole or not at all.

    Args:
        network: trained; not changed. ``spec.network`` must build its twin.
        spec: what the model is.
        out: new or empty folder.
        samples: prepared images (uint8 C X Y Z), a few, to compare the formats on beside random ones.
        limit: largest logit difference allowed, relative to the largest logit (at least 1).

    Raises:
        PackageError: the graph and the network disagree, ``spec`` does not fit the network, or weights are not finite.
        OutputError: ``out`` exists or cannot be written.
    """
    twin = copy.deepcopy(network).cpu().float().eval()
    twin.strip()
    _check_weights(twin)
    wrapped = QuantisedInput(twin)
    channels, divisor = len(spec.sequences), network.divisor
    images = [_random_image(channels, divisor, seed) for seed in range(2)] + [_padded(sample, divisor) for sample in samples]
    expected = [_run(wrapped, image, spec) for image in images]
    with atomic_folder(out) as folder:
        save_file({name: tensor.contiguous().clone() for name, tensor in twin.state_dict().items()}, folder / WEIGHTS)
        save_graph(wrapped, channels, divisor, folder / GRAPH)
        parity = compare(_run_graph(folder / GRAPH, images), expected, spec, "float16")
        scale = max(1.0, parity.max_abs_logit)
        if not parity.max_abs_difference <= limit * scale:
            raise PackageError(
                "exported graph disagrees with the network",
                file=out,
                field="openvino",
                got=f"logits differ by {parity.max_abs_difference:.3g}",
                expected=f"at most {limit * scale:.3g}",
                hint="do not use this export; report it with the recipe",
            )
        needs = RuntimeNeeds(divisor, bytes_per_voxel(twin, channels), count_parameters(twin))
        seal(folder, spec, needs, {"openvino": parity}, versions_in_use("gliodistill", "torch", "openvino"))
        ModelPackage.open(folder)
    return ModelPackage.open(out)


def compare(got: list[NDArray[np.float32]], expected: list[NDArray[np.float32]], spec: ModelSpec, weights: str) -> Parity:
    """Logits (K X Y Z each) of one format against those of the network."""
    difference = max(float(np.abs(g - e).max()) for g, e in zip(got, expected, strict=True))
    largest = max(float(np.abs(e).max()) for e in expected)
    common, total = np.zeros(len(REGIONS)), np.zeros(len(REGIONS))
    for g, e in zip(got, expected, strict=True):
        ours, theirs = (spec.outputs.region_logits(logits) > spec.inference.logit_threshold for logits in (g, e))
        common += (ours & theirs).sum(axis=(1, 2, 3))
        total += ours.sum(axis=(1, 2, 3)) + theirs.sum(axis=(1, 2, 3))
    dice = {region: float(2 * c / t) if t else 1.0 for region, c, t in zip(REGIONS, common, total, strict=True)}
    return Parity(weights, difference, largest, dice, len(expected))


def bytes_per_voxel(network: nn.Module, channels: int) -> int:
    """Memory of one pass in float32 per input voxel, from the sizes of the layers' outputs; an estimate on the high side.

    The peak lies where the finest maps are joined: six of the largest output, and four float copies of the image.
    Measured beside OpenVINO's own peak: 160 against 123 bytes for ``fast``, 832 against about 830 for ``nnunet``.
    """
    sizes: list[int] = []
    hooks = [
        module.register_forward_hook(lambda _m, _i, output: sizes.append(output.numel()) if isinstance(output, torch.Tensor) else None)
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


def _check_weights(network: nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise PackageError("weights are not finite", field=name, hint="the training diverged: export an earlier checkpoint")


def _run(wrapped: QuantisedInput, image: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.float32]:
    with torch.inference_mode():
        logits: NDArray[np.float32] = wrapped(torch.from_numpy(image)[None])[0].numpy()
    if len(logits) != len(spec.outputs.names) or logits.shape[1:] != image.shape[1:]:
        expected = f"{len(spec.outputs.names)} channels ({', '.join(spec.outputs.names)}) on {image.shape[1:]}"
        raise PackageError("network does not fit its description", field="outputs", got=logits.shape, expected=expected)
    return logits


def save_graph(wrapped: QuantisedInput, channels: int, divisor: int, path: Path) -> None:
    """Write the OpenVINO graph of a network, weights in float16, for images of any sides, without comparing the two."""
    openvino = import_openvino()
    # A cube: images of other shapes then prove in the parity that no side was frozen into the graph.
    example = torch.full((1, channels, *[2 * divisor] * 3), 128, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The tracer warns of every shape that Python reads; the parity on other shapes is what counts.
        warnings.simplefilter("ignore")
        shape = openvino.PartialShape([-1, channels, -1, -1, -1])
        graph = openvino.convert_model(wrapped, example_input=example, input=[shape])
    graph.inputs[0].get_tensor().set_names({"image"})
    graph.outputs[0].get_tensor().set_names({"logits"})
    openvino.save_model(graph, path, compress_to_fp16=True)


def _run_graph(path: Path, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
    """Logits of the written graph in float32: what differs then is the graph and the rounding of its weights."""
    model = import_openvino().Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [model(image[None], share_outputs=False)[0][0] for image in images]


def _random_image(channels: int, divisor: int, seed: int) -> NDArray[np.uint8]:
    """Levels with structure at the network's scales: noise in an ellipsoid on an empty background. Sides differ by seed."""
    rng = np.random.default_rng(seed)
    sides = np.roll([3, 2, 2], seed) * divisor
    axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in sides), indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.9
    coarse = rng.normal(size=(channels, *(side // divisor + 1 for side in sides)))
    smooth = coarse.repeat(divisor, 1).repeat(divisor, 2).repeat(divisor, 3)[:, : sides[0], : sides[1], : sides[2]]
    return quantise(smooth + 0.5 * rng.normal(size=smooth.shape), np.broadcast_to(inside, smooth.shape))


def _padded(image: NDArray[np.uint8], divisor: int) -> NDArray[np.uint8]:
    return np.pad(image, [(0, 0), *((0, -side % divisor) for side in image.shape[1:])])
