"""The base class of rule sets."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from gliodistill.errors import EvaluationError
from gliodistill.evaluation import calibration
from gliodistill.evaluation.metrics import Mask
from gliodistill.evaluation.tasks import Regions, scored_task
from gliodistill.tasks.task import Task

METRICS: tuple[str, ...] = (
    "dice",
    "hd95_mm",
    "nsd",
    "sensitivity",
    "specificity",
    "prediction_ml",
    "truth_ml",
    "difference_ml",
    "lesion_f1",
    "lesion_tp",
    "lesion_fp",
    "lesion_fn",
    "ece",
    "brier",
)
"""The values of every rule set for a region, in the order of output; ``ece``
and ``brier`` need probabilities.
"""

COMMON_TEXT = (
    f"difference_ml is prediction minus reference. {calibration.TEXT} Summaries leave undefined"
    " values"
    " out and give their count n; std is the sample standard deviation (n - 1), null for n < 2."
)
"""The text common to all rule sets."""

Values = dict[str, float | None]
"""Metric → value; None if undefined."""


@dataclass(frozen=True)
class Region:
    """One region of one study, in prediction and reference.

    Attributes:
        prediction: bool on X Y Z.
        truth: bool on X Y Z, the same grid.
        spacing: voxel size along X, Y, Z in mm.
        voxel_ml: volume of one voxel in ml.
        image: voxels of the whole image along X, Y, Z, of which the masks are the part that holds
            every label; None: they are the whole.
    """

    prediction: Mask
    truth: Mask
    spacing: Sequence[float]
    voxel_ml: float
    image: tuple[int, ...] | None = None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Voxels of the whole image along X, Y, Z."""
        return self.truth.shape if self.image is None else self.image

    @cached_property
    def prediction_voxels(self) -> int:
        """Number of voxels of the prediction."""
        return int(np.count_nonzero(self.prediction))

    @cached_property
    def truth_voxels(self) -> int:
        """Number of voxels of the reference."""
        return int(np.count_nonzero(self.truth))

    @cached_property
    def shared_voxels(self) -> int:
        """Number of voxels in both."""
        return int(np.count_nonzero(self.prediction & self.truth))

    @property
    def dice(self) -> float:
        """Dice overlap of the whole region; 1 if both are empty."""
        total = self.prediction_voxels + self.truth_voxels
        return 2.0 * self.shared_voxels / total if total else 1.0

    def counted(self) -> Values:
        """The values that need only voxel counts: sensitivity, specificity, volumes."""
        negatives = math.prod(self.image_shape) - self.truth_voxels
        predicted, true = self.prediction_voxels * self.voxel_ml, self.truth_voxels * self.voxel_ml
        return {
            "sensitivity": self.shared_voxels / self.truth_voxels if self.truth_voxels else None,
            "specificity": (
                1.0 - (self.prediction_voxels - self.shared_voxels) / negatives
                if negatives
                else None
            ),
            "prediction_ml": predicted,
            "truth_ml": true,
            "difference_ml": predicted - true,
        }


@dataclass(frozen=True)
class Rules(ABC):
    """A named way to score the regions of a task.

    Attributes:
        task: what is segmented: a challenge, a shipped task, or the path of one
            (:func:`gliodistill.evaluation.tasks.scored_task`).
        tolerance_mm: of the surface Dice; None: the rule set's own, as its text says.

    Raises:
        EvaluationError: an unknown task, or a tolerance that is not positive.
    """

    task: str = "gli"
    tolerance_mm: float | None = None

    name: ClassVar[str]
    """Its name on the command line."""

    def __post_init__(self) -> None:
        scored_task(self.task)
        if self.tolerance_mm is not None and not (
            math.isfinite(self.tolerance_mm) and self.tolerance_mm >= 0
        ):
            raise EvaluationError(
                "unusable tolerance",
                field="tolerance",
                got=self.tolerance_mm,
                expected="0 mm or more",
            )

    @property
    def described(self) -> Task:
        """The task."""
        return scored_task(self.task)[0]

    @property
    def challenge(self) -> str:
        """The challenge whose rules apply, e.g. ``met`` for the task ``metastases``."""
        return scored_task(self.task)[1]

    @property
    def tissues(self) -> Regions:
        """Region → the tissues whose union it is."""
        return self.described.evaluation.regions

    @property
    def regions(self) -> tuple[str, ...]:
        """The names of the regions."""
        return tuple(self.tissues)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the values of one region, in the order of output."""
        return METRICS

    @property
    def text(self) -> str:
        """The rules in words, stored in every result."""
        return f"{self.own_text} {COMMON_TEXT}"

    @property
    @abstractmethod
    def own_text(self) -> str:
        """The text specific to these rules."""

    def score_regions(self, regions: Mapping[str, Region]) -> dict[str, Values]:
        """The values of every region of a study; by default each by itself."""
        return {name: self.score_region(region) for name, region in regions.items()}

    @abstractmethod
    def score_region(self, region: Region) -> Values:
        """The value of every metric but ``ece`` and ``brier``."""
