import pytest

import tiny_model
from gliodistill.models import ModelPackage


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """Draws what is bright: its right answer is known."""
    return tiny_model.export(tmp_path_factory.mktemp("voxelwise") / "model")


@pytest.fixture(scope="session")
def unet(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return tiny_model.export(tmp_path_factory.mktemp("unet") / "model", "unet")
