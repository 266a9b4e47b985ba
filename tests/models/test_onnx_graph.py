"""ONNX Runtime as the oracle of the ONNX export."""

from pathlib import Path

import numpy as np
import pytest

import tiny_model
from gliodistill.errors import PackageError
from gliodistill.images.nifti import write_nifti
from gliodistill.inference.runtimes import open_runtime
from gliodistill.models import ModelPackage
from test_floors import python

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return tiny_model.export(tmp_path_factory.mktemp("onnx") / "model", "unet", formats=["onnx", "torch"])


@pytest.mark.parametrize("shape", [(1, 8, 8, 8), (2, 22, 14, 30)])
def test_onnx_runtime_answers_as_torch_on_sides_of_any_length(package: ModelPackage, shape: tuple[int, ...]) -> None:
    batch, *sides = shape
    image = np.random.default_rng(1).integers(0, 256, (batch, 4, *sides), dtype=np.uint8)
    exported, reference = (open_runtime(name, package, 1)(image) for name in ("onnx", "torch"))
    assert exported.dtype == np.float32
    np.testing.assert_allclose(exported, reference, atol=1e-3 * max(1, np.abs(reference).max()))
    export = package.find("onnx")
    assert export.random.max_abs_difference < 1e-3 * max(1, export.random.max_abs_logit)


def test_the_graph_says_nothing_of_who_exported_it(package: ModelPackage) -> None:
    content = (package.folder / "model.onnx").read_bytes()
    for word in (b"site-packages", str(Path(__file__).parents[2]).encode(), b"stack_trace"):
        assert word not in content


def test_precisions_it_does_not_have_are_refused(package: ModelPackage) -> None:
    with pytest.raises(PackageError, match="no such precision"):
        open_runtime("onnx", package, precision="int8")


def test_a_graph_that_is_none_is_refused(tmp_path: Path) -> None:
    from gliodistill.inference.runtimes.onnx import OnnxRuntime

    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(PackageError, match="cannot read the graph"):
        OnnxRuntime(tmp_path / "model.onnx")


def test_a_study_is_segmented_where_only_onnx_runtime_is_installed(package: ModelPackage, tmp_path: Path) -> None:
    """Neither torch nor OpenVINO, nor what the command line needs."""
    (tmp_path / "case").mkdir()
    for sequence, image in tiny_model.study().images.items():
        write_nifti(image, tmp_path / "case" / f"case_{sequence.lower()}.nii.gz")
    code = (
        "import sys, gliodistill as gd\n"
        "model = gd.load_model(sys.argv[1], 'onnx', 1)\n"
        "model.segment(gd.Study.open(sys.argv[2])).save(sys.argv[3])"
    )
    words = (str(package.folder), str(tmp_path / "case"), str(tmp_path / "labels.nii.gz"))
    done = python(code, *words, blocked=("torch", "safetensors", "monai", "openvino", "scipy", "typer", "rich", "pydantic", "yaml"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "labels.nii.gz").exists()
