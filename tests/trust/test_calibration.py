"""Temperatures: found again where they are known, and stored strictly."""

import json
from dataclasses import replace

import numpy as np
import pytest

import tiny_model
from gliodistill.errors import EvaluationError, PackageError
from gliodistill.evaluation.calibration import Reliability
from gliodistill.studies.sequence import MRSequence
from gliodistill.trust.calibration import (
    Calibration,
    RegionCalibration,
    calibrated,
    calibration_rows,
    fit_calibration,
)

EVERY = tuple(MRSequence)
FLAIR = (MRSequence.FLAIR,)


def rows(below, above, patients=6, sequences=EVERY, seed=0, prefix="p"):
    """Patients whose true logits are the model's divided by known temperatures."""
    found = []
    for patient in range(patients):
        random = np.random.default_rng([seed, patient])
        logits = random.normal(-1, 4, (3, 30, 30, 20)).astype(np.float32)
        right = np.where(logits > 0, logits / above, logits / below)
        truth = random.random(logits.shape) < 1 / (1 + np.exp(-right))
        found += calibration_rows(f"{prefix}{patient}", sequences, logits, truth)
    return found


def test_known_temperatures_are_found_and_calibrate():
    made = fit_calibration(rows(1.5, 3.0), "tests")
    for part in made.regions.values():
        assert part.below == pytest.approx(1.5, rel=0.05)
        assert part.above == pytest.approx(3.0, rel=0.05)
        assert part.patients == 6
        assert part.ece_before > 0.05 > 0.02 > part.ece_after
    assert not made.subsets
    one = fit_calibration(rows(2.0, 2.0), "tests", sides=False).regions["WT"]
    assert one.below == one.above == pytest.approx(2.0, rel=0.05)


def test_a_subset_has_temperatures_of_its_own_where_they_are_more_likely():
    both = rows(1.0, 1.0) + rows(3.0, 3.0, sequences=FLAIR, seed=1)
    made = fit_calibration(both, "tests")
    assert set(made.subsets) == {"T1+T1CE+T2+FLAIR", "FLAIR"}
    part = made.of(FLAIR)[0]
    assert part.below == pytest.approx(3.0, rel=0.1)
    assert made.of((MRSequence.T2,)) == tuple(made.regions[r] for r in ("WT", "TC", "ET"))
    same = fit_calibration(rows(1.0, 1.0) + rows(1.0, 1.0, sequences=FLAIR), "tests")
    assert not same.subsets or same.of(FLAIR)[0].below == pytest.approx(1.0, rel=0.05)


def test_calibrated_logits_keep_their_sign_and_can_be_undone():
    part = RegionCalibration(2.0, 0.5, 5, 0.1, 0.01)
    logits = np.random.default_rng(1).normal(0, 3, (3, 4, 5, 6)).astype(np.float32)
    result = calibrated(logits, (part, None, part))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(np.sign(result), np.sign(logits))
    np.testing.assert_array_equal(result[1], logits[1])
    np.testing.assert_allclose(result[0], np.where(logits[0] > 0, 2 * logits[0], logits[0] / 2))
    assert part.before(part.apply(np.array([-3.0]))[0]) == pytest.approx(-3.0)
    assert calibrated(logits, (None, None, None)) is logits


def test_counts_have_the_calibration_error_of_their_voxels():
    random = np.random.default_rng(2)
    said = random.integers(0, 50, 4000) / 50
    truth = random.random(4000) < said**2
    values, which = np.unique(said, return_inverse=True)
    counts = Reliability.of_counts(
        values, np.bincount(which).astype(float), np.bincount(which, weights=truth)
    )
    voxels = Reliability.of(said, truth)
    assert counts.ece == pytest.approx(voxels.ece)
    assert counts.brier == pytest.approx(voxels.brier)


def test_too_few_patients_are_refused():
    with pytest.raises(EvaluationError, match="too few patients"):
        fit_calibration(rows(1.0, 1.0, patients=4), "tests")


def test_a_file_holds_all_of_it_and_strays_are_refused(tmp_path):
    part = RegionCalibration(2.0, 0.5, 5, 0.1, 0.01)
    made = Calibration("tests", {"WT": part, "ET": part}, {"T1CE+FLAIR": {"WT": part}})
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(made.to_dict()))
    assert Calibration.read(file) == made
    for change, field in (
        ({"regions": {"WT": {**vars(part), "below": 0.0}}}, "regions.WT"),
        ({"subsets": {"FLAIR+T1CE": {"WT": vars(part)}}}, "subsets"),
    ):
        file.write_text(json.dumps({**made.to_dict(), **change}))
        with pytest.raises(PackageError) as caught:
            Calibration.read(file)
        assert field in caught.value.field
    with pytest.raises(PackageError):
        replace(made, regions={})
    with pytest.raises(PackageError, match=r"calibration.regions, got XY, expected WT, TC, ET"):
        tiny_model.spec(calibration=replace(made, regions={"XY": part}))
