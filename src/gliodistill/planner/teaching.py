"""When a teacher of another tool is asked: once, or at every step; measured on this machine."""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gliodistill.errors import RecipeError
from gliodistill.images.volume import Volume
from gliodistill.recipes.schema import Recipe
from gliodistill.reports.page.tables import duration
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study
from gliodistill.tasks.catalogue import glioma
from gliodistill.teachers import Teacher
from gliodistill.training.foreign import Given, LiveTeacher
from gliodistill.training.teachers import reading_of

PASSES = 2
"""Timed passes of a step, after a warm-up pass."""


@dataclass(frozen=True)
class Teaching:
    """What a teacher costs, asked once or live.

    Attributes:
        study_seconds: of one prediction of a whole study.
        study_bytes: of its stored outputs.
        step_seconds: of the teacher on one batch of patches; None where it cannot run on them.
        view_seconds: of preparing a study for it.
        view_bytes: of the study as it sees it.
        studies: for training; None = not known.
        steps: of training.
    """

    study_seconds: float
    study_bytes: int
    step_seconds: float | None
    view_seconds: float
    view_bytes: int
    studies: int | None
    steps: int

    @property
    def live(self) -> bool | None:
        """Whether running it at every step is faster; None where the studies are not known."""
        if self.step_seconds is None:
            return False
        if self.studies is None:
            return None
        return self._live < self._once

    @property
    def _once(self) -> float:
        return self.study_seconds * (self.studies or 0)

    @property
    def _live(self) -> float:
        return self.view_seconds * (self.studies or 0) + (self.step_seconds or 0) * self.steps

    def explain(self) -> str:
        """Which, and why, in a line."""
        once = f"{duration(self.study_seconds)} and {_size(self.study_bytes)} a study"
        if self.step_seconds is None:
            return f"The teacher is asked once, before training ({once}); it cannot run on patches."
        each = f"{duration(self.step_seconds)} a step and {_size(self.view_bytes)} a study"
        if self.studies is None:
            most = (
                self.steps * self.step_seconds / max(self.study_seconds - self.view_seconds, 1e-9)
            )
            return (
                f"The teacher costs {once} if asked once, {each} if live: once is faster for up to"
                f" {max(0, math.floor(most)):,} studies at {self.steps:,} steps."
            )
        sums = (
            f"once: {self.studies} studies × {duration(self.study_seconds)} ="
            f" {duration(self._once)}, {_size(self.study_bytes * self.studies)}; live:"
            f" {self.steps:,} steps × {duration(self.step_seconds)} = {duration(self._live)},"
            f" {_size(self.view_bytes * self.studies)}"
        )
        what = "runs live, at every step" if self.live else "is asked once, before training"
        return f"The teacher {what}, which is faster ({sums})."

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "live": self.live,
            "explanation": self.explain(),
            "study_seconds": self.study_seconds,
            "study_bytes": self.study_bytes,
            "step_seconds": self.step_seconds,
            "view_seconds": self.view_seconds,
            "view_bytes": self.view_bytes,
            "studies": self.studies,
            "steps": self.steps,
        }


def measure_teaching(
    opened: Teacher, recipe: Recipe, steps: int, study: Study, studies: int | None
) -> Teaching:
    """Ask a teacher about one study and one batch.

    Args:
        opened: the teacher.
        recipe: of the student.
        steps: of its training.
        study: to predict.
        studies: for training; None = not known.

    Raises:
        GliodistillError: the teacher cannot predict the study.
    """
    began = time.perf_counter()
    prediction = opened.predict(study)
    study_seconds = time.perf_counter() - began
    prepared = recipe.data.preparation().apply(study)
    stored = prediction.probability.shape[0] * math.prod(prepared.shape)
    step = _step(opened, recipe)
    view_seconds, view_bytes = 0.0, 0
    if step is not None:
        began = time.perf_counter()
        view_bytes = 2 * opened.see(study).image.size
        view_seconds = time.perf_counter() - began
    return Teaching(study_seconds, stored, step, view_seconds, view_bytes, studies, steps)


def typical_study(opened: Teacher, brain_mm: tuple[int, int, int]) -> Study:
    """An ellipsoid of noise in a brain's box at the teacher's voxel size, to measure on."""
    spacing = opened.spacing or (1.0, 1.0, 1.0)
    shape = tuple(math.ceil(side / step) for side, step in zip(brain_mm, spacing, strict=True))
    random = np.random.default_rng(0)
    affine = np.diag([*spacing, 1.0])
    x, y, z = (np.linspace(-1.1, 1.1, side) ** 2 for side in shape)
    inside = x[:, None, None] + y[None, :, None] + z[None, None, :] < 1
    images = {
        sequence: Volume((random.uniform(1, 2, shape) * inside).astype(np.float32), affine)
        for sequence in opened.sequences or tuple(MRSequence)
    }
    return Study("typical", "typical", images)


def _step(opened: Teacher, recipe: Recipe) -> float | None:
    """Seconds of a batch; None where the teacher cannot run on patches."""
    if not opened.runs:
        return None
    try:
        live = opened.live()
        reading = reading_of(recipe, opened, live.network.divisor, "--teacher")
    except RecipeError:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = LiveTeacher(0, "regions", glioma(), live, reading).to(device)
    shape = (recipe.sampling.batch, len(opened.sequences), *reading.sides)
    patches = Given(torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device))
    times = []
    with torch.no_grad():
        for _ in range(1 + PASSES):
            began = time.perf_counter()
            network(patches)[0].sum().item()  # waits for a GPU
            times.append(time.perf_counter() - began)
    return min(times[1:])


def _size(bytes: int) -> str:
    return f"{bytes / 1e9:.1f} GB" if bytes >= 1e9 else f"{bytes / 1e6:.1f} MB"
