"""Scores of arrays in memory: one prediction against one reference."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import EvaluationError
from gliodistill.evaluation.rules import Rules
from gliodistill.evaluation.scores import Scores, score_study
from gliodistill.evaluation.tasks import region_masks
from gliodistill.images.volume import Volume
from gliodistill.studies.labels import LabelConvention, find_convention

Map = NDArray[Any] | Volume
"""Label codes, integers on X Y Z, as array or volume; or masks of regions, bool on R X Y Z."""


def score_arrays(
    prediction: Map,
    reference: Map,
    rules: Rules,
    *,
    spacing: Sequence[float] | None = None,
    labels: str | LabelConvention | None = None,
    prediction_labels: str | LabelConvention | None = None,
    id: str = "study",
) -> Scores:
    """Score one prediction; the result has one study.

    Args:
        prediction: label codes or masks.
        reference: the same, on the same grid.
        rules: the rule set; masks are in the order of its regions (for most tasks WT, TC, ET).
        spacing: voxel size along X, Y, Z in mm, where the reference is an array.
        labels: what the codes of the reference mean.
        prediction_labels: what those of the prediction mean; default: ``labels``.
        id: of the study.

    Raises:
        EvaluationError: different grids, no spacing, codes without a convention, or arrays that are
            neither codes nor masks.
        LabelError: no such convention, or a code that it does not have.
    """
    voxel_ml = None
    if isinstance(reference, Volume):
        if isinstance(prediction, Volume) and not reference.same_grid(prediction):
            raise EvaluationError(
                "prediction is on another grid", field="affine", got=prediction, expected=reference
            )
        voxel_ml, spacing = reference.voxel_ml, reference.spacing
    if spacing is None:
        raise EvaluationError(
            "voxel size is not known",
            field="spacing",
            expected="three positive numbers in mm, or a Volume as the reference",
        )
    declared = {"labels": labels, "prediction_labels": prediction_labels or labels}
    masks = [
        _masks(_data(given), field, convention, rules)
        for given, (field, convention) in zip(
            (reference, prediction), declared.items(), strict=True
        )
    ]
    scores = score_study(masks[1], masks[0], spacing, rules, voxel_ml=voxel_ml)
    return Scores(rules, {id: scores}, provenance={"prediction": "arrays", "truth": "arrays"})


def _data(given: Map) -> NDArray[Any]:
    return given.data if isinstance(given, Volume) else np.asarray(given)


def _masks(
    data: NDArray[Any], field: str, convention: str | LabelConvention | None, rules: Rules
) -> NDArray[np.bool_]:
    """One mask a region, from either kind of array."""
    if data.ndim == 4 and data.dtype == bool:
        return data
    if data.ndim != 3 or data.dtype.kind not in "iu":
        raise EvaluationError(
            "neither label codes nor masks",
            field="prediction" if field == "prediction_labels" else "reference",
            got=f"{data.dtype} of shape {data.shape}",
            expected=f"integers on X Y Z, or bool on {len(rules.regions)} X Y Z",
        )
    if convention is None:
        raise EvaluationError(
            "meaning of the label codes is not known",
            field=field,
            expected="the name of a label convention, e.g. brats2021",
        )
    known = find_convention(convention, field=field)
    return region_masks(data, known, list(rules.tissues.values()))
