"""A quantised graph is smaller, close to the network, and refused where it is not."""

from pathlib import Path

import numpy as np
import pytest

import tiny_model
from gliodistill.errors import PackageError
from gliodistill.inference.runtimes import open_runtime
from gliodistill.models import ModelPackage
from gliodistill.models.export import Int8, export_package
from gliodistill.networks import build
from gliodistill.preparation import Preparation

pytest.importorskip("nncf")


def write(out: Path, **wish: object) -> ModelPackage:
    """A model that draws what is bright, on halves of one study: to calibrate on the one, to
    compare on the other.
    """
    image = Preparation().apply(tiny_model.study()).image
    patches = [image[:, :16, start : start + 16, 12:28] for start in (0, 8, 16)]
    spec = tiny_model.spec()
    return export_package(
        build(spec.network.name), spec, out, int8=Int8(patches, 1, **wish), samples=[image[:, 16:]]
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return write(tmp_path_factory.mktemp("int8") / "model")


def test_the_package_says_how_it_was_quantised(package: ModelPackage) -> None:
    export = package.exports[-1]
    assert (export.runtime, export.weights, export.files) == (
        "openvino",
        "int8",
        ("model-int8.xml", "model-int8.bin"),
    )
    assert export.calibration is not None and (
        export.calibration.studies,
        export.calibration.patches,
    ) == (1, 3)
    assert export.studies is not None and min(export.studies.dice.values()) >= 0.99
    assert "calibrated on 3 patches" in (package.folder / "README.md").read_text()


def test_float_is_the_default_unless_told_otherwise(package: ModelPackage, tmp_path: Path) -> None:
    assert package.find("openvino").weights == "float16"
    assert write(tmp_path / "model", default=True).find("openvino").weights == "int8"


def test_precision_chooses_the_graph(package: ModelPackage) -> None:
    image = Preparation().apply(tiny_model.study()).image[None, :, :36, :36, :32]
    exact, rough = (
        open_runtime("openvino", package, 1, precision)(image) for precision in ("f32", "int8")
    )
    reference = open_runtime("torch", package, 1)(image)
    assert np.abs(exact - reference).mean() < np.abs(rough - reference).mean() < 0.05


def test_answers_that_change_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"int8 changes the output.*at least 1\.1"):
        write(tmp_path / "model", min_dice=1.1)
    assert list(tmp_path.iterdir()) == []
