"""The study behind the demo: the demo run with several seeds, and its results."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.documents import Refusal, read_json
from gliodistill.errors import EvaluationError
from gliodistill.evaluation.scores import Scores
from gliodistill.evaluation.statistics import Interval, mean_interval, student_interval
from gliodistill.files import write_text
from gliodistill.studies.labels import REGIONS

RESULT = Path(__file__).parent / "study.json"
"""The committed result, written by ``benchmarks/demo/study.py``."""
FORMAT = 1
BASELINE, DISTILLED, TEACHER_RUN = "baseline", "distilled", "teacher"

Dice = Mapping[str, Mapping[str, list[float]]]
"""Run → region → Dice of each test study, in the order of study ids."""


@dataclass(frozen=True)
class DemoStudy:
    """Results of the demo with several seeds.

    Attributes:
        seeds: seed → Dice of its test studies.
        settings: scenario, recipe and teacher in a few words; ``fingerprint`` stands for all of it.
        development_seed: the seed on which the settings were chosen; not among ``seeds``.
        machine: where it ran, and with which versions.
    """

    seeds: Mapping[int, Dice]
    settings: Mapping[str, Any]
    development_seed: int
    machine: Mapping[str, Any]

    def mean(self, run: str) -> float:
        """Mean Dice of a run over seeds, test studies and regions."""
        return float(np.mean([mean_dice(dice, run).mean() for dice in self.seeds.values()]))

    def differences(self) -> dict[int, Interval]:
        """Seed → distilled − baseline in mean Dice, with its bootstrap interval over studies."""
        return {seed: difference(dice) for seed, dice in self.seeds.items()}

    def difference(self) -> Interval:
        """Mean of the seeds' differences with its 95 % Student t interval over seeds."""
        return student_interval([one.mean for one in self.differences().values()])

    def write(self, path: Path) -> None:
        """Write as JSON, with the summary beside the values it is computed from."""
        found = self.difference()
        content = {
            "format": FORMAT,
            "what": "Dice of the demo's test studies; difference = distilled - baseline, mean of"
            " WT, TC and ET; 95 % Student t interval over seeds",
            "development_seed": self.development_seed,
            "settings": dict(self.settings),
            "machine": dict(self.machine),
            "difference": {"mean": found.mean, "low": found.low, "high": found.high},
            "seeds": {str(seed): dice for seed, dice in self.seeds.items()},
        }
        write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path = RESULT) -> "DemoStudy":
        """Read what :meth:`write` wrote.

        Raises:
            EvaluationError: no such file, or not one.
        """
        content = read_json(path, Refusal(EvaluationError, "not a result of the demo study"))
        try:
            return cls(
                {int(seed): dice for seed, dice in content["seeds"].items()},
                content["settings"],
                int(content["development_seed"]),
                content["machine"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvaluationError("not a result of the demo study", file=path, got=error) from error


def dice_of(scores: Mapping[str, Scores]) -> dict[str, dict[str, list[float]]]:
    """Run → region → Dice of each study."""
    return {run: {region: one.values(region) for region in REGIONS} for run, one in scores.items()}


def mean_dice(dice: Dice, run: str) -> NDArray[np.float64]:
    """Mean of WT, TC and ET Dice of each study."""
    means: NDArray[np.float64] = np.mean([dice[run][region] for region in REGIONS], axis=0)
    return means


def difference(dice: Dice) -> Interval:
    """Distilled − baseline in mean Dice, with its 95 % bootstrap interval over test studies."""
    values = mean_dice(dice, DISTILLED) - mean_dice(dice, BASELINE)
    return Interval(float(values.mean()), *mean_interval(values))
