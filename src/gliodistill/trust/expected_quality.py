"""Prediction of Dice from features of a model's probabilities: one ridge regression per region.

It is fitted on segmentations of patients not seen in training (by the models of a
cross-validation), and evaluated by leaving each patient out in turn.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.checks import check_keys, checked, require
from gliodistill.documents import Refusal, read_json
from gliodistill.errors import EvaluationError, PackageError
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.sequence import MRSequence

RIDGE = 2.0
"""Penalty on the coefficients of standardised features, with every patient of weight 1."""

FEATURES = ("expected_dice", "doubtful", "log_ml")
"""The features of a segmentation (:class:`gliodistill.trust.assessment.Evidence`)."""

LEAST_PATIENTS = 5
LOW = 0.6
"""Default limit below which a predicted Dice is flagged."""


def feature_names(sequences: Iterable[MRSequence]) -> tuple[str, ...]:
    """The features of a model's segmentations: :data:`FEATURES`, and for each of its sequences
    whether the study lacks it (0 or 1).
    """
    return (*FEATURES, *(f"lacks_{sequence}" for sequence in sequences))


@dataclass(frozen=True)
class QualityRow:
    """One segmentation to fit on.

    Attributes:
        patient: its patient; all rows of a patient are left out together.
        region: WT, TC or ET; not empty.
        features: name → value, as ``Segmentation.quality.features`` has them.
        dice: with the reference, 0 to 1.
    """

    patient: str
    region: str
    features: Mapping[str, float]
    dice: float


@dataclass(frozen=True)
class RegionQuality:
    """The regression of one region and its accuracy.

    Attributes:
        intercept, coefficients: Dice ≈ intercept + Σ coefficient · feature, clipped to [0, 1].
        patients, rows: number fitted on.
        mae: mean absolute error over rows, each predicted without its patient.
        mae_of_mean: the same for predicting the mean Dice of the other patients.
        spearman: rank correlation of these predictions and the measured Dice; 0 if one of them is
            constant.
    """

    intercept: float
    coefficients: Mapping[str, float]
    patients: int
    rows: int
    mae: float
    mae_of_mean: float
    spearman: float

    def predict(self, features: Mapping[str, float]) -> float:
        """Predicted Dice, 0 to 1."""
        dice = self.intercept + sum(
            value * features[name] for name, value in self.coefficients.items()
        )
        return min(max(dice, 0.0), 1.0)

    @classmethod
    def from_dict(cls, values: object, where: str) -> "RegionQuality":
        """From JSON, strictly."""
        v = check_keys(values, [f.name for f in fields(cls)], where)
        made = checked(
            where,
            lambda: cls(
                float(v["intercept"]),
                {str(name): float(value) for name, value in v["coefficients"].items()},
                int(v["patients"]),
                int(v["rows"]),
                float(v["mae"]),
                float(v["mae_of_mean"]),
                float(v["spearman"]),
            ),
        )
        require(
            bool(np.isfinite([made.intercept, *made.coefficients.values()]).all()),
            where,
            made.coefficients,
            "finite numbers",
        )
        return made


@dataclass(frozen=True)
class QualityModel:
    """A model that predicts the Dice of a segmentation without a reference.

    Attributes:
        fitted_on: description of the data.
        low: a predicted Dice below it is flagged, 0 to 1.
        regions: region → regression; regions with too few patients are omitted.

    Raises:
        PackageError: an unknown region, or ``low`` out of range.
    """

    fitted_on: str
    low: float
    regions: Mapping[str, RegionQuality]

    def __post_init__(self) -> None:
        require(0 <= self.low <= 1, "quality.low", self.low, "0 to 1")
        require(
            bool(self.regions),
            "quality.regions",
            list(self.regions),
            "regions of the model's task",
        )

    def predict(self, features: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Region → predicted Dice, of regions that have features and a regression."""
        return {
            region: self.regions[region].predict(values)
            for region, values in features.items()
            if region in self.regions
        }

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> "QualityModel":
        """From JSON, strictly.

        Raises:
            PackageError: a key missing or unknown, or a value out of range; it is named.
        """
        v = check_keys(values, [f.name for f in fields(cls)], "quality")
        regions = checked("quality.regions", lambda: dict(v["regions"]))
        made = {
            region: RegionQuality.from_dict(value, f"quality.regions.{region}")
            for region, value in regions.items()
        }
        return checked("quality", lambda: cls(str(v["fitted_on"]), float(v["low"]), made))

    @classmethod
    def read(cls, path: Path) -> "QualityModel":
        """From a file that holds :meth:`to_dict` as JSON.

        Raises:
            PackageError: it cannot be read, or as :meth:`from_dict`.
        """
        no_quality = Refusal(PackageError, "cannot read the quality model")
        try:
            return cls.from_dict(read_json(path, no_quality))
        except PackageError as error:
            if error.file is not None:
                raise
            raise no_quality.of(path)(error.field, error.got, error.expected) from error


