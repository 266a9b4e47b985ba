"""A package beside gliodistill, really installed, adds one of each; recipes and options use them by name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

import tiny_cohort
from gliodistill.images import Volume, write_nifti

PACKAGE = Path(__file__).parent / "glioplug"
RUNS = {
    "teacher": {"network": tiny_cohort.STUDENT, "seed": 7},
    "baseline": {"network": {"name": "plug_net", "options": {"width": 5}}},
    "distilled": {
        "network": {"name": "plug_net", "options": {"width": 5}},
        "method": {
            "name": "plug_method",
            "options": {"teacher": {"plug_teacher": 500, "doubt": 0.05}, "share": 0.25},
        },
        "segmentation_loss": {"name": "plug_segmentation", "options": {"scale": 2.0}},
        "augmentation": {"others": {"plug_transform": {"p": 0.5, "most": 1.5}}},
    },
}
ADDED = {
    "networks": "plug_net",
    "losses": "plug_loss",
    "segmentation-losses": "plug_segmentation",
    "methods": "plug_method",
    "teachers": "plug_teacher",
    "transforms": "plug_transform",
    "layouts": "plug_layout",
    "label-conventions": "plug_labels",
    "runtimes": "plug_runtime",
    "postprocessing": "plug_rule",
}
CODES = {0: 0, 1: 20, 2: 10, 4: 30}
"""BraTS 2021 → ``plug_labels``."""


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


def write_plug_cohort(root: Path, n: int) -> Path:
    """Studies in the layout and the codes that the package adds."""
    (root / "scans").mkdir(parents=True)
    for seed in range(n):
        images, codes = tiny_cohort.arrays(seed)
        for sequence, image in images.items():
            file = root / "scans" / f"case_{seed}__{sequence}.nii.gz"
            write_nifti(Volume(image, tiny_cohort.AFFINE), file)
        mask = np.vectorize(CODES.get)(codes).astype(np.uint8)
        write_nifti(Volume(mask, tiny_cohort.AFFINE), root / "scans" / f"case_{seed}__mask.nii.gz")
    return root


def test_everything_it_adds_is_listed_with_where_it_comes_from(installed):
    said = gliodistill(installed, "list", "--json")
    assert said.returncode == 0, said.stderr
    listed = json.loads(said.stdout)
    added = {
        kind: [(name, one["package"]) for name, one in items.items() if one["package"]]
        for kind, items in listed.items()
    }
    assert added == {kind: [(name, "glioplug 1.0")] for kind, name in ADDED.items()}
    assert listed["postprocessing"]["plug_rule"]["summary"].startswith("ET of less than this share")


def test_from_its_layout_to_its_rule(installed, tmp_path):
    """Its data, trained with its parts, exported, segmented by its runtime and its rule."""
    data = write_plug_cohort(tmp_path / "data", 3)
    recipe = tmp_path / "plug.yaml"
    recipe.write_text(yaml.safe_dump(tiny_cohort.values(RUNS), sort_keys=False))
    run = tmp_path / "run"
    trained = gliodistill(installed, "train", recipe, "--data", data, "-o", run, "--json")
    assert trained.returncode == 0, trained.stderr
    lines = (run / "distilled" / "log.jsonl").read_text().splitlines()
    assert set(json.loads(lines[-1])["loss"]) == {"segmentation", "plug_loss"}
    assert json.loads((run / "data.json").read_text())["convention"] == "plug_labels"
    summary = json.loads((run / "distilled" / "summary.json").read_text())
    assert summary["plugins"] == {
        "network plug_net": "glioplug 1.0",
        "method plug_method": "glioplug 1.0",
        "segmentation loss plug_segmentation": "glioplug 1.0",
        "transform plug_transform": "glioplug 1.0",
        "teacher plug_teacher": "glioplug 1.0",
    }
    assert "plugins" not in json.loads((run / "teacher" / "summary.json").read_text())

    model = tmp_path / "model"
    exported = gliodistill(
        installed, "export", run / "distilled", "-o", model, "--clean-up", "plug_rule=1"
    )
    assert exported.returncode == 0, exported.stderr
    out = tmp_path / "out"
    used = gliodistill(
        installed, "segment", data, "-m", model, "-o", out, "--runtime", "plug_runtime"
    )
    assert used.returncode == 0, used.stderr
    told = json.loads((out / "case_0.json").read_text())
    assert told["plugins"] == {
        "runtime plug_runtime": "glioplug 1.0",
        "postprocessing plug_rule": "glioplug 1.0",
    }
    assert (told["runtime"], told["device"]) == ("plug_runtime", "cpu")
    assert told["labels"]["convention"] == "plug_labels"
    labels = np.asarray(nib.load(out / "case_0.nii.gz").dataobj)
    assert set(np.unique(labels)) <= {0, 10, 20}  # its rule left no 30
    assert told["volumes_ml"]["ET"] == 0

    # The graph needs nothing of the package: a clinic runs the student without it, but for the
    # rule, which is named.
    plain = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    brats = tiny_cohort.write_cohort(tmp_path / "brats", 1)
    asked = ["segment", brats / "case_0", "-m", model, "-o", tmp_path / "clinic"]
    refused = gliodistill(plain, *asked)
    assert refused.returncode == 1
    assert "plug_rule" in refused.stderr and "install the package that adds" in refused.stderr
    assert gliodistill(plain, *asked, "--no-postprocessing").returncode == 0
    assert (tmp_path / "clinic" / "case_0.nii.gz").exists()


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
