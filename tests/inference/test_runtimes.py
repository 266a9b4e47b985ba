"""What runs a model, and where."""

import json

import numpy as np
import pytest
import torch

import gliodistill as gd
import tiny_cohort
import tiny_model
from gliodistill.cli.main import run
from gliodistill.errors import PackageError
from gliodistill.inference.runtimes import RUNTIMES, open_runtime

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 4, 16, 16, 16), dtype=np.uint8)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return tiny_model.export(
        tmp_path_factory.mktemp("model") / "tiny", "unet", formats=("openvino", "torch")
    )


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_others_refuse_a_gpu_and_name_the_runtime_that_has_one(package, runtime):
    with pytest.raises(PackageError) as caught:
        open_runtime(runtime, package, device="cuda")
    error = caught.value
    assert (error.field, error.got, error.expected) == ("device", "cuda", "auto or cpu")
    assert error.hint == "use --runtime torch"


def test_a_device_that_no_runtime_has(package):
    with pytest.raises(PackageError, match="expected auto or cpu or cuda"):
        open_runtime("torch", package, device="tpu")


def test_auto_is_the_processor_where_there_is_no_gpu(package):
    there = torch.cuda.is_available()
    predictor = gd.load_model(package.folder, "torch", 1, "auto")
    assert predictor.device == ("cuda" if there else "cpu")
    assert gd.load_model(package.folder, device="auto", threads=1).device == "cpu"
    if not there:
        with pytest.raises(PackageError, match="no GPU that torch can use"):
            gd.load_model(package.folder, "torch", device="cuda")


def test_the_device_stands_in_the_result(package, tmp_path):
    data = tiny_cohort.write_cohort(tmp_path / "data", 1)
    words = ["segment", str(data), "-m", str(package.folder), "--runtime", "torch"]
    assert run([*words, "--device", "auto", "--threads", "1", "-o", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out" / "case_0.json").read_text())
    assert told["runtime"] == "torch" and told["device"] in ("cpu", "cuda")
    assert "plugins" not in told
    assert run([*words[:-1], "openvino", "--device", "cuda", "-o", str(tmp_path / "none")]) == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_answers_of_the_processor(package):
    gpu, cpu = (open_runtime("torch", package, device=name) for name in ("cuda", "cpu"))
    assert (gpu.device, cpu.device) == ("cuda", "cpu")
    # Float32 in both: TF32 would differ by 1e-3.
    np.testing.assert_allclose(gpu(IMAGE), cpu(IMAGE), rtol=1e-4, atol=1e-4)


def test_what_is_no_runtime_is_not_registered():
    with pytest.raises(ValueError, match="no RuntimeKind"):
        RUNTIMES.register("worse_example")(open_runtime)
