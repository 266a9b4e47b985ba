"""A package beside gliodistill, really installed, adds a network, a loss and a method; recipes use
them by name.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import tiny_cohort

PACKAGE = Path(__file__).parent / "glioplug"
RUNS = {
    "teacher": {"network": tiny_cohort.STUDENT, "seed": 7},
    "baseline": {"network": {"name": "plug_net", "options": {"width": 5}}},
    "distilled": {
        "network": {"name": "plug_net", "options": {"width": 5}},
        "method": {"name": "plug_method", "options": {"teacher": "teacher", "share": 0.25}},
    },
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """An environment in which the package is installed, and no other test's process."""
    pytest.importorskip("setuptools")
    target = tmp_path_factory.mktemp("site")
    copy = tmp_path_factory.mktemp("source") / "glioplug"  # building leaves files beside the source
    shutil.copytree(PACKAGE, copy)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Built by the setuptools that is here: nothing is fetched.
    done = subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", str(target), str(copy)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    paths = [str(target), *filter(None, [os.environ.get("PYTHONPATH")]), *sys.path]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def gliodistill(environment: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gliodistill", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
    )


def test_a_recipe_names_them_and_the_student_is_exported(installed, tmp_path):
    data = tiny_cohort.write_cohort(tmp_path / "data")
    recipe = tmp_path / "plug.yaml"
    recipe.write_text(yaml.safe_dump(tiny_cohort.values(RUNS), sort_keys=False))
    run = tmp_path / "run"
    trained = gliodistill(installed, "train", recipe, "--data", data, "-o", run, "--json")
    assert trained.returncode == 0, trained.stderr
    lines = (run / "distilled" / "log.jsonl").read_text().splitlines()
    assert set(json.loads(lines[-1])["loss"]) == {"segmentation", "plug_loss"}
    exported = gliodistill(installed, "export", run / "distilled", "-o", tmp_path / "model")
    assert exported.returncode == 0, exported.stderr
    # The OpenVINO graph needs nothing of the package: a clinic runs the student without it.
    plain = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    out = tmp_path / "out"
    used = gliodistill(plain, "segment", data / "case_0", "-m", tmp_path / "model", "-o", out)
    assert used.returncode == 0, used.stderr
    assert (out / "case_0.nii.gz").exists()


def test_without_the_package_its_names_are_unknown(tmp_path):
    data = tiny_cohort.write_cohort(tmp_path / "data", 1)
    recipe = tmp_path / "plug.yaml"
    recipe.write_text(yaml.safe_dump(tiny_cohort.values(RUNS), sort_keys=False))
    plain = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    said = gliodistill(plain, "train", recipe, "--data", data, "-o", tmp_path / "run")
    assert said.returncode == 1
    assert "unknown network" in said.stderr and "plug_net" in said.stderr


def test_a_package_that_is_broken_is_named(installed, tmp_path):
    folder = tmp_path / "broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[gliodistill.networks]\nworse = nowhere:Net\n")
    environment = installed | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), installed["PYTHONPATH"]])
    }
    said = gliodistill(environment, "networks")
    assert said.returncode == 1
    assert "plug-in of package broken cannot be loaded" in said.stderr
    assert (
        "gliodistill.networks: worse" in said.stderr and "No module named 'nowhere'" in said.stderr
    )
