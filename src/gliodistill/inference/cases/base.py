"""A case, and a case that is ready for the model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gliodistill.studies.study import Study

if TYPE_CHECKING:
    from gliodistill.inference.cases.scanned import Scanned

PREPARED_STUDY, SCANNED_NIFTI, DICOM = "prepared study", "NIfTI as scanned", "DICOM"
"""Forms in which a case comes."""


@dataclass(frozen=True)
class Preprocessing:
    """What was done to the images of a case before the model took them.

    Attributes:
        form: :data:`PREPARED_STUDY`, :data:`SCANNED_NIFTI` or :data:`DICOM`.
        done: in words.
        reference: the sequence whose grid the label map lies on; None of a prepared study.
        steps: sequence → what was done to it and why, with numbers.
        brain_ml: volume of the extracted brain; None if none was extracted.
        choice: what each series was taken for, and why (JSON); empty if nothing was chosen.
        identity: of the patient, if it was asked for.
        settings: of the case and of its outputs, for resuming.
    """

    form: str = PREPARED_STUDY
    done: str = "none: images are already co-registered and skull-stripped"
    reference: str | None = None
    steps: Mapping[str, Any] = field(default_factory=dict)
    brain_ml: float | None = None
    choice: Mapping[str, Any] = field(default_factory=dict)
    identity: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scanned(self) -> bool:
        """Whether the images came as scanned."""
        return self.form != PREPARED_STUDY

    def summary(self) -> dict[str, Any]:
        """As JSON; of the choice of the series only the rules that decided."""
        told: dict[str, Any] = {"form": self.form, "done": self.done}
        if self.choice:
            rules = self.choice["rules"].items()
            told["rules"] = [f"{name}: {rule}" for name, rule in rules if rule != "absent"]
        if self.scanned:
            told |= {"reference": self.reference, "steps": dict(self.steps)}
            told |= {"brain_ml": self.brain_ml, "settings": dict(self.settings)}
        return told | ({"identity": self.identity} if self.identity else {})


@dataclass(frozen=True, eq=False)
class Ready:
    """A case that the model can take.

    Attributes:
        study: sequences on one grid, brain only.
        scan: how it got there, and the way back to the grid of each series; None where the images
            were so already.
        seconds: stage → seconds taken.
    """

    study: Study
    scan: "Scanned | None" = None
    seconds: Mapping[str, float] = field(default_factory=dict)


class Case(Protocol):
    """One study in any form, not yet read."""

    @property
    def id(self) -> str:
        """Names the output files."""

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Files that no output may overwrite."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the user chose for it (JSON); a result of other settings is made again."""

    def ready(self, threads: int | None = None) -> Ready:
        """Read it and make it ready.

        Args:
            threads: processor threads; None = all cores.

        Raises:
            GliodistillError: it cannot be read, or not be made ready.
        """
