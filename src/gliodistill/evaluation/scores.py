"""Scores: per-study values under a named rule set, their summary, their JSON and their table."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from types import NoneType

import numpy as np
from numpy.typing import NDArray

from gliodistill.documents import Fields, Refusal, parse_json, read_document
from gliodistill.errors import EvaluationError
from gliodistill.evaluation.calibration import BINS, Bin
from gliodistill.evaluation.rules import RULES, Region, Rules, get_rules
from gliodistill.evaluation.tasks import bring
from gliodistill.files import write_text
from gliodistill.tables import csv_text
from gliodistill.tasks.catalogue import is_shipped
from gliodistill.tasks.description import description_of, task_of

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
    image: tuple[int, ...] | None = None,
) -> StudyScores:
    """Score one study.

    Args:
        prediction: the regions of ``rules`` (for most tasks WT, TC, ET) as bool on R X Y Z.
        truth: the reference, on the same grid.
        spacing: voxel size along X, Y, Z in mm.
        rules: a rule set or its name.
        voxel_ml: volume of one voxel in ml, if the axes are not at right angles; default: the
            product of ``spacing``.
        image: voxels of the whole image along X, Y, Z, of which the masks are the part that holds
            every label; default: they are the whole.

    Returns:
        every metric of ``rules``; ``ece`` and ``brier`` are None (there are no probabilities here).

    Raises:
        EvaluationError: shapes that differ or are not R X Y Z, a spacing that is not three positive
            numbers.
    """
    rules = get_rules(rules) if isinstance(rules, str) else rules
    count = len(rules.regions)
    if prediction.shape != truth.shape or truth.ndim != 4 or truth.shape[0] != count:
        expected = f"{truth.shape}, as the reference ({count} X Y Z)"
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
    regions = {
        name: Region(
            predicted.astype(bool, copy=False), true.astype(bool, copy=False), spacing, size, image
        )
        for name, predicted, true in zip(rules.regions, prediction, truth, strict=True)
    }
    return {
        name: {metric: values.get(metric) for metric in rules.metrics}
        for name, values in rules.score_regions(regions).items()
    }


@dataclass(frozen=True)
class Scores:
    """The scores of a set of predictions.

    Attributes:
        rules: the rule set of all values.
        studies: study id → region → metric → value (None: undefined).
        failed: study id → why it could not be scored, in one line.
        provenance: texts about the origin (paths, label conventions).
        calibration: region → the reliability curve of all studies together, if probabilities were
            given, else None.
    """

    rules: Rules
    studies: Mapping[str, StudyScores]
    failed: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, tuple[Bin, ...]] | None = None

    def __repr__(self) -> str:
        means = ((region, self.mean(region)) for region in self.rules.regions)
        dice = ", ".join(f"{name} {'–' if mean is None else f'{mean:.3f}'}" for name, mean in means)
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"<Scores {self.rules.name}: {len(self.studies)} studies{failed}, mean Dice {dice}>"

    @cached_property
    def summary(self) -> dict[str, dict[str, dict[str, float | int | None]]]:
        """Region → metric → ``mean``, ``median``, ``std`` (sample) and ``n`` over the studies in
        which it is defined.
        """
        rules = self.rules
        return {
            region: {metric: _summarise(self.values(region, metric)) for metric in rules.metrics}
            for region in rules.regions
        }

    @property
    def ids(self) -> list[str]:
        """Of all studies, those that failed too; sorted."""
        return sorted({*self.studies, *self.failed})

    @property
    def ok(self) -> bool:
        """Whether at least one study was scored and none failed."""
        return bool(self.studies) and not self.failed

    def values(self, region: str, metric: str = "dice") -> list[float]:
        """The defined values of one metric over the studies, ordered by study id."""
        found = (self.studies[study][region][metric] for study in sorted(self.studies))
        return [value for value in found if value is not None]

    def mean(self, region: str, metric: str = "dice") -> float | None:
        """Mean of one metric over the studies in which it is defined."""
        mean = self.summary[region][metric]["mean"]
        return None if mean is None else float(mean)

    def to_json(self) -> str:
        """JSON text, equal for equal scores; all numbers are finite (undefined is ``null``)."""
        rules, task = self.rules, self.rules.described
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
                **({} if is_shipped(task) else {"described": description_of(task)}),
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
        for study in self.ids:
            for region, values in self.studies.get(study, {}).items():
                rows.append([study, region, *(values[m] for m in self.rules.metrics), ""])
            if study in self.failed:
                rows.append([study, "", *("" for _ in self.rules.metrics), self.failed[study]])
        return csv_text(rows)

    @classmethod
    def from_json(cls, text: str, *, file: str | PathLike[str] | None = None) -> "Scores":
        """Scores from the text of :meth:`to_json` (the summary is recomputed).

        Raises:
            EvaluationError: not such text, of another schema version, or under a rule set that is
                not known.
        """
        no_scores = Refusal(EvaluationError, "not a scores file", file=file)
        content = Fields(parse_json(text, no_scores), no_scores)
        if (schema := content.text("schema")) != f"gliodistill scores {SCHEMA}":
            raise EvaluationError(
                "scores of another version",
                file=file,
                field="schema",
                got=repr(schema),
                expected=f"gliodistill scores {SCHEMA}",
                hint="evaluate the predictions again",
            )
        rules = _rules(content.part("rules"), file)
        incomplete = replace(no_scores, problem="scores file is incomplete")
        content = Fields(content.values, incomplete)
        studies = {
            id: {
                region: {metric: _score(regions.part(region), metric) for metric in rules.metrics}
                for region in rules.regions
            }
            for id, regions in content.part("studies").parts().items()
        }
        failed, provenance = (
            {name: part.text(name) for name in part}
            for part in (content.part("failed"), content.part("provenance"))
        )
        curves = content.get("calibration", (dict, NoneType), "an object or null")
        calibration = None
        if curves:
            curves = Fields(curves, incomplete, "calibration")
            calibration = {region: _curve(curves, region, rules) for region in curves}
        return cls(rules, studies, failed, provenance, calibration)

    def write(self, path: str | PathLike[str]) -> None:
        """Write :meth:`to_json` to ``path``, atomically.

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
        text = read_document(path, Refusal(EvaluationError, "cannot read scores"))
        return cls.from_json(text, file=path)


