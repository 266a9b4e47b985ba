"""The models that come along: how they are found, and whether what is shipped keeps its promises."""

import json
from pathlib import Path

import numpy as np
import pytest

from gliodistill.errors import PackageError
from gliodistill.inference.runtimes import open_runtime
from gliodistill.models import ModelPackage
from gliodistill.models.card import read_card, scores
from gliodistill.models.shipped import DEFAULT, find_model, names, newest

SECTIONS = ("Intended use", "Data and licences", "What it has never seen", "Known failures")


def test_a_folder_is_itself(package: ModelPackage) -> None:
    assert find_model(package.folder) == find_model(str(package.folder)) == package.folder


def test_what_is_neither_folder_nor_name_lists_the_names(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"nothing: no such model.*gliodistill export") as caught:
        find_model(tmp_path / "nothing")
    assert all(name in str(caught.value.expected) for name in names())


def test_a_name_is_its_newest_version_and_a_copy_keeps_its_name(tmp_path: Path) -> None:
    assert find_model("glioma") == find_model(newest()["glioma"]) == find_model()
    copy = ModelPackage.open(find_model("glioma@1")).save(tmp_path / "copy")
    assert (copy.name, copy.identity) == ("glioma", "glioma@1")
    # The weights and the description of the first version, to the bit.
    assert copy.fingerprint.startswith("30ac240e45dbff7a")


def test_an_unknown_version_lists_those_there_are() -> None:
    with pytest.raises(PackageError, match=r"glioma@99: no such version of the model") as caught:
        find_model("glioma@99")
    assert "glioma@1" in str(caught.value.expected) and "newest" in str(caught.value)


def test_a_folder_without_a_model_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="not a model package"):
        ModelPackage.open(find_model(tmp_path))


@pytest.mark.parametrize("name", names())
def test_a_shipped_model_is_small_whole_and_named_as_its_folder(name: str) -> None:
    package = ModelPackage.open(find_model(name))
    assert package.name == name.partition("@")[0]
    assert package.identity == name
    assert set(scores(read_card(package.folder))["four sequences"]) == {"WT", "TC", "ET"}
    assert sum(file.stat().st_size for file in package.folder.iterdir()) <= 10_000_000
    files = {
        "model.json",
        "README.md",
        *(file for export in package.exports for file in export.files),
    }
    assert {file.name for file in package.folder.iterdir()} == files
    assert {export.runtime for export in package.exports} == {"openvino", "onnx"}
    assert package.find("onnx").weights == "shared-float16"


def test_the_default_takes_any_subset_and_gives_the_regions() -> None:
    package = ModelPackage.open(find_model())
    assert package.folder == find_model(DEFAULT)
    assert (
        [str(sequence) for sequence in package.spec.may_lack]
        == ["T1", "T1CE", "T2", "FLAIR"]
        == [str(s) for s in package.sequences]
    )
    assert package.spec.outputs.names == ("WT", "TC", "ET")


def test_both_runtimes_give_the_same_answer() -> None:
    pytest.importorskip("onnxruntime")
    package = ModelPackage.open(find_model())
    image = np.random.default_rng(1).integers(
        0, 256, (1, 4, *[2 * package.runtime.divisor] * 3), dtype=np.uint8
    )
    ours, theirs = (
        open_runtime("openvino", package, 1, "f32")(image),
        open_runtime("onnx", package, 1)(image),
    )
    np.testing.assert_allclose(ours, theirs, atol=0.01 * max(1, np.abs(theirs).max()))


def test_the_card_says_what_a_person_must_know_and_nothing_of_where_it_was_made() -> None:
    package = ModelPackage.open(find_model())
    card = (package.folder / "README.md").read_text()
    for section in SECTIONS:
        assert f"\n## {section}\n" in card
    assert "not a medical device" in card
    for file in package.folder.iterdir():
        assert not [
            word
            for word in (b"/work", b"/tmp", b"/home", b"site-packages")
            if word in file.read_bytes()
        ], file.name
    assert json.loads((package.folder / "model.json").read_text())["notice"]
