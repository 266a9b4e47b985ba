from collections.abc import Iterator
from pathlib import Path

import pytest

import tiny_model
from gliodistill.images import write_nifti
from served import Served


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Segments what is bright; its right answer is known."""
    return tiny_model.export(tmp_path_factory.mktemp("voxelwise") / "model").folder


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a prepared study."""
    folder = tmp_path_factory.mktemp("studies") / "anna"
    folder.mkdir()
    for sequence, image in tiny_model.study().images.items():
        write_nifti(image, folder / f"anna_{sequence.lower()}.nii.gz")
    return folder


@pytest.fixture(scope="session")
def files(study: Path) -> dict[str, bytes]:
    """As a browser names and sends them."""
    return {f"anna/{file.name}": file.read_bytes() for file in sorted(study.iterdir())}


@pytest.fixture(scope="session")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    for module in ("fastapi", "uvicorn"):
        pytest.importorskip(module, reason="pip install 'gliodistill[serve]'")
    # One level down: what escapes the server's folder lands in a folder nobody else writes to.
    root = tmp_path_factory.mktemp("served") / "root"
    root.mkdir()
    served = Served(root, "-m", str(model), "-m", "glioma")
    yield served
    assert served.stop() == 0
    assert (served.root / "log").read_text() == ""
