import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import tiny_model
from gliodistill.errors import EvaluationError, PackageError
from gliodistill.models import ModelPackage
from gliodistill.trust.expected_quality import RIDGE, QualityModel, QualityRow, fit_quality


def rows(patients: int = 12, each: int = 1, noise: float = 0.05) -> list[QualityRow]:
    random = np.random.default_rng(0)
    made = []
    for patient in range(patients):
        for _ in range(each):
            features = {
                "expected_dice": random.uniform(0.5, 1),
                "doubtful": random.uniform(0, 0.5),
                "log_ml": random.normal(3, 1),
            }
            features["lacks_T1"] = 0.0  # never varies
            dice = (
                1.4 * features["expected_dice"]
                - 0.4
                - 0.3 * features["doubtful"]
                + random.normal(0, noise)
            )
            made.append(QualityRow(f"p{patient}", "WT", features, float(np.clip(dice, 0, 1))))
    return made


def by_least_squares(part: list[QualityRow]) -> tuple[float, np.ndarray]:
    """The same ridge as an ordinary least-squares problem with the penalty as more rows."""
    names = ("expected_dice", "doubtful", "log_ml")
    x, y = (
        np.array([[row.features[n] for n in names] for row in part]),
        np.array([row.dice for row in part]),
    )
    spread = x.std(axis=0)
    design = np.hstack([np.ones((len(x), 1)), (x - x.mean(axis=0)) / spread])
    penalty = np.hstack([np.zeros((3, 1)), np.sqrt(RIDGE) * np.eye(3)])
    found = np.linalg.lstsq(
        np.vstack([design, penalty]), np.concatenate([y, np.zeros(3)]), rcond=None
    )[0]
    return float(found[0] - (found[1:] / spread) @ x.mean(axis=0)), found[1:] / spread


def test_is_the_ridge_regression_and_its_leave_one_out_error() -> None:
    data = rows()
    model = fit_quality(data, "made up").regions["WT"]
    intercept, coefficients = by_least_squares(data)
    assert model.intercept == pytest.approx(intercept)
    assert list(model.coefficients.values())[:3] == pytest.approx(list(coefficients))
    assert model.coefficients["lacks_T1"] == 0
    left_out = []
    for row in data:
        without, slopes = by_least_squares([other for other in data if other is not row])
        left_out.append(np.clip(without + slopes @ list(row.features.values())[:3], 0, 1))
    true = np.array([row.dice for row in data])
    assert model.mae == pytest.approx(np.abs(left_out - true).mean())
    assert model.spearman == pytest.approx(spearmanr(left_out, true).statistic)
    assert model.mae_of_mean == pytest.approx(
        np.mean([abs(true[i] - np.delete(true, i).mean()) for i in range(len(true))])
    )
    assert (model.patients, model.rows) == (12, 12)


def test_rows_of_a_patient_are_left_out_together_and_weigh_one() -> None:
    data = rows()
    thrice = fit_quality([row for row in data for _ in range(3)], "made up").regions["WT"]
    once = fit_quality(data, "made up").regions["WT"]
    assert (thrice.patients, thrice.rows) == (12, 36)
    assert thrice.coefficients == pytest.approx(once.coefficients)
    assert thrice.mae == pytest.approx(once.mae)


def test_predictions_stay_in_range_and_of_fitted_regions() -> None:
    model = fit_quality(
        [*rows(), *(replace(row, region="ET") for row in rows(3))], "made up", low=0.4
    )
    assert set(model.regions) == {"WT"}  # three patients are too few for ET
    good = {"expected_dice": 5.0, "doubtful": 0.0, "log_ml": 3.0, "lacks_T1": 0.0}
    assert model.predict({"WT": good, "ET": good}) == {"WT": 1.0}
    assert model.predict({"WT": good | {"expected_dice": -5.0}}) == {"WT": 0.0}
    assert model.low == 0.4


def test_what_cannot_be_learnt_from_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"too few patients.*WT 4"):
        fit_quality(rows(4), "made up")
    with pytest.raises(EvaluationError, match="not finite"):
        fit_quality([replace(row, dice=float("nan")) for row in rows()], "made up")
    with pytest.raises(EvaluationError, match="different features"):
        fit_quality([*rows(), QualityRow("q", "WT", {"doubtful": 0.0}, 0.5)], "made up")


def test_a_package_brings_it_along(tmp_path: Path) -> None:
    data = [replace(row, features={**row.features, "lacks_FLAIR": 0.0}) for row in rows()]
    quality = fit_quality(data, "made up")
    file = tmp_path / "quality.json"
    file.write_text(json.dumps(quality.to_dict()))
    assert QualityModel.read(file) == quality
    package = tiny_model.export(tmp_path / "model", quality=quality)
    assert ModelPackage.open(tmp_path / "model").spec.quality == quality == package.spec.quality
    assert tiny_model.export(tmp_path / "plain").spec.quality is None
    assert "quality" not in json.loads((tmp_path / "plain" / "model.json").read_text())


def test_damaged_descriptions_name_what_is_wrong(tmp_path: Path) -> None:
    good = fit_quality(rows(), "made up").to_dict()
    for change, words in (
        ({"low": 2}, "quality.low"),
        ({"regions": {}}, "quality.regions"),
        (
            {"regions": {"WT": good["regions"]["WT"] | {"intercept": float("nan")}}},
            "quality.regions.WT",
        ),
        ({"more": 1}, "quality.more"),
    ):
        with pytest.raises(PackageError, match=words):
            QualityModel.from_dict(good | change)
    with pytest.raises(PackageError, match="cannot read the quality model"):
        QualityModel.read(tmp_path / "nowhere.json")
    strange = QualityModel.from_dict(good | {"regions": {"XX": good["regions"]["WT"]}})
    with pytest.raises(PackageError, match=r"quality.regions, got XX, expected WT, TC, ET"):
        tiny_model.spec(quality=strange)
    with pytest.raises(PackageError, match=r"quality.regions.WT.*expected_dice"):
        tiny_model.spec(
            quality=fit_quality([replace(row, features={"size": 1.0}) for row in rows()], "made up")
        )
