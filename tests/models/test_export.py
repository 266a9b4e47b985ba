from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiny_model
from gliodistill.errors import OutputError, PackageError
from gliodistill.inference.runtimes import open_runtime
from gliodistill.models import ModelPackage, NetworkSpec, OutputChannels
from gliodistill.models.export import check_formats, export_package
from gliodistill.models.levels_input import LevelsInput
from gliodistill.networks import Network, build
from gliodistill.networks.layers.subset_norm import SubsetNorm
from gliodistill.preparation import dequantise


class Through(Network):
    """Gives back its input."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x,)


def test_graph_reads_levels_as_preparation_does() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 4, 4)
    read = LevelsInput(Through())(torch.from_numpy(levels)).numpy()
    np.testing.assert_allclose(read, dequantise(levels), atol=1e-6)
    assert read[0, 0, 0, 0, 0] == 0.0


def test_weights_are_those_of_the_network_and_the_network_is_left_alone(tmp_path: Path) -> None:
    network = build("unet", widths=[4, 8]).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    package = export_package(network, tiny_model.spec("unet"), tmp_path / "model")
    stored = load_file(package.folder / "model.safetensors")
    assert network.training
    for name, tensor in before.items():
        assert torch.equal(stored[name], tensor)
        assert torch.equal(network.state_dict()[name], tensor)


@pytest.mark.parametrize("shape", [(8, 8, 8), (22, 14, 30)])
def test_runtimes_agree(package: ModelPackage, shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 4, *shape), dtype=np.uint8)
    exported, reference = (open_runtime(name, package, 1)(image) for name in ("openvino", "torch"))
    assert exported.dtype == reference.dtype == np.float32
    assert exported.shape == (1, 3, *shape)
    np.testing.assert_allclose(exported, reference, atol=0.02 * max(1, np.abs(reference).max()))


def test_every_runtime_knows_which_sequences_are_missing(tmp_path: Path) -> None:
    """Norms with statistics for each subset: what they do is part of the graph."""
    torch.manual_seed(0)
    network = build("unet", widths=[4, 8], norm="subset").eval()
    for module in network.modules():
        if isinstance(module, SubsetNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            module.running_var[:, :2] += 1e5  # beyond half precision
            module.weight.data[:2] *= 300
    spec = replace(
        tiny_model.spec("unet"), network=NetworkSpec("unet", {"widths": [4, 8], "norm": "subset"})
    )
    package = export_package(
        network, spec, tmp_path / "model", formats=["openvino", "onnx", "torch"]
    )
    whole = np.random.default_rng(1).integers(1, 256, (1, 4, 8, 12, 8), dtype=np.uint8)
    answers = []
    for missing in ([], [0], [0, 1, 2]):
        image = whole.copy()
        image[:, missing] = 0
        z = torch.from_numpy(dequantise(image))
        with torch.no_grad():
            answers.append(network(z)[0].numpy())
        for runtime in ("openvino", "onnx", "torch"):
            got = open_runtime(runtime, package, 1)(image)
            np.testing.assert_allclose(
                got, answers[-1], atol=0.03 * max(1, np.abs(answers[-1]).max())
            )
    assert np.abs(answers[1] - answers[0]).max() > 0.1


def test_parity_is_measured_on_samples_too(tmp_path: Path) -> None:
    sample = np.random.default_rng(2).integers(0, 256, (4, 9, 11, 7), dtype=np.uint8)
    package = export_package(
        build("unet", widths=[4, 8]), tiny_model.spec("unet"), tmp_path / "model", samples=[sample]
    )
    openvino, weights = package.exports
    assert (openvino.runtime, weights.runtime) == ("openvino", "torch")
    assert openvino.studies is not None and (openvino.random.images, openvino.studies.images) == (
        3,
        1,
    )
    for agreement in (openvino.random, openvino.studies):
        assert 0 < agreement.max_abs_difference < 0.02 * max(1, agreement.max_abs_logit)
        assert all(dice > 0.98 for dice in agreement.dice.values())
    assert weights.max_abs_difference < 1e-5


def test_disagreement_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="disagrees"):
        export_package(
            build("unet", widths=[4, 8]), tiny_model.spec("unet"), tmp_path / "model", limit=0.0
        )
    assert list(tmp_path.iterdir()) == []


def test_diverged_weights_are_refused(tmp_path: Path) -> None:
    network = build("unet", widths=[4, 8])
    with torch.no_grad():
        network.head.bias[0] = float("nan")
    with pytest.raises(PackageError, match=r"not finite.*head\.bias"):
        export_package(network, tiny_model.spec("unet"), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_network_that_does_not_fit_its_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="does not fit its description"):
        export_package(
            build("unet", widths=[4, 8], out_channels=2),
            tiny_model.spec("unet"),
            tmp_path / "model",
        )


def test_unwritable_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        tiny_model.export(tmp_path / "file" / "model")


def test_a_description_of_another_network_is_refused(tmp_path: Path) -> None:
    spec = tiny_model.spec("unet", network=NetworkSpec("unet", {"widths": [4, 4]}))
    with pytest.raises(PackageError, match="weights do not fit"):
        export_package(build("unet", widths=[4, 8]), spec, tmp_path / "model")
    package = export_package(
        build("unet", widths=[4, 8]), spec, tmp_path / "model", formats=["openvino"]
    )
    with pytest.raises(PackageError, match="no export for torch"):
        open_runtime("torch", package)


@pytest.mark.parametrize(
    ("formats", "int8"), [((), False), (("openvino", "tflite"), False), (("torch",), True)]
)
def test_formats_that_do_not_exist_are_refused(formats: tuple[str, ...], int8: bool) -> None:
    with pytest.raises(PackageError, match="format"):
        check_formats(formats, int8)


def test_what_is_wanted_is_what_is_written(tmp_path: Path) -> None:
    package = tiny_model.export(tmp_path / "model", formats=["torch"])
    assert {file.name for file in package.folder.iterdir()} == {
        "model.json",
        "model.safetensors",
        "README.md",
    }
    with pytest.raises(PackageError, match=r"no export for openvino.*torch"):
        open_runtime("openvino", package)


def test_classes_add_up_to_regions() -> None:
    outputs = OutputChannels("classes", ("background", "ED", "NCR", "ET"))
    logits = np.random.default_rng(4).normal(0, 3, (4, 6, 6, 6)).astype(np.float32)
    probability = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(axis=0)
    expected = np.stack([probability[1:].sum(axis=0), probability[2:].sum(axis=0), probability[3]])
    np.testing.assert_allclose(
        outputs.region_logits(logits), np.log(expected / (1 - expected)), rtol=1e-3, atol=1e-4
    )


def test_classes_without_a_tissue_never_draw_its_region() -> None:
    outputs = OutputChannels("classes", ("background", "ED"))
    assert np.isneginf(outputs.region_logits(np.ones((2, 2, 2, 2), np.float32))[1:]).all()
