"""A model package of gliodistill as a teacher, and ensembles of teachers of any kind."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gliodistill.errors import PackageError, RecipeError
from gliodistill.inference.tta import parse_tta
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.records import StudyRecord
from gliodistill.studies.study import Study
from gliodistill.teachers.base import Prediction, Teacher
from gliodistill.teachers.registry import parse_teacher, register_teacher

if TYPE_CHECKING:
    from gliodistill.inference.ensemble import Ensemble


@register_teacher("model")
class FromPackage(Teacher):
    """A model package of gliodistill, or a shipped model by its name.

    Args:
        source: folder of the package, or a name.
        tta: mirrorings to average over: ``none``, ``all``, or some of x, y, z.

    Raises:
        PackageError: no such package, or a damaged one.
    """

    def __init__(self, source: str, *, tta: str = "none") -> None:
        from gliodistill.models.package import ModelPackage
        from gliodistill.models.shipped import find_model

        self.package, self.tta = ModelPackage.open(find_model(source)), tta
        spec = self.package.spec
        self.sequences = tuple(s for s in spec.sequences if s not in spec.may_lack)
        self.mirrorings = parse_tta(tta)
        if missing := [region for region in REGIONS if region not in spec.task.names]:
            raise PackageError(
                "teacher segments other regions",
                file=self.package.folder,
                field="task",
                got=spec.task,
                expected=f"a model of {', '.join(REGIONS)}: {', '.join(missing)} missing",
            )
        self.channels = [spec.task.names.index(region) for region in REGIONS]

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether it is a package."""
        return (path / "model.json").is_file()

    @cached_property
    def _ensemble(self) -> "Ensemble":
        from gliodistill.inference.ensemble import Ensemble
        from gliodistill.inference.predictor import Predictor

        return Ensemble([Predictor(self.package)], self.mirrorings)

    def predict(self, study: Study) -> Prediction:
        """Its probabilities on the study's grid."""
        return Prediction(self._ensemble.ask(study).probability[self.channels])

    def facts(self, id: str) -> dict[str, Any]:
        """Its fingerprint and mirrorings."""
        return {"sha256": self.package.fingerprint, "tta": self.tta}


@register_teacher("ensemble")
class EnsembleOfTeachers(Teacher):
    """Several teachers of any kinds: the unweighted mean of their probabilities.

    Args:
        source: the teachers, a list of mappings as for one.

    Raises:
        RecipeError: fewer than two, or one that is not a teacher.
    """

    def __init__(self, source: list[dict[str, Any]]) -> None:
        if not isinstance(source, list) or len(source) < 2:
            raise RecipeError(
                "an ensemble needs several teachers", field="ensemble", got=source,
                expected="a list, e.g. [{nnunet: A}, {files: B}]",
            )  # fmt: skip
        self.members = [
            parse_teacher(each, f"ensemble.{place}").open() for place, each in enumerate(source)
        ]
        every = [sequence for member in self.members for sequence in member.sequences]
        self.sequences = tuple(dict.fromkeys(every))

    def check(self, record: StudyRecord) -> None:
        """Check that every member can predict the study."""
        for member in self.members:
            member.check(record)

    def predict(self, study: Study) -> Prediction:
        """The mean of the members' probabilities; hard only if all are label maps that agree."""
        said = [member.predict(study) for member in self.members]
        total = np.zeros_like(said[0].probability)
        for each in said:
            total += each.probability
        total /= len(said)
        hard = all(each.hard for each in said) and bool(np.isin(total, (0, 1)).all())
        return Prediction(total, hard)

    def facts(self, id: str) -> dict[str, Any]:
        """Those of the members."""
        return {"members": [member.facts(id) for member in self.members]}
