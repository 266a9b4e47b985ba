"""Calibration of a model's probabilities: temperatures per region, fitted on patients not seen in
training.

A logit above 0 is divided by one temperature and a logit below 0 by another (temperature scaling,
Guo et al. 2017, arXiv:1706.04599, with one temperature on each side; equal ones are theirs). Both
keep the sign: label maps at a threshold of 0.5 do not change by a voxel. Another threshold is one
of calibrated probabilities.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.checks import check_keys, checked, require
from gliodistill.documents import Refusal, read_json
from gliodistill.errors import EvaluationError, PackageError
from gliodistill.evaluation.calibration import Reliability
from gliodistill.logits import probabilities
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.sequence import MRSequence

LEAST_PATIENTS = 5
RANGE = (0.1, 20.0)
"""Least and greatest temperature."""
REACH, STEP = 20.0, 0.05
"""Logits are counted in bins of this width between ±REACH, beyond which a probability is 0 or 1."""
LOGITS = (np.arange(round(2 * REACH / STEP)) + 0.5) * STEP - REACH
"""Middles of the bins; none of them spans 0."""

Temperatures = tuple[float, float]


@dataclass(frozen=True, eq=False)
class CalibrationRow:
    """Voxels of one segmentation to fit on, as counts.

    Attributes:
        patient: its patient; all rows of a patient are left out together.
        sequences: that the model was given.
        region: WT, TC or ET.
        voxels, observed: voxels in each bin of :data:`LOGITS`, and those of them that belong to
            the region in the reference.
    """

    patient: str
    sequences: tuple[MRSequence, ...]
    region: str
    voxels: NDArray[np.float64]
    observed: NDArray[np.float64]


def calibration_rows(
    patient: str,
    sequences: Iterable[MRSequence],
    logits: NDArray[np.float32],
    truth: NDArray[np.bool_],
    regions: Sequence[str] = REGIONS,
) -> list[CalibrationRow]:
    """Count the voxels of one segmentation, for each region.

    Args:
        patient: its patient.
        sequences: that the model was given.
        logits: of the regions as the model gives them, not calibrated; float32 R X Y Z. Usually
            of the box around prediction and reference
            (:func:`~gliodistill.evaluation.calibration.calibration_box`).
        truth: reference, bool R X Y Z.
        regions: their names.
    """
    there = tuple(sequence for sequence in MRSequence if sequence in set(sequences))
    rows = []
    for region, values, real in zip(regions, logits, truth, strict=True):
        places = np.floor((values.ravel() + REACH) / STEP).clip(0, len(LOGITS) - 1).astype(np.intp)
        voxels, observed = (
            np.bincount(places, weights=weights, minlength=len(LOGITS)).astype(np.float64)
            for weights in (None, real.ravel())
        )
        rows.append(CalibrationRow(patient, there, region, voxels, observed))
    return rows


@dataclass(frozen=True)
class RegionCalibration:
    """The temperatures of one region and what they are worth.

    Attributes:
        below, above: temperature of logits below and above 0.
        patients: number fitted on.
        ece_before, ece_after: mean expected calibration error over segmentations, without
            temperatures and with those fitted on all other patients.
    """

    below: float
    above: float
    patients: int
    ece_before: float
    ece_after: float

    def apply(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated logits."""
        return _scaled(logits, (self.below, self.above))

    def before(self, logit: float) -> float:
        """The logit that becomes ``logit``."""
        return logit * (self.above if logit > 0 else self.below)

    @classmethod
    def from_dict(cls, values: object, where: str) -> "RegionCalibration":
        """From JSON, strictly."""
        v = check_keys(values, [f.name for f in fields(cls)], where)
        made = checked(
            where,
            lambda: cls(
                float(v["below"]),
                float(v["above"]),
                int(v["patients"]),
                float(v["ece_before"]),
                float(v["ece_after"]),
            ),
        )
        for side in (made.below, made.above):
            low, high = RANGE
            require(low <= side <= high, where, side, f"a temperature from {low:g} to {high:g}")
        return made