def fit_quality(rows: Iterable[QualityRow], fitted_on: str, low: float = LOW) -> QualityModel:
    """Fit a model on the rows of a cross-validation.

    Args:
        rows: segmentations of patients not seen in training; several per patient are allowed
            (subsets of sequences).
        fitted_on: description of the rows.
        low: a predicted Dice below it will be flagged.

    Raises:
        EvaluationError: no region with :data:`LEAST_PATIENTS`, rows of different features, or a
            value that is not finite.
    """
    by_region: dict[str, list[QualityRow]] = {region: [] for region in REGIONS}
    for row in rows:
        by_region.setdefault(row.region, []).append(row)
    regions = {
        region: _fit(part)
        for region, part in by_region.items()
        if len({row.patient for row in part}) >= LEAST_PATIENTS
    }
    if not regions:
        got = ", ".join(
            f"{region} {len({row.patient for row in part})}" for region, part in by_region.items()
        )
        raise EvaluationError(
            "too few patients to fit on",
            field="rows",
            got=got,
            expected=f"{LEAST_PATIENTS} or more of a region",
        )
    return QualityModel(fitted_on, low, regions)


def _fit(rows: list[QualityRow]) -> RegionQuality:
    names = list(rows[0].features)
    if any(set(row.features) != set(names) for row in rows):
        raise EvaluationError("rows of different features", field="rows", expected=", ".join(names))
    features = np.array([[row.features[name] for name in names] for row in rows], dtype=np.float64)
    dice = np.array([row.dice for row in rows], dtype=np.float64)
    if not (np.isfinite(features).all() and np.isfinite(dice).all()):
        raise EvaluationError("values are not finite", field="rows", expected="numbers")
    patients, whose, counts = np.unique(
        [row.patient for row in rows], return_inverse=True, return_counts=True
    )
    weights = 1 / counts[whose]
    predicted, means = np.empty(len(rows)), np.empty(len(rows))
    for patient in range(len(patients)):
        out = whose == patient
        intercept, coefficients = _ridge(features[~out], dice[~out], weights[~out])
        predicted[out] = np.clip(intercept + features[out] @ coefficients, 0, 1)
        means[out] = np.average(dice[~out], weights=weights[~out])
    intercept, coefficients = _ridge(features, dice, weights)
    return RegionQuality(
        intercept=intercept,
        coefficients={name: float(value) for name, value in zip(names, coefficients, strict=True)},
        patients=len(patients),
        rows=len(rows),
        mae=float(np.abs(predicted - dice).mean()),
        mae_of_mean=float(np.abs(means - dice).mean()),
        spearman=rank_correlation(predicted, dice),
    )


def _ridge(
    features: NDArray[np.float64], dice: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Intercept and coefficients of the weighted ridge regression; constant features have
    coefficient 0.
    """
    share = weights / weights.sum()
    middle, mean = share @ features, float(share @ dice)
    spread = np.sqrt(share @ (features - middle) ** 2)
    scale = np.where(spread > 1e-9, spread, np.inf)
    standard = (features - middle) / scale
    gram = (standard * weights[:, None]).T @ standard + RIDGE * np.eye(features.shape[1])
    coefficients: NDArray[np.float64] = (
        np.linalg.solve(gram, (standard * weights[:, None]).T @ (dice - mean)) / scale
    )
    return mean - float(middle @ coefficients), coefficients


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's rank correlation, ties by mean rank; 0 if one of the two is constant."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else 0.0
