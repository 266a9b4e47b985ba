from pathlib import Path

import pytest

import tiny_model
from gliodistill.models import ModelPackage


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return tiny_model.export(tmp_path_factory.mktemp("package") / "model", "unet")


@pytest.fixture
def folder(package: ModelPackage, tmp_path: Path) -> Path:
    return package.save(tmp_path / "copy").folder
