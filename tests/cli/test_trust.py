"""What ``segment`` says of its own answers, and ``export --quality``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_model
from gliodistill.trust.expected_quality import QualityModel, RegionQuality


@pytest.fixture(scope="module")
def quality() -> QualityModel:
    return QualityModel("made up", 0.9, {"WT": RegionQuality(0.7, {}, 9, 9, 0.05, 0.1, 0.8)})


def test_predicted_dice_and_flags_are_said_and_change_nothing(
    program: Callable[..., object], cohort: Path, quality: QualityModel, tmp_path: Path
) -> None:
    model = tiny_model.export(tmp_path / "model", quality=quality).folder
    said = program("segment", cohort, "-m", model, "-o", tmp_path / "out")
    assert said.code == 0
    assert "predicted Dice" in said.out and "0.70 – –" in said.out
    assert "flagged: case_0: no tumour found: the segmented whole tumour is 0." in said.out
    told = program("segment", cohort, "-m", model, "-o", tmp_path / "json", "--json")
    answer = json.loads(told.out)["done"]["case_1"]["quality"]
    assert answer["predicted_dice"] == {"WT": 0.7, "TC": None, "ET": None}
    assert "no_tumour_found" in {flag["code"] for flag in answer["flags"]}
    assert json.loads((tmp_path / "json" / "case_1.json").read_text())["quality"] == answer


def test_a_model_without_says_nothing_of_dice(
    program: Callable[..., object], cohort: Path, model: Path, tmp_path: Path
) -> None:
    said = program("segment", cohort / "case_0", "-m", model, "-o", tmp_path / "out", "--json")
    assert json.loads(said.out)["done"]["case_0"]["quality"]["predicted_dice"] is None


def test_export_takes_quality_along(
    program: Callable[..., object], training: Path, quality: QualityModel, tmp_path: Path
) -> None:
    file = tmp_path / "quality.json"
    file.write_text(json.dumps(quality.to_dict()))
    assert (
        program(
            "export", training, "-o", tmp_path / "model", "--format", "openvino", "--quality", file
        ).code
        == 0
    )
    described = json.loads((tmp_path / "model" / "model.json").read_text())
    assert QualityModel.from_dict(described["quality"]) == quality
    assert "reference" not in described  # three studies are too few to know sequences by
    file.write_text("{}")
    refused = program("export", training, "-o", tmp_path / "other", "--quality", file)
    assert refused.code == 1 and "quality" in refused.err and len(refused.lines) == 1
    assert not (tmp_path / "other").exists()