@dataclass(frozen=True)
class Calibration:
    """The calibration of a model.

    Attributes:
        fitted_on: description of the data.
        regions: region → its temperatures.
        subsets: sequences that are given, joined by ``+`` → region → temperatures in place of those
            of ``regions``; for subsets that gain by their own.

    Raises:
        PackageError: an unknown region or sequence.
    """

    fitted_on: str
    regions: Mapping[str, RegionCalibration]
    subsets: Mapping[str, Mapping[str, RegionCalibration]]

    def __post_init__(self) -> None:
        for where, part in {
            "calibration.regions": self.regions,
            **{f"calibration.subsets.{name}": part for name, part in self.subsets.items()},
        }.items():
            require(bool(part), where, [*part], "regions")
        for name in self.subsets:
            parts = name.split("+")
            known = [str(sequence) for sequence in MRSequence if sequence in parts]
            require(parts == known, "calibration.subsets", name, "sequences in order, joined by +")

    def of(
        self, sequences: Iterable[MRSequence], regions: Sequence[str] = REGIONS
    ) -> tuple[RegionCalibration | None, ...]:
        """The temperatures of ``regions`` for a study with ``sequences``; None = no change."""
        own = self.subsets.get(_joined(sequences), {})
        return tuple(own.get(region, self.regions.get(region)) for region in regions)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> "Calibration":
        """From JSON, strictly.

        Raises:
            PackageError: a key missing or unknown, or a value out of range; it is named.
        """
        v = check_keys(values, [f.name for f in fields(cls)], "calibration")

        def regions(part: object, where: str) -> dict[str, RegionCalibration]:
            items = checked(where, lambda: dict(part))  # type: ignore[call-overload]
            return {
                str(region): RegionCalibration.from_dict(value, f"{where}.{region}")
                for region, value in items.items()
            }

        subsets = checked("calibration.subsets", lambda: dict(v["subsets"]))
        return cls(
            str(v["fitted_on"]),
            regions(v["regions"], "calibration.regions"),
            {
                str(name): regions(part, f"calibration.subsets.{name}")
                for name, part in subsets.items()
            },
        )

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """From a file that holds :meth:`to_dict` as JSON.

        Raises:
            PackageError: it cannot be read, or as :meth:`from_dict`.
        """
        refusal = Refusal(PackageError, "cannot read the calibration")
        try:
            return cls.from_dict(read_json(path, refusal))
        except PackageError as error:
            if error.file is not None:
                raise
            raise refusal.of(path)(error.field, error.got, error.expected) from error


def calibrated(
    logits: NDArray[np.float32], scales: Iterable[RegionCalibration | None]
) -> NDArray[np.float32]:
    """Calibrated logits of the regions (R X Y Z); the given array itself where there is no
    calibration.
    """
    found = tuple(scales)
    if not any(found):
        return logits
    pairs = zip(logits, found, strict=True)
    return np.stack([part if scale is None else scale.apply(part) for part, scale in pairs])


def fit_calibration(
    rows: Iterable[CalibrationRow], fitted_on: str, *, sides: bool = True
) -> Calibration:
    """Fit temperatures by the likelihood of the reference; every patient has the same weight.

    A subset of the sequences gets temperatures of its own where these are more likely on patients
    left out, each in turn, than those of all subsets together.

    Args:
        rows: of patients not seen in training; several per patient are allowed (subsets of
            sequences).
        fitted_on: description of the rows.
        sides: whether logits above and below 0 have temperatures of their own.

    Raises:
        EvaluationError: no region with :data:`LEAST_PATIENTS`, or no voxels.
    """
    by_region: dict[str, list[CalibrationRow]] = {region: [] for region in REGIONS}
    for row in rows:
        if not row.voxels.sum():
            raise EvaluationError("no voxels to fit on", field="rows", got=row.region)
        by_region.setdefault(row.region, []).append(row)
    regions: dict[str, RegionCalibration] = {}
    subsets: dict[str, dict[str, RegionCalibration]] = {}
    for region, part in by_region.items():
        if _patients(part) < LEAST_PATIENTS:
            continue
        common = _left_out(part, sides)
        regions[region] = _told(part, common, sides)
        for name in sorted({_joined(row.sequences) for row in part}):
            chosen = [number for number, row in enumerate(part) if _joined(row.sequences) == name]
            own_rows = [part[number] for number in chosen]
            if len(chosen) == len(part) or _patients(own_rows) < LEAST_PATIENTS:
                continue
            own = _left_out(own_rows, sides)
            if _mean_loss(own_rows, own) < _mean_loss(own_rows, [common[n] for n in chosen]):
                subsets.setdefault(name, {})[region] = _told(own_rows, own, sides)
    if not regions:
        got = ", ".join(f"{region} {_patients(part)}" for region, part in by_region.items())
        raise EvaluationError(
            "too few patients to fit on",
            field="rows",
            got=got,
            expected=f"{LEAST_PATIENTS} or more of a region",
        )
    return Calibration(fitted_on, regions, subsets)