def _rules(told: Fields, file: str | PathLike[str] | None) -> Rules:
    """The rule set of the scores, if it is still the one of that name."""
    name, task = told.text("name"), told.text("task")
    if "described" in told:
        bring(task_of(dict(told.part("described").values), told.refusal))
    tolerance = told.get("tolerance_mm", (int, float, NoneType), "a number or null")
    try:
        rules = get_rules(name, task, tolerance)
    except EvaluationError:
        rules = None
    # Up to version 0.1 the texts said "truth" for the reference segmentation.
    if rules is None or told.text("text").replace("truth", "reference") != rules.text:
        raise EvaluationError(
            "scores under rules that this version does not know",
            file=file,
            field="rules",
            got=name,
            expected=", ".join(RULES),
        )
    return rules


def _score(values: Fields, metric: str) -> float | None:
    """A number, or None if undefined."""
    kinds, expected = (int, float, NoneType), "a finite number or null"
    value: float | None = values.get(metric, kinds, expected)
    return value


def _curve(curves: Fields, region: str, rules: Rules) -> tuple[Bin, ...]:
    """The reliability curve of a region."""
    bins = curves.listed(region, dict, "bins")
    if region not in rules.regions or len(bins) != BINS:
        raise curves.refusal(curves.place(region), f"{len(bins)} bins", f"{BINS}, of a region")
    parts = [Fields(part, curves.refusal, curves.place(region)) for part in bins]
    return tuple(
        Bin(part.whole("voxels"), _score(part, "probability"), _score(part, "frequency"))
        for part in parts
    )


def _summarise(values: list[float]) -> dict[str, float | int | None]:
    if not values:
        return {"mean": None, "median": None, "std": None, "n": 0}
    return {
        "mean": statistics.fmean(values),
        "median": statistics.median(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
    }


def _own_version() -> str:
    try:
        return version("gliodistill")
    except PackageNotFoundError:
        return "unknown"
