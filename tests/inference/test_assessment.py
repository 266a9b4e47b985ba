import numpy as np
import pytest
from scipy.special import expit

import tiny_model
from gliodistill.inference import Predictor
from gliodistill.models import ModelPackage
from gliodistill.studies.sequence import MRSequence
from gliodistill.trust.assessment import FAINT, Evidence
from gliodistill.trust.expected_quality import QualityModel, RegionQuality


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    """WT, TC, ET somewhere in the middle; not nested everywhere, sure in places, in doubt in
    others.
    """
    random = np.random.default_rng(0)
    away = np.sqrt(
        sum(
            (axis - n / 2) ** 2
            for axis, n in zip(np.indices((37, 20, 18)), (37, 20, 18), strict=True)
        )
    )
    made = np.stack([radius - away for radius in (8, 5, 2)]) + random.normal(0, 1, (3, 37, 20, 18))
    return made.astype(np.float32)


def by_whole_maps(logits: np.ndarray, threshold: float, voxel_ml: float) -> dict[str, list[float]]:
    nested = np.minimum.accumulate(logits.astype(np.float64), axis=0)
    result = {}
    for region, scores in zip(("WT", "TC", "ET"), nested, strict=True):
        p = expit(scores)
        p[p <= FAINT] = 0
        drawn = scores > threshold
        doubtful = ((p > 0.2) & (p < 0.8)).sum() / (p > 0.2).sum()
        result[region] = [
            2 * p[drawn].sum() / (p.sum() + drawn.sum()),
            doubtful,
            np.log(drawn.sum() * voxel_ml),
        ]
    return result


@pytest.mark.parametrize("threshold", [0.0, 0.7])
@pytest.mark.parametrize("cuts", [(), (5,), (1, 17, 30)])
def test_slabs_give_what_whole_maps_give(
    logits: np.ndarray, threshold: float, cuts: tuple[int, ...]
) -> None:
    evidence = Evidence(threshold)
    for slab in np.split(logits, cuts, axis=1):
        evidence.add(slab)
    features = evidence.features(0.008)
    for region, expected in by_whole_maps(logits, threshold, 0.008).items():
        assert list(features[region].values()) == pytest.approx(expected, rel=1e-5)


def test_what_is_not_drawn_has_no_features(logits: np.ndarray) -> None:
    evidence = Evidence(0.0)
    evidence.add(np.stack([logits[0], logits[1], np.full_like(logits[2], -100)]))
    assert set(evidence.features(1.0)) == {"WT", "TC"}
    assert Evidence(0.0).features(1.0) == {}


def test_features_come_with_every_answer(package: ModelPackage) -> None:
    predictor = Predictor(package, threads=1)
    study = tiny_model.study()
    answer = predictor.segment(study)
    expected = by_whole_maps(predictor.region_logits(predictor.prepare(study).image), 0.0, 0.001)
    for region, features in answer.quality.features.items():
        measured = [features[name] for name in ("expected_dice", "doubtful", "log_ml")]
        assert measured == pytest.approx(expected[region], rel=1e-5)
        assert np.exp(features["log_ml"]) == pytest.approx(answer.volumes_ml[region])
        assert [features[f"lacks_{s}"] for s in MRSequence] == [0, 0, 0, 0]
    assert answer.quality.predicted_dice is None
    assert answer.summary()["quality"]["predicted_dice"] is None
    windows = Predictor(package, threads=1, memory_gb=0).segment(study).quality.features
    for region, features in answer.quality.features.items():
        assert windows[region] == pytest.approx(features, rel=1e-3, abs=1e-3)


def region_quality(intercept: float, **coefficients: float) -> RegionQuality:
    return RegionQuality(intercept, coefficients, 9, 9, 0.05, 0.1, 0.8)


def test_dice_is_predicted_where_the_model_knows_how(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    quality = QualityModel(
        "made up",
        0.5,
        {"WT": region_quality(0.1, expected_dice=0.5), "TC": region_quality(0.3, lacks_T1=0.5)},
    )
    package = tiny_model.export(
        tmp_path_factory.mktemp("m") / "model", quality=quality, may_lack=(MRSequence.T1,)
    )
    predictor = Predictor(package, threads=1)
    answer = predictor.segment(tiny_model.study())
    predicted = answer.quality.predicted_dice
    assert predicted is not None
    assert predicted["WT"] == pytest.approx(
        0.1 + 0.5 * answer.quality.features["WT"]["expected_dice"]
    )
    assert predicted["TC"] == pytest.approx(0.3)
    assert predicted["ET"] is None  # never fitted
    low = next(flag for flag in answer.quality.flags if flag.code == "low_quality")
    assert "TC 0.30" in low.text and "0.5 or more" in low.text and "ET" not in low.text
    lacking = predictor.segment(tiny_model.study(lacking=(MRSequence.T1,))).quality.predicted_dice
    assert lacking is not None and lacking["TC"] == pytest.approx(0.8)
    assert answer.summary()["quality"] == {
        "predicted_dice": {"WT": round(predicted["WT"] or 0, 3), "TC": 0.3, "ET": None},
        "flags": [{"code": flag.code, "text": flag.text} for flag in answer.quality.flags],
    }