def _told(
    rows: list[CalibrationRow], left_out: list[Temperatures], sides: bool
) -> RegionCalibration:
    before = np.mean([_ece(row, (1.0, 1.0)) for row in rows])
    after = np.mean([_ece(row, found) for row, found in zip(rows, left_out, strict=True)])
    below, above = _fit(rows, sides)
    return RegionCalibration(below, above, _patients(rows), float(before), float(after))


def _left_out(rows: list[CalibrationRow], sides: bool) -> list[Temperatures]:
    """For each row the temperatures fitted without its patient."""
    found = {
        patient: _fit([row for row in rows if row.patient != patient], sides)
        for patient in {row.patient for row in rows}
    }
    return [found[row.patient] for row in rows]


def _fit(rows: list[CalibrationRow], sides: bool) -> Temperatures:
    """The temperatures of the greatest likelihood."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.patient] = counts.get(row.patient, 0) + 1
    weights = [1 / (counts[row.patient] * row.voxels.sum()) for row in rows]
    voxels, observed = (
        np.sum([w * getattr(row, name) for w, row in zip(weights, rows, strict=True)], axis=0)
        for name in ("voxels", "observed")
    )
    if not sides:
        both = _least(lambda t: _loss(voxels, observed, (t, t)))
        return both, both
    # No bin has logits of both signs: each side's loss depends on its own temperature alone.
    return (
        _least(lambda t: _loss(voxels, observed, (t, 1.0))),
        _least(lambda t: _loss(voxels, observed, (1.0, t))),
    )


def _least(loss: Callable[[float], float]) -> float:
    from scipy.optimize import minimize_scalar

    bounds = tuple(np.log(RANGE))
    found = minimize_scalar(lambda x: loss(float(np.exp(x))), bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def _loss(
    voxels: NDArray[np.float64], observed: NDArray[np.float64], temperatures: Temperatures
) -> float:
    """Negative log-likelihood of the reference."""
    logits = _scaled(LOGITS, temperatures)
    return float(voxels @ np.logaddexp(0.0, logits) - observed @ logits)


def _mean_loss(rows: list[CalibrationRow], temperatures: list[Temperatures]) -> float:
    losses = (
        _loss(row.voxels, row.observed, found) / row.voxels.sum()
        for row, found in zip(rows, temperatures, strict=True)
    )
    return float(np.mean([*losses]))


def _ece(row: CalibrationRow, temperatures: Temperatures) -> float:
    said = probabilities(_scaled(LOGITS, temperatures))
    return Reliability.of_counts(said, row.voxels, row.observed).ece


def _scaled(logits: NDArray[Any], temperatures: Temperatures) -> NDArray[Any]:
    below, above = (logits.dtype.type(1 / side) for side in temperatures)
    result: NDArray[Any] = logits * np.where(logits > 0, above, below)
    return result


def _patients(rows: list[CalibrationRow]) -> int:
    return len({row.patient for row in rows})


def _joined(sequences: Iterable[MRSequence]) -> str:
    there = set(sequences)
    return "+".join(str(sequence) for sequence in MRSequence if sequence in there)
