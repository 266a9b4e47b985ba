"""The wheel as a stranger gets it: built, installed where there is no torch, and used away from the
checkout.
"""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from gliodistill.models.shipped import names, newest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
LIMIT = 14_000_000
"""Bytes that the models may add to the wheel."""
UNREACHABLE = (
    "No matching distribution|Could not find a version|ConnectionError|NewConnectionError|Network"
    " is unreachable"
)


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program as if nothing of this checkout were on any path."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=900,
    )


def pip(python: str | Path, *words: str | Path, cwd: Path) -> None:
    """Run pip, and skip where it cannot fetch what it needs."""
    done = call(python, "-m", "pip", *words, "--quiet", "--disable-pip-version-check", cwd=cwd)
    if done.returncode and re.search(UNREACHABLE, done.stdout + done.stderr):
        pytest.skip("pip cannot fetch packages here")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--no-deps", ROOT, "--wheel-dir", folder, cwd=folder)
    (file,) = folder.glob("gliodistill-*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs of a fresh environment with nothing but the wheel and its dependencies
    are.
    """
    root = tmp_path_factory.mktemp("installed")
    venv.create(root / "env", with_pip=True)
    programs = root / "env" / "bin"
    pip(programs / "python", "install", wheel, "--constraint", ROOT / "constraints.txt", cwd=root)
    return programs


def test_the_wheel_holds_what_comes_along_and_nothing_else(wheel: Path) -> None:
    content = {info.filename: info.file_size for info in ZipFile(wheel).infolist()}
    assert {
        "gliodistill/models/shipped/__init__.py",
        "gliodistill/recipes/compression.yaml",
        "gliodistill/demo/teacher/model.bin",
        "gliodistill/demo/study.json",
    } <= set(content)
    assert not [name for name in content if re.search(r"runs/|tests/|\.pyc$|\.safetensors$", name)]
    models = {
        name: size
        for name, size in content.items()
        if name.startswith("gliodistill/models/shipped/") and not name.endswith(".py")
    }
    assert {name.split("/")[3] for name in models} == set(names())
    assert sum(models.values()) <= LIMIT


def test_a_study_is_segmented_without_torch_and_without_a_word_about_models(
    installed: Path, tmp_path: Path
) -> None:
    assert call(installed / "python", "-c", "import torch", cwd=tmp_path).returncode == 1
    program = installed / "gliodistill"

    def run(*words: str | Path) -> dict:
        done = call(program, *words, "--json", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    assert list(run("models")["models"]) == list(names())
    run("phantom", "studies", "-n", "1", "--seed", "3", "--spacing", "2", "--jobs", "1")
    segmented = run("segment", "studies", "-o", "out")
    (facts,) = segmented["done"].values()
    assert facts["model"]["name"] == newest()["glioma"]
    scores = run("evaluate", "out", "studies", "--jobs", "1", "-o", "scores")
    (study,) = scores["studies"].values()
    assert study["WT"]["dice"] > 0.5
