"""Arrays in memory are scored as files are."""

import numpy as np
import pytest

import gliodistill as gd
from gliodistill.errors import EvaluationError, LabelError
from gliodistill.evaluation.scores import score_study
from tiny_cohort import AFFINE, arrays

CODES = arrays(0)[1]
OTHER = np.roll(CODES, 2, axis=0)
SPACING = (1.0, 2.0, 3.0)


def masks(codes):
    return gd.CONVENTIONS["brats2021"].to_regions(codes)


def test_codes_and_masks_give_the_scores_of_one_study():
    expected = score_study(masks(OTHER), masks(CODES), SPACING)
    for prediction, reference, options in (
        (OTHER, CODES, {"labels": "brats2021"}),
        (masks(OTHER), masks(CODES), {}),
        (masks(OTHER), CODES, {"labels": "brats2021"}),
    ):
        scores = gd.evaluate(prediction, reference, spacing=SPACING, **options)
        assert scores.studies == {"study": expected} and scores.ok
        assert gd.compare({"one": scores, "same": scores}).studies == ["study"]
    assert 0 < scores.mean("WT") < 1


def test_volumes_bring_their_spacing():
    affine = AFFINE @ np.diag([1, 2, 3, 1])
    prediction, reference = gd.Volume(OTHER, affine), gd.Volume(CODES, affine)
    scores = gd.evaluate(prediction, reference, labels="brats2021")
    assert scores.studies["study"] == score_study(masks(OTHER), masks(CODES), SPACING)
    with pytest.raises(EvaluationError, match="another grid"):
        gd.evaluate(gd.Volume(OTHER, AFFINE), reference, labels="brats2021")


def test_predictions_may_have_their_own_codes():
    recoded = np.where(OTHER == 4, 3, OTHER).astype(np.uint8)
    options = {"spacing": SPACING, "labels": "brats2021", "prediction_labels": "brats2023"}
    scores = gd.evaluate(recoded, CODES, **options)
    assert scores.studies["study"] == score_study(masks(OTHER), masks(CODES), SPACING)


@pytest.mark.parametrize(
    ("prediction", "options", "error", "words"),
    [
        (OTHER, {"labels": "brats2021"}, EvaluationError, "spacing"),
        (OTHER, {"spacing": SPACING}, EvaluationError, "meaning of the label codes"),
        (OTHER, {"spacing": SPACING, "labels": "brats2023"}, LabelError, "unknown label codes"),
        (OTHER, {"spacing": SPACING, "labels": "brats21"}, LabelError, "did you mean brats2"),
        (OTHER * 0.5, {"spacing": SPACING, "labels": "brats2021"}, EvaluationError, "float64"),
        (OTHER[:4], {"spacing": SPACING, "labels": "brats2021"}, EvaluationError, "do not match"),
        ("folder", {}, EvaluationError, "a folder against an array"),
    ],
)
def test_what_cannot_be_told_is_asked(prediction, options, error, words):
    with pytest.raises(error, match=words):
        gd.evaluate(prediction, CODES, **options)
