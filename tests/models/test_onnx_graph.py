"""ONNX Runtime as the oracle of the ONNX export."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import tiny_model
from gliodistill.errors import PackageError
from gliodistill.images.nifti import write_nifti
from gliodistill.inference.runtimes import open_runtime
from gliodistill.models import ModelPackage
from test_layers import python

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return tiny_model.export(
        tmp_path_factory.mktemp("onnx") / "model", "unet", formats=["onnx", "torch"]
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """The same network with an OpenVINO graph to share weights with."""
    return tiny_model.export(
        tmp_path_factory.mktemp("shared") / "model", "unet", formats=["openvino", "onnx"]
    )


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 8, 8, 8), (2, 22, 14, 30)])
def test_onnx_runtime_answers_as_torch_with_rounded_weights_on_sides_of_any_length(
    package: ModelPackage, shape: tuple[int, ...]
) -> None:
    import torch
    from safetensors.torch import load_file

    from gliodistill.models.levels_input import LevelsInput
    from gliodistill.networks import build

    batch, *sides = shape
    image = noise(batch, 4, *sides)
    network = build("unet", widths=[4, 8])
    network.strip()
    weights = load_file(package.folder / "model.safetensors")
    network.load_state_dict(
        {
            name: weight.half().float() if weight.numel() >= 512 else weight
            for name, weight in weights.items()
        }
    )
    with torch.inference_mode():
        reference = LevelsInput(network).eval()(torch.from_numpy(image)).numpy()
    exported = open_runtime("onnx", package, 1)(image)
    assert exported.dtype == np.float32
    np.testing.assert_allclose(exported, reference, atol=1e-4 * max(1, np.abs(reference).max()))
    export = package.find("onnx")
    assert (export.weights, export.files) == ("float16", ("model.onnx",))
    assert export.random.max_abs_difference < 5e-3 * max(1, export.random.max_abs_logit)


def test_weights_that_openvino_has_are_not_stored_twice(
    package: ModelPackage, shared: ModelPackage
) -> None:
    export = shared.find("onnx")
    assert (export.weights, export.files) == ("shared-float16", ("model.onnx", "model.bin"))
    content = (shared.folder / "model.bin").read_bytes()
    large = {}
    for tensor in onnx.load(
        shared.folder / "model.onnx", load_external_data=False
    ).graph.initializer:
        if np.prod(tensor.dims) >= 512:
            where = {entry.key: entry.value for entry in tensor.external_data}
            assert (tensor.data_type, where["location"]) == (onnx.TensorProto.FLOAT16, "model.bin")
            start = int(where["offset"])
            large[tensor.name] = content[start : start + int(where["length"])]
    from safetensors.numpy import load_file

    trained = load_file(package.folder / "model.safetensors")  # of the same seed
    expected = {
        f"network.{name}": weight.astype(np.float16).tobytes()
        for name, weight in trained.items()
        if weight.size >= 512
    }
    assert large == expected and len(expected) >= 2
    saved = (package.folder / "model.onnx").stat().st_size - (
        shared.folder / "model.onnx"
    ).stat().st_size
    assert saved > 0.9 * sum(map(len, expected.values()))
    image = noise(1, 4, 8, 10, 12)
    np.testing.assert_array_equal(
        *(open_runtime("onnx", model, 1)(image) for model in (package, shared))
    )


def test_onnx_itself_reads_both(package: ModelPackage, shared: ModelPackage) -> None:
    for model in (package, shared):
        onnx.checker.check_model(model.folder / "model.onnx", full_check=True)


def test_a_copy_and_hard_links_run_wherever_they_lie(
    shared: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installers that keep one copy of a wheel link its files into every environment."""
    copy, linked = shared.save(tmp_path / "copy"), tmp_path / "linked"
    linked.mkdir()
    for file in shared.folder.iterdir():
        os.link(file, linked / file.name)
    monkeypatch.chdir(tmp_path)
    image = noise(1, 4, 8, 8, 8)
    expected = open_runtime("onnx", shared, 1)(image)
    for model in (copy, ModelPackage.open(linked), ModelPackage.open("linked")):
        np.testing.assert_array_equal(open_runtime("onnx", model, 1)(image), expected)


def test_without_the_file_of_its_weights_it_is_no_package(
    shared: ModelPackage, tmp_path: Path
) -> None:
    folder = shared.save(tmp_path / "copy").folder
    (folder / "model.bin").unlink()
    with pytest.raises(PackageError, match=r"model\.bin: file missing"):
        ModelPackage.open(folder)


def test_a_package_with_float32_weights_is_read(package: ModelPackage, tmp_path: Path) -> None:
    """As gliodistill wrote them before; only what the description says is put back here."""
    folder = package.save(tmp_path / "copy").folder
    values = json.loads((folder / "model.json").read_text())
    assert values["exports"][0]["weights"] == "float16"
    values["exports"][0]["weights"] = "float32"
    text = json.dumps(values).replace(values["files"]["model.json"], "0" * 64)
    (folder / "model.json").write_text(
        text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest())
    )
    opened = ModelPackage.open(folder)
    assert (opened.find("onnx").weights, opened.find("onnx").files) == ("float32", ("model.onnx",))
    assert open_runtime("onnx", opened, 1)(noise(1, 4, 8, 8, 8)).shape == (1, 3, 8, 8, 8)


def test_the_graph_says_nothing_of_who_exported_it(
    package: ModelPackage, shared: ModelPackage
) -> None:
    for model in (package, shared):
        content = (model.folder / "model.onnx").read_bytes()
        for word in (
            b"site-packages",
            str(Path(__file__).parents[2]).encode(),
            str(model.folder.parent).encode(),
            b"stack_trace",
        ):
            assert word not in content


def test_precisions_it_does_not_have_are_refused(package: ModelPackage) -> None:
    with pytest.raises(PackageError, match="no such precision"):
        open_runtime("onnx", package, precision="int8")


def test_a_graph_that_is_none_is_refused(tmp_path: Path) -> None:
    from gliodistill.inference.runtimes.onnx import OnnxRuntime

    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(PackageError, match="cannot read the graph"):
        OnnxRuntime(tmp_path / "model.onnx")


def test_a_study_is_segmented_where_only_onnx_runtime_is_installed(
    shared: ModelPackage, tmp_path: Path
) -> None:
    """Neither torch nor OpenVINO, nor what the command line needs but YAML; the weights come out of
    OpenVINO's file all the same.
    """
    (tmp_path / "case").mkdir()
    for sequence, image in tiny_model.study().images.items():
        write_nifti(image, tmp_path / "case" / f"case_{sequence.lower()}.nii.gz")
    code = (
        "import sys, gliodistill as gd\n"
        "model = gd.load_model(sys.argv[1], 'onnx', 1)\n"
        "model.segment(gd.Study.open(sys.argv[2])).save(sys.argv[3])"
    )
    words = (str(shared.folder), str(tmp_path / "case"), str(tmp_path / "labels.nii.gz"))
    done = python(
        code,
        *words,
        blocked=(
            "torch",
            "safetensors",
            "monai",
            "openvino",
            "scipy",
            "typer",
            "rich",
            "pydantic",
        ),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "labels.nii.gz").exists()
