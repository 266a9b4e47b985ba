"""What trust asks of a model: a part of its description."""

from typing import Protocol

from gliodistill.preparation.preparation import Preparation
from gliodistill.studies.sequence import MRSequence
from gliodistill.trust.expected_quality import QualityModel
from gliodistill.trust.reference import Reference


class ModelFacts(Protocol):
    """The facts of a model that an assessment needs.

    :class:`gliodistill.models.spec.ModelSpec` has them.
    """

    @property
    def sequences(self) -> tuple[MRSequence, ...]:
        """The sequences it takes, in channel order."""

    @property
    def preparation(self) -> Preparation:
        """How its images are prepared."""

    @property
    def quality(self) -> QualityModel | None:
        """What predicts the Dice of its answers."""

    @property
    def reference(self) -> Reference | None:
        """What its training studies look like."""
