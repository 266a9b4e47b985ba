"""The card says what the description says, and what the model's author adds."""

from pathlib import Path

import pytest

import tiny_model
from gliodistill.errors import PackageError
from gliodistill.models import InferenceSettings, ModelPackage, Step
from gliodistill.models.card import read_sections
from gliodistill.preparation import Preparation

SECTIONS = """## Intended use

Research on *glioma*.

## Numbers

| sequences | Dice WT |
|---|---|
| all | 0.880 (0.850 … 0.905) |
"""


def headings(card: str) -> list[str]:
    return [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]


def test_sections_stand_between_what_the_model_is_and_how_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "sections.md").write_text(f"\n{SECTIONS}\n\n")
    package = tiny_model.export(
        tmp_path / "model", formats=["torch"], card=read_sections(tmp_path / "sections.md")
    )
    card = (package.folder / "README.md").read_text()
    assert f"\n\n{SECTIONS}\n## Use" in card
    assert headings(card) == [
        "Intended use",
        "Numbers",
        "Use",
        "Parity of the exports with the trained network",
    ]
    assert "\n\n\n" not in card
    assert ModelPackage.open(package.folder) == package


def test_a_changed_section_is_found(tmp_path: Path) -> None:
    package = tiny_model.export(tmp_path / "model", formats=["torch"], card=SECTIONS)
    card = package.folder / "README.md"
    card.write_text(card.read_text().replace("0.880", "0.980"))
    with pytest.raises(PackageError, match=r"README\.md: file does not match its SHA-256"):
        ModelPackage.open(package.folder)


@pytest.mark.parametrize("content", [b"", b"# Title\n\n## Use", b"Just words", b"## \xff"])
def test_what_is_no_section_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "card.md").write_bytes(content)
    with pytest.raises(PackageError, match=r"card\.md: card .*--card"):
        read_sections(tmp_path / "card.md")
    with pytest.raises(PackageError, match="cannot be read"):
        read_sections(tmp_path / "nowhere.md")


def test_without_sections_nothing_is_left_open(package: ModelPackage) -> None:
    card = (package.folder / "README.md").read_text()
    assert headings(card) == ["Use", "Parity of the exports with the trained network"]
    assert "\n\n\n" not in card


def test_says_what_is_drawn_and_what_is_cleaned_away(tmp_path: Path, package: ModelPackage) -> None:
    assert (
        "* Threshold: a voxel belongs to a region if its probability exceeds 0.5; clean-up: none.\n"
        in (package.folder / "README.md").read_text()
    )
    steps = (Step("drop_small_components", {"mm3": 2000}), Step("drop_small_et", {"mm3": 0.5}))
    settings = InferenceSettings((16, 16, 16), threshold=0.35, postprocessing=steps)
    card = (
        tiny_model.export(tmp_path / "model", formats=["torch"], inference=settings).folder
        / "README.md"
    ).read_text()
    assert (
        "exceeds 0.35; clean-up: `drop_small_components` (mm3 2000); `drop_small_et` (mm3 0.5).\n"
        in card
    )


def test_says_whether_bias_fields_are_taken_off(tmp_path: Path, package: ModelPackage) -> None:
    preparation = Preparation(spacing=(1.5, 1.5, 1.5), bias_mm=20.0)
    other = tiny_model.export(tmp_path / "model", formats=["torch"], preparation=preparation)
    assert (
        "* Grid: 1.5 × 1.5 × 1.5 mm, after bias-field correction (smoothness 20 mm)."
        in (other.folder / "README.md").read_text()
    )
    assert ModelPackage.open(other.folder).preparation == preparation
    assert "bias" not in (package.folder / "README.md").read_text()
