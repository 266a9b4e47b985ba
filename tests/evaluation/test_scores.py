"""Scores: one study, the summary, and JSON there and back."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from gliodistill.errors import EvaluationError, OutputError
from gliodistill.evaluation.calibration import Reliability
from gliodistill.evaluation.rules import METRICS, get_rules
from gliodistill.evaluation.scores import Scores, StudyScores, score_study
from gliodistill.studies.labels import REGIONS

PLAIN = get_rules("plain")


def regions(seed: int, shape: tuple[int, int, int] = (9, 8, 7)) -> np.ndarray:
    return (
        np.random.default_rng(seed).random((3, *shape))
        > np.array([0.5, 0.7, 0.85])[:, None, None, None]
    )


def example() -> Scores:
    empty = np.zeros((3, 9, 8, 7), dtype=bool)
    truth = regions(9)
    studies = {
        "b": score_study(regions(1), truth, (1, 1, 2)),
        "a": score_study(empty, empty, (1, 1, 2)),
        "c": score_study(empty, truth, (1, 1, 2)),
    }
    curve = Reliability.of(
        np.linspace(0, 1, 50).reshape(5, 5, 2), np.arange(50).reshape(5, 5, 2) > 30
    ).bins
    return Scores(
        PLAIN, studies, {"d": "c.nii.gz: truncated"}, {"truth_labels": "brats2021"}, {"WT": curve}
    )


def test_score_study_by_set_arithmetic() -> None:
    prediction, truth = regions(1), regions(2)
    scores = score_study(prediction, truth, (0.5, 2, 3))
    assert tuple(scores) == REGIONS
    for channel, region in enumerate(REGIONS):
        found, real = ({tuple(p) for p in np.argwhere(m[channel])} for m in (prediction, truth))
        assert scores[region]["dice"] == pytest.approx(
            2 * len(found & real) / (len(found) + len(real))
        )
        assert scores[region]["sensitivity"] == pytest.approx(len(found & real) / len(real))
        assert scores[region]["prediction_ml"] == pytest.approx(len(found) * 3 / 1000)
        assert scores[region]["truth_ml"] == pytest.approx(len(real) * 3 / 1000)


def test_cropping_what_is_outside_changes_nothing() -> None:
    prediction, truth = regions(1), regions(2)
    padded = [np.pad(m, ((0, 0), (4, 1), (0, 6), (3, 3))) for m in (prediction, truth)]
    cropped = score_study(prediction, truth, (1, 1.5, 2), image=padded[0][0].shape)
    whole = score_study(*padded, (1, 1.5, 2))
    for region in REGIONS:
        assert cropped[region] == pytest.approx(whole[region], abs=1e-12)


def test_an_oblique_grid_gives_its_own_voxel_volume() -> None:
    scores = score_study(regions(1), regions(2), (1, 1, 1), voxel_ml=0.5)
    assert scores["WT"]["truth_ml"] == pytest.approx(regions(2)[0].sum() * 0.5)


@pytest.mark.parametrize(
    ("prediction", "truth", "spacing"),
    [
        (np.zeros((3, 4, 4, 4), bool), np.zeros((3, 4, 4, 5), bool), (1, 1, 1)),
        (np.zeros((2, 4, 4, 4), bool), np.zeros((2, 4, 4, 4), bool), (1, 1, 1)),
        (np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool), (1, 1, 1)),
        (np.zeros((3, 4, 4, 4), bool), np.zeros((3, 4, 4, 4), bool), (1, 1)),
        (np.zeros((3, 4, 4, 4), bool), np.zeros((3, 4, 4, 4), bool), (1, 0, 1)),
        (np.zeros((3, 4, 4, 4), bool), np.zeros((3, 4, 4, 4), bool), (1, float("nan"), 1)),
    ],
)
def test_what_cannot_be_compared_is_refused(
    prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...]
) -> None:
    with pytest.raises(EvaluationError, match=r"got .*expected "):
        score_study(prediction, truth, spacing)


def test_summary_leaves_out_what_is_undefined() -> None:
    scores = example()
    for region in REGIONS:
        for metric in METRICS:
            values = np.array(
                [v for s in scores.studies.values() if (v := s[region][metric]) is not None]
            )
            summary = scores.summary[region][metric]
            if metric in ("ece", "brier"):  # no probabilities
                assert summary == {"mean": None, "median": None, "std": None, "n": 0}
                continue
            assert summary["n"] == len(values)
            assert summary["mean"] == pytest.approx(values.mean())
            assert summary["median"] == pytest.approx(np.median(values))
            assert summary["std"] == pytest.approx(values.std(ddof=1))
    assert scores.summary["WT"]["sensitivity"]["n"] == 2  # "a" has no tumour
    assert scores.mean("WT") == pytest.approx(
        np.mean([scores.studies[s]["WT"]["dice"] for s in "abc"])
    )


def test_no_study_at_all_has_an_empty_summary() -> None:
    assert Scores(PLAIN, {}).summary["ET"]["dice"] == {
        "mean": None,
        "median": None,
        "std": None,
        "n": 0,
    }
    assert not Scores(PLAIN, {}).ok


def test_json_there_and_back(tmp_path: Path) -> None:
    scores = example()
    scores.write(tmp_path / "scores.json")
    again = Scores.read(tmp_path / "scores.json")
    assert again == scores
    assert again.to_json() == scores.to_json()
    content = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert content["rules"] == {
        "name": "plain",
        "task": "gli",
        "tolerance_mm": None,
        "text": PLAIN.text,
    }
    assert len(content["calibration"]["WT"]) == 15
    assert list(content["studies"]) == ["a", "b", "c"]
    assert content["failed"] == {"d": "c.nii.gz: truncated"}
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def test_rules_come_back_with_their_task_and_tolerance() -> None:
    rules = get_rules("brats2026", "met", 2.0)
    masks = np.zeros((4, 9, 8, 7), dtype=bool)
    scores = Scores(rules, {"a": score_study(masks, masks, (1, 1, 2), rules)})
    again = Scores.from_json(scores.to_json())
    assert again == scores
    assert (again.rules.task, again.rules.tolerance_mm, again.calibration) == ("met", 2.0, None)
    assert set(again.studies["a"]) == {"WT", "TC", "ET", "RC"}


def test_the_table_has_a_row_for_each_region_and_each_failure() -> None:
    scores = example()
    rows = list(csv.DictReader(io.StringIO(scores.to_csv())))
    assert [(row["study"], row["region"]) for row in rows] == [
        (study, region) for study in "abc" for region in REGIONS
    ] + [("d", "")]
    assert rows[-1]["failed"] == "c.nii.gz: truncated"
    assert rows[0]["sensitivity"] == ""  # undefined
    for row in rows[:-1]:
        for metric in METRICS:
            value = scores.studies[row["study"]][row["region"]][metric]
            assert row[metric] == "" if value is None else float(row[metric]) == value


def test_ok_only_when_nothing_failed() -> None:
    scores = example()
    assert not scores.ok
    assert Scores(PLAIN, scores.studies).ok


def test_nan_is_never_written() -> None:
    study: StudyScores = {region: dict.fromkeys(METRICS, 0.5) for region in REGIONS}
    study["WT"]["dice"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        Scores(PLAIN, {"a": study}).to_json()


def spoiled(**changes: object) -> str:
    return json.dumps({**json.loads(example().to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a scores file"),
        ("[]", "not a scores file"),
        ("{}", "not a scores file"),
        (example().to_json()[:300], "not a scores file"),
        (example().to_json().replace('"dice": 1.0', '"dice": NaN'), "not a scores file.*NaN"),
        (
            spoiled(schema="gliodistill scores 99"),
            "another version.*field schema.*99.*expected gliodistill scores 2",
        ),
        (
            spoiled(rules={"name": "lesions", "task": "gli", "tolerance_mm": None, "text": ""}),
            "rules that this version does not know.*lesions.*expected plain",
        ),
        (
            spoiled(rules={"name": "plain", "task": "gli", "tolerance_mm": None, "text": "other"}),
            "rules that this version does not know",
        ),
        (
            spoiled(rules={"name": "plain", "task": "lung", "tolerance_mm": None, "text": ""}),
            "rules that this version does not know",
        ),
        (
            spoiled(calibration={"WT": []}),
            r"calibration.WT, got 0 bins, expected 15",
        ),
        (spoiled(calibration={"WT": [{"voxels": 3}]}), "incomplete"),
        (spoiled(studies={"a": {"WT": {}}}), "incomplete"),
        (spoiled(studies=3), "incomplete"),
        (
            example().to_json().replace('"dice": 1.0', '"dice": "1.0"'),
            "field studies.a.WT.dice, got '1.0', expected a finite number",
        ),
        (
            example().to_json().replace('"dice": 1.0', '"dice": true'),
            "got True, expected a finite number",
        ),
    ],
)
def test_a_damaged_file_is_one_named_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(text, encoding="utf-8")
    with pytest.raises(EvaluationError, match=message) as caught:
        Scores.read(tmp_path / "scores.json")
    assert "\n" not in str(caught.value)
    assert "scores.json" in str(caught.value)


def test_a_missing_file_and_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="cannot read scores"):
        Scores.read(tmp_path / "none.json")
    with pytest.raises(OutputError, match="cannot write"):
        example().write(tmp_path / "none" / "scores.json")
