"""A teacher of another tool as what labels studies: its predictions become pseudo-labels."""

import time
from typing import Any

import numpy as np

from gliodistill.inference.ensemble import Consensus
from gliodistill.studies.study import Study
from gliodistill.teachers.registry import ForeignTeacher

RULE = "a region where its probability is above 0.5, TC only inside WT and ET only inside TC"


class TeacherLabels:
    """Labels studies with a teacher.

    Args:
        teacher: as an option names it.

    Raises:
        GliodistillError: its files are missing or are not what they should be.
    """

    def __init__(self, teacher: ForeignTeacher) -> None:
        self.named, self.teacher = teacher, teacher.open()

    def __len__(self) -> int:
        """One member, which has nobody to agree with."""
        return 1

    def describe(self) -> dict[str, Any]:
        """What decides its predictions."""
        return {"teacher": self.named.as_dict(), "rule": RULE}

    def facts(self, id: str) -> dict[str, Any]:
        """Digests of what its prediction for a study depends on."""
        return self.teacher.facts(id)

    def ask(self, study: Study) -> Consensus:
        """Its prediction for a study.

        Raises:
            StudyError: it has none for it.
        """
        began = time.perf_counter()
        probability = self.teacher.predict(study).probability
        return Consensus(
            np.minimum.accumulate(probability, axis=0),
            np.zeros_like(probability),
            None,
            study.grid,
            time.perf_counter() - began,
        )
