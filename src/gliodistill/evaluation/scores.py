"""Scores: per-study values under a named rule set, their summary, their JSON and their table."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import EvaluationError
from gliodistill.evaluation.calibration import BINS, Bin
from gliodistill.evaluation.rules import RULES, Region, Rules, get_rules
from gliodistill.files import write_text
from gliodistill.tables import csv_text

SCHEMA = 2
"""Version of the JSON written by :meth:`Scores.to_json`."""

RegionScores = dict[str, float | None]
StudyScores = dict[str, RegionScores]
"""Region → metric → value; None where the metric is undefined."""


def score_study(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing: Sequence[float],
    rules: Rules | str = "plain",
    *,
    voxel_ml: float | None = None,
    beyond: int = 0,
) -> StudyScores:
    """Score one study.

    Args:
        prediction: the regions of ``rules`` (for most tasks WT, TC, ET) as bool on R X Y Z.
        truth: the same of the truth, on the same grid.
        spacing: voxel size along X, Y, Z in mm.
        rules: a rule set or its name.
        voxel_ml: volume of one voxel in ml, where the axes are not at right angles; else the
        product of ``spacing``.
        beyond: how many voxels of the image were cropped away; all lie outside every mask.

    Returns:
        every metric of ``rules``; ``ece`` and ``brier`` are None (probabilities are not asked for
        here).

    Raises:
        EvaluationError: shapes that differ or are not R X Y Z, a spacing that is not three positive
        numbers.
    """
    rules = get_rules(rules) if isinstance(rules, str) else rules
    count = len(rules.regions)
    if prediction.shape != truth.shape or truth.ndim != 4 or truth.shape[0] != count:
        expected = f"{truth.shape}, as the truth ({count} X Y Z)"
        raise EvaluationError(
            "masks do not match", field="shape", got=prediction.shape, expected=expected
        )
    if len(spacing) != 3 or not all(math.isfinite(step) and step > 0 for step in spacing):
        raise EvaluationError(
            "unusable spacing",
            field="spacing",
            got=tuple(spacing),
            expected="three positive numbers in mm",
        )
    size = math.prod(spacing) / 1000.0 if voxel_ml is None else voxel_ml
    scores = {}
    for name, predicted, true in zip(rules.regions, prediction, truth, strict=True):
        region = Region(
            predicted.astype(bool, copy=False), true.astype(bool, copy=False), spacing, size, beyond
        )
        values = rules.score_region(region)
        scores[name] = {metric: values.get(metric) for metric in rules.metrics}
    return scores


@dataclass(frozen=True)
class Scores:
    """What a set of predictions is worth.

    Attributes:
        rules: the rule set that every value obeys.
        studies: study id → region → metric → value (None: undefined).
        failed: study id → one line saying why it could not be scored.
        provenance: free text values about where this came from (paths, label conventions).
        calibration: region → the reliability curve of all studies together, where probabilities
            were given, else None.
    """

    rules: Rules
    studies: Mapping[str, StudyScores]
    failed: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, tuple[Bin, ...]] | None = None

    @cached_property
    def summary(self) -> dict[str, dict[str, dict[str, float | int | None]]]:
        """Region → metric → ``mean``, ``median``, ``std`` (sample) and ``n`` over the studies where
        it is defined.
        """
        rules = self.rules
        return {
            region: {metric: _summarise(self.values(region, metric)) for metric in rules.metrics}
            for region in rules.regions
        }

    @property
    def ok(self) -> bool:
        """Whether at least one study was scored and none failed."""
        return bool(self.studies) and not self.failed

    def values(self, region: str, metric: str = "dice") -> list[float]:
        """The defined values of one metric over the studies, ordered by study id."""
        found = (self.studies[study][region][metric] for study in sorted(self.studies))
        return [value for value in found if value is not None]

    def mean(self, region: str, metric: str = "dice") -> float | None:
        """Mean of one metric over the studies where it is defined."""
        mean = self.summary[region][metric]["mean"]
        return None if mean is None else float(mean)

    def to_json(self) -> str:
        """JSON text: equal scores give equal text; every number is finite (undefined is ``null``)."""
        rules = self.rules
        curves = {
            region: [asdict(part) for part in bins]
            for region, bins in (self.calibration or {}).items()
        }
        content: dict[str, object] = {
            "schema": f"gliodistill scores {SCHEMA}",
            "gliodistill": _own_version(),
            "rules": {
                "name": rules.name,
                "task": rules.task,
                "tolerance_mm": rules.tolerance_mm,
                "text": rules.text,
            },
            "provenance": dict(self.provenance),
            "summary": self.summary,
            "studies": {study: self.studies[study] for study in sorted(self.studies)},
            "failed": {study: self.failed[study] for study in sorted(self.failed)},
            "calibration": curves or None,
        }
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """A table for a spreadsheet: a row for each study and region, and one for each study that
        failed, with its reason.
        """
        rows: list[list[object]] = [["study", "region", *self.rules.metrics, "failed"]]
        for study in sorted({*self.studies, *self.failed}):
            for region, values in self.studies.get(study, {}).items():
                rows.append([study, region, *(values[m] for m in self.rules.metrics), ""])
            if study in self.failed:
                rows.append([study, "", *("" for _ in self.rules.metrics), self.failed[study]])
        return csv_text(rows)

    @classmethod
    def from_json(cls, text: str, *, file: str | PathLike[str] | None = None) -> "Scores":
        """Scores from the text of :meth:`to_json` (the summary is computed anew).

        Raises:
            EvaluationError: not such text, of another schema version, or under a rule set that is
            not known.
        """
        try:
            content = json.loads(text, parse_constant=_refuse_constant)
            schema, told = content["schema"], content["rules"]
            name = told["name"]
        except (ValueError, KeyError, TypeError) as error:
            raise EvaluationError(
                "not a scores file",
                file=file,
                got=f"{type(error).__name__}: {error}",
                expected="scores JSON",
            ) from error
        if schema != f"gliodistill scores {SCHEMA}":
            raise EvaluationError(
                "scores of another version",
                file=file,
                field="schema",
                got=repr(schema),
                expected=f"gliodistill scores {SCHEMA}",
                hint="evaluate the predictions again",
            )
        try:
            rules = get_rules(name, told["task"], told["tolerance_mm"])
        except (EvaluationError, KeyError, TypeError):
            rules = None
        if rules is None or told.get("text") != rules.text:
            raise EvaluationError(
                "scores under rules that this version does not know",
                file=file,
                field="rules",
                got=name,
                expected=", ".join(RULES),
            )
        try:
            studies = {
                study: {
                    region: {metric: regions[region][metric] for metric in rules.metrics}
                    for region in rules.regions
                }
                for study, regions in content["studies"].items()
            }
            failed, provenance, curves = (
                dict(content["failed"]),
                dict(content["provenance"]),
                content["calibration"],
            )
            calibration = curves and {
                region: tuple(Bin(**part) for part in bins) for region, bins in curves.items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EvaluationError(
                "scores file is incomplete", file=file, got=f"{type(error).__name__}: {error}"
            ) from error
        for study, regions in studies.items():
            for region, values in regions.items():
                for metric, value in values.items():
                    if value is None or (type(value) in (int, float) and math.isfinite(value)):
                        continue
                    place = f"{study}.{region}.{metric}"
                    raise EvaluationError(
                        "not a score",
                        file=file,
                        field=place,
                        got=repr(value),
                        expected="a finite number or null",
                    )
        for region, bins in (calibration or {}).items():
            if region not in rules.regions or len(bins) != BINS:
                raise EvaluationError(
                    "not a reliability curve",
                    file=file,
                    field=f"calibration.{region}",
                    expected=f"{BINS} bins",
                )
        return cls(rules, studies, failed, provenance, calibration)

    def write(self, path: str | PathLike[str]) -> None:
        """Write :meth:`to_json` to ``path``, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        write_text(path, self.to_json())

    @classmethod
    def read(cls, path: str | PathLike[str]) -> "Scores":
        """Scores from a file written by :meth:`write`.

        Raises:
            EvaluationError: as :meth:`from_json`, or the file cannot be read.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EvaluationError(
                "cannot read scores",
                file=path,
                got=getattr(error, "strerror", None) or type(error).__name__,
            ) from error
        return cls.from_json(text, file=path)


def _summarise(values: list[float]) -> dict[str, float | int | None]:
    if not values:
        return {"mean": None, "median": None, "std": None, "n": 0}
    return {
        "mean": statistics.fmean(values),
        "median": statistics.median(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
    }


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _own_version() -> str:
    try:
        return version("gliodistill")
    except PackageNotFoundError:
        return "unknown"
