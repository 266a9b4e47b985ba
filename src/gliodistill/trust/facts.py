"""The part of a model's description that an assessment uses."""

from typing import Protocol

from gliodistill.preparation.preparation import Preparation
from gliodistill.studies.sequence import MRSequence
from gliodistill.tasks.task import Task
from gliodistill.trust.appearance_model import AppearanceModel
from gliodistill.trust.expected_quality import QualityModel


class ModelFacts(Protocol):
    """The facts of a model that an assessment needs.

    :class:`gliodistill.models.spec.ModelSpec` has them.
    """

    @property
    def sequences(self) -> tuple[MRSequence, ...]:
        """The sequences it takes, in channel order."""

    @property
    def task(self) -> Task:
        """What it segments."""

    @property
    def preparation(self) -> Preparation:
        """How its images are prepared."""

    @property
    def quality(self) -> QualityModel | None:
        """The model that predicts Dice."""

    @property
    def reference(self) -> AppearanceModel | None:
        """The appearance model of its training studies."""
