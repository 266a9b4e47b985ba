"""Two layers: what reads, prepares, segments and scores never loads torch; training alone does.
(Layers: ``lint-imports``.)
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = (
    "images",
    "studies",
    "studies.inspection",
    "phantom",
    "phantom.cohort",
    "preparation",
    "preparation.cache",
    "models",
    "models.shipped",
    "inference",
    "inference.predictor",
    "inference.batch",
    "inference.pseudo_labels",
    "evaluation",
    "evaluation.evaluate",
    "reports",
    "reports.page.html",
    "recipes.reading",
    "trust.flags",
    "cli.main",
)

BLOCK = """
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise AssertionError(f"{{name}} imported in the NumPy layer")

sys.meta_path.insert(0, Wall())
"""
TORCH_LAYER = ("torch", "monai", "safetensors", "jaxtyping")


def python(
    code: str, *arguments: str, blocked: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a new interpreter in which importing ``blocked`` fails."""
    text = (BLOCK.format(blocked=blocked) if blocked else "") + code
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", text, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )


def test_numpy_rooms_import_where_torch_is_not_installed() -> None:
    code = (
        "import importlib, sys\nfor room in sys.argv[1:]: importlib.import_module('gliodistill.' +"
        " room)"
    )
    assert python(code, *PACKAGES, blocked=TORCH_LAYER).stderr == ""


def test_public_names_of_the_numpy_layer_need_no_torch() -> None:
    """Every name of ``gliodistill`` but those of training is there without torch."""
    training = {"Experiment", "export", "losses", "methods", "networks", "train"}
    training |= {"segmentation_losses", "transforms"}
    code = (
        "import gliodistill\n"
        f"for name in set(gliodistill.__all__) - {training!r}: getattr(gliodistill, name)"
    )
    assert python(code, blocked=TORCH_LAYER).stderr == ""


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = json.loads(
        python("import gliodistill, json, sys; print(json.dumps(sorted(sys.modules)))").stdout
    )
    assert not {"numpy", "scipy", "nibabel", "pydantic", "openvino", "torch", "typer"} & set(loaded)


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("phantom",),
        ("inspect",),
        ("prepare",),
        ("recipes",),
        ("train",),
        ("export",),
        ("networks",),
        ("pseudo-label",),
        ("models",),
        ("segment",),
        ("evaluate",),
        ("compare",),
        ("demo",),
        ("serve",),
        ("pacs",),
    ],
)
def test_help_loads_nothing_heavy(command: tuple[str, ...]) -> None:
    code = (
        "import json, sys\nfrom gliodistill.cli.main import run\ncode = run([*sys.argv[1:],"
        " '--help'])\nprint('\\n' + json.dumps([code, sorted(sys.modules)]))"
    )
    done = python(code, *command)
    code, loaded = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    assert not {"numpy", "scipy", "nibabel", "yaml", "openvino", "torch"} & set(loaded)
    assert "Example: gliodistill" in done.stdout or not command


def test_segment_with_a_model_package_loads_no_torch(tmp_path: Path) -> None:
    """The whole command: study and package from disk, OpenVINO, label map to disk."""
    import tiny_model
    from gliodistill.images.nifti import write_nifti

    study = tiny_model.study()
    (tmp_path / "case").mkdir()
    for sequence, image in study.images.items():
        write_nifti(image, tmp_path / "case" / f"case_{sequence.lower()}.nii.gz")
    tiny_model.export(tmp_path / "model")
    code = "import sys\nfrom gliodistill.cli.main import run\nsys.exit(run(sys.argv[1:]))"
    words = (
        "segment",
        str(tmp_path / "case"),
        "-m",
        str(tmp_path / "model"),
        "-o",
        str(tmp_path / "out"),
        "--threads",
        "1",
    )
    done = python(code, *words, blocked=("torch", "monai", "safetensors"))
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "case.json",
        "case.nii.gz",
        "volumes.csv",
    ]


@pytest.mark.parametrize("command", ["train", "export"])
def test_training_without_torch_says_what_to_install(command: str, tmp_path: Path) -> None:
    """Where torch is missing (here: made to look so), the error says what to install."""
    code = (
        "import sys\nfor name in ('torch', 'safetensors', 'jaxtyping'): sys.modules[name] = None\n"
        "from gliodistill.cli.main import run\nsys.exit(run(sys.argv[1:]))"
    )
    words = (
        ["train", "demo", "--data", str(tmp_path)]
        if command == "train"
        else ["export", str(tmp_path)]
    )
    done = python(code, *words, "-o", str(tmp_path / "out"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "pip install 'gliodistill[train]'" in done.stderr
    assert not (tmp_path / "out").exists()
