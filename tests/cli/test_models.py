"""Models that come along, as a user meets them: on a copy of the program with a model in its box,
whatever this checkout ships.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import gliodistill
import tiny_model
from gliodistill.images.nifti import write_nifti
from gliodistill.models.shipped import names
from test_layers import python

Box = Callable[..., subprocess.CompletedProcess[str]]
SECTION = "## Intended use\n\nTests, *only* tests."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parent of a copy of the package that ships one model, and of a study."""
    root = tmp_path_factory.mktemp("box")
    source = Path(gliodistill.__file__).parent
    shutil.copytree(
        source,
        root / "gliodistill",
        ignore=lambda folder, _: names() if Path(folder).name == "shipped" else (),
    )
    (
        root / "gliodistill" / "models" / "shipped" / "half"
    ).mkdir()  # a folder that holds no model is none
    tiny_model.export(
        root / "gliodistill" / "models" / "shipped" / "glioma@1",
        card=SECTION,
        may_lack=tuple(tiny_model.MRSequence),
    )
    (root / "case").mkdir()
    for sequence, image in tiny_model.study().images.items():
        write_nifti(image, root / "case" / f"case_{sequence.lower()}.nii.gz")
    return root


@pytest.fixture
def box(home: Path) -> Box:
    """Call that copy's ``gliodistill``, without torch."""

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        code = (
            "import sys\nsys.path.insert(0, sys.argv.pop(1))\nfrom gliodistill.cli.main import"
            " run\nsys.exit(run(sys.argv[1:]))"
        )
        return python(code, str(home), *map(str, words), blocked=("torch", "monai", "safetensors"))

    return call


def test_segment_needs_no_model_named(box: Box, home: Path, tmp_path: Path) -> None:
    done = box("segment", home / "case", "-o", tmp_path / "out", "--threads", 1, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    by_default = json.loads(done.stdout)["done"]["case"]
    assert by_default["model"]["name"] == "glioma@1"
    assert by_default["volumes_ml"]["WT"] == pytest.approx(
        tiny_model.regions()[0].sum() / 1000, rel=0.05
    )
    named = box(
        "segment", home / "case", "-m", "glioma", "-o", tmp_path / "named", "--threads", 1, "--json"
    )
    assert json.loads(named.stdout)["done"]["case"]["model"] == by_default["model"]


def test_python_needs_no_model_named_either(home: Path) -> None:
    code = (
        "import sys\nsys.path.insert(0, sys.argv[1])\nimport gliodistill as gd\nfor model in"
        " (gd.load_model(threads=1), gd.load_model('glioma@1', threads=1), gd.Predictor()):"
        " print(model.package.folder)"
    )
    done = python(code, str(home), blocked=("torch",))
    assert (
        done.stdout.splitlines()
        == [str(home / "gliodistill" / "models" / "shipped" / "glioma@1")] * 3
    ), done.stderr


def test_pseudo_label_takes_a_name(box: Box, home: Path, tmp_path: Path) -> None:
    done = box(
        "pseudo-label",
        home / "case",
        "-m",
        "glioma",
        "-o",
        tmp_path / "out",
        "--threads",
        1,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["done"]) == ["case"]


def test_a_folder_of_something_else_does_not_hide_a_model(
    box: Box, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "glioma").mkdir()
    monkeypatch.chdir(tmp_path)
    assert box("models", "glioma").returncode == 0
    shutil.copytree(
        home / "gliodistill" / "models" / "shipped" / "glioma@1",
        tmp_path / "glioma",
        dirs_exist_ok=True,
    )
    assert json.loads(box("models", "glioma", "--json").stdout)["folder"] == "glioma"


def test_models_are_listed(box: Box, home: Path) -> None:
    listed = box("models")
    assert (listed.returncode, listed.stderr) == (0, "")
    shown = " ".join(listed.stdout.split())
    for fact in (
        "glioma@1 any of T1 T1CE T2 FLAIR",
        "WT TC ET",
        "openvino float16, torch float32",
        "WT 0.900, TC 0.800, ET 0.700",
        "glioma means glioma@1, the newest version",
    ):
        assert fact in shown
    told = json.loads(box("models", "--json").stdout)
    facts = told["models"]["glioma@1"]
    assert (list(told["models"]), told["default"]) == (["glioma@1"], "glioma")
    assert told["newest"] == {"glioma": "glioma@1"}
    assert facts["parameters"] == 4 * 3 + 3
    assert facts["bytes"] == sum(file.stat().st_size for file in Path(facts["folder"]).iterdir())
    assert facts["sequences"] == facts["may_lack"] == ["T1", "T1CE", "T2", "FLAIR"]


def test_a_name_prints_the_card_as_it_is_written(box: Box, home: Path) -> None:
    card = (home / "gliodistill" / "models" / "shipped" / "glioma@1" / "README.md").read_text()
    assert box("models", "glioma").stdout == card
    assert json.loads(box("models", "glioma", "--json").stdout)["card"] == card
    assert SECTION in card


def test_a_card_is_laid_out_on_a_terminal(terminal: Callable[..., str], model: Path) -> None:
    shown = terminal("models", model)
    assert "\x1b[" in shown and "Parity of the exports with the trained network" in shown
    assert "**" not in shown and "|---" not in shown


def test_unknown_names_list_the_known_ones(box: Box, tmp_path: Path) -> None:
    for words in (
        ("models", "gliona"),
        ("segment", tmp_path, "-m", "gliona", "-o", tmp_path / "out"),
    ):
        done = box(*words)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert (
        "gliona: no such model" in box("models", "gliona").stderr
        and "one of glioma, glioma@1" in box("models", "gliona").stderr
    )
    refused = box("models", "glioma@2").stderr
    assert "glioma@2: no such version of the model" in refused and "one of glioma@1" in refused


def test_sections_for_the_card_come_from_a_file(
    training: Path, program: Callable[..., object], tmp_path: Path
) -> None:
    (tmp_path / "card.md").write_text(SECTION)
    said = program(
        "export",
        training,
        "-o",
        tmp_path / "model",
        "--format",
        "torch",
        "--card",
        tmp_path / "card.md",
    )
    assert said.code == 0, said.err
    assert f"\n{SECTION}\n" in (tmp_path / "model" / "README.md").read_text()
    refused = program(
        "export",
        training,
        "-o",
        tmp_path / "bundle",
        "--format",
        "monai",
        "--card",
        tmp_path / "card.md",
    )
    assert refused.code == 1 and "--card" in refused.err
    (tmp_path / "card.md").write_text("# A title")
    refused = program("export", training, "-o", tmp_path / "other", "--card", tmp_path / "card.md")
    assert refused.code == 1 and "card without sections" in refused.err
    assert not (tmp_path / "other").exists() and not (tmp_path / "bundle").exists()
