"""The specification of a model: the part of ``model.json`` that its training determines.

Plain dataclasses with explicit checks, so that reading a package needs no heavy imports.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from gliodistill.checks import check_keys, checked, require
from gliodistill.documents import Refusal
from gliodistill.errors import PackageError
from gliodistill.models.outputs import OutputChannels
from gliodistill.preparation.preparation import OPTIONAL as PREPARATION_OPTIONAL
from gliodistill.preparation.preparation import Preparation
from gliodistill.studies.labels import LabelConvention
from gliodistill.studies.sequence import MRSequence
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.description import description_of, task_of, tissue_of
from gliodistill.tasks.task import Task
from gliodistill.tasks.tissues import TISSUES
from gliodistill.trust.appearance_model import AppearanceModel
from gliodistill.trust.calibration import Calibration
from gliodistill.trust.expected_quality import QualityModel, feature_names

OPTIONAL = ("calibration", "quality", "reference", "task")
"""Parts of a description that a package may lack."""
_NO_TASK = Refusal(PackageError, "damaged model description: its task")


@dataclass(frozen=True)
class NetworkSpec:
    """The network to build: a name of the registry and its options."""

    name: str
    options: Mapping[str, Any]

    @classmethod
    def from_dict(cls, values: object) -> "NetworkSpec":
        """From JSON, strictly."""
        values = check_keys(values, ("name", "options"), "network")
        require(isinstance(values["name"], str), "network.name", values["name"], "a name")
        require(
            isinstance(values["options"], Mapping),
            "network.options",
            values["options"],
            "an object",
        )
        return cls(values["name"], dict(values["options"]))


@dataclass(frozen=True)
class Step:
    """One step of post-processing: a name of the registry in
    :mod:`gliodistill.inference.postprocessing` and its options, numbers.

    Raises:
        PackageError: no name, or an option that is not a finite number.
    """

    name: str
    options: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(
            isinstance(self.name, str) and bool(self.name),
            "inference.postprocessing",
            self.name,
            "a name",
        )
        for option, value in self.options.items():
            number = type(value) in (int, float) and math.isfinite(value)
            require(
                isinstance(option, str) and number,
                f"inference.postprocessing.{self.name}.{option}",
                value,
                "a finite number",
            )

    @classmethod
    def from_dict(cls, values: object) -> "Step":
        """From JSON, strictly."""
        v = check_keys(values, ("name", "options"), "inference.postprocessing")
        require(
            isinstance(v["options"], Mapping),
            "inference.postprocessing",
            v["options"],
            "an object of numbers",
        )
        return cls(v["name"], dict(v["options"]))


@dataclass(frozen=True)
class InferenceSettings:
    """How the network is applied.

    Attributes:
        patch: window of the sliding window, voxels along X, Y, Z.
        overlap: share of the window that neighbours share, [0, 0.9].
        threshold: probability above which a voxel belongs to a region, (0, 1).
        whole: whether a brain that fits in memory is segmented in one pass rather than by windows.
        postprocessing: steps applied to the regions, in order; none by default.

    Raises:
        PackageError: a value out of range.
    """

    patch: tuple[int, int, int]
    overlap: float = 0.5
    threshold: float = 0.5
    whole: bool = True
    postprocessing: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        require(
            len(self.patch) == 3 and all(type(n) is int and 0 < n <= 512 for n in self.patch),
            "inference.patch",
            self.patch,
            "3 sides of 1 to 512",
        )
        # Beyond it the number of windows grows without bound, without benefit.
        require(0 <= self.overlap <= 0.9, "inference.overlap", self.overlap, "[0, 0.9]")
        require(0 < self.threshold < 1, "inference.threshold", self.threshold, "(0, 1)")
        require(isinstance(self.whole, bool), "inference.whole", self.whole, "true or false")

    @property
    def logit_threshold(self) -> float:
        """The threshold on the logit scale: log(p / (1 − p))."""
        return math.log(self.threshold / (1 - self.threshold))

    @classmethod
    def from_dict(cls, values: object) -> "InferenceSettings":
        """From JSON, strictly."""
        v = check_keys(values, [f.name for f in fields(cls)], "inference")
        steps = v["postprocessing"]
        require(isinstance(steps, list), "inference.postprocessing", steps, "a list of steps")
        cleaning = tuple(Step.from_dict(step) for step in steps)
        return checked(
            "inference",
            lambda: cls(
                tuple(v["patch"]), float(v["overlap"]), float(v["threshold"]), v["whole"], cleaning
            ),
        )


@dataclass(frozen=True)
class TrainingSummary:
    """The provenance of the weights.

    Attributes:
        recipe: name of the recipe.
        method: name of the method.
        seed, steps: of the run.
        validation_dice: region → mean Dice on the validation patients (may be empty).
        data: the training data, in words ("200 synthetic studies, seed 1").
    """

    recipe: str
    method: str
    seed: int
    steps: int
    validation_dice: Mapping[str, float]
    data: str

    @classmethod
    def from_dict(cls, values: object) -> "TrainingSummary":
        """From JSON, strictly."""
        v = check_keys(values, [f.name for f in fields(cls)], "training")
        return checked(
            "training",
            lambda: cls(
                str(v["recipe"]),
                str(v["method"]),
                int(v["seed"]),
                int(v["steps"]),
                {str(region): float(dice) for region, dice in v["validation_dice"].items()},
                str(v["data"]),
            ),
        )


@dataclass(frozen=True)
class ModelSpec:
    """Everything a model is, apart from its weights.

    Attributes:
        name: short name.
        preparation: the settings it was trained with; its ``sequences`` are the channel order.
        may_lack: sequences the model was trained to do without.
        network: its architecture.
        outputs: meaning of its logits.
        convention: label convention of the training references; the default of its output.
        inference: how to apply it.
        training: provenance of the weights.
        calibration: of its probabilities; None if they are the network's own.
        quality: the model that predicts its Dice; None if not fitted.
        reference: the appearance model of its training studies; None if there were too few.

    Raises:
        PackageError: ``may_lack`` names a sequence the model does not take, ``quality`` needs
            features that its segmentations do not have, or ``reference`` does not know all its
            sequences.
    """

    name: str
    preparation: Preparation
    network: NetworkSpec
    outputs: OutputChannels
    convention: LabelConvention
    inference: InferenceSettings
    training: TrainingSummary
    may_lack: tuple[MRSequence, ...] = field(default=())
    calibration: Calibration | None = None
    quality: QualityModel | None = None
    reference: AppearanceModel | None = None

    def __post_init__(self) -> None:
        strangers = [str(s) for s in self.may_lack if s not in self.sequences]
        require(
            not strangers, "may_lack", ", ".join(strangers), f"some of {', '.join(self.sequences)}"
        )
        fitted = {
            "quality": self.quality.regions if self.quality else {},
            "calibration": self.calibration.regions if self.calibration else {},
        }
        for name, regions in fitted.items():
            strange = [region for region in regions if region not in self.task.names]
            require(not strange, f"{name}.regions", ", ".join(strange), ", ".join(self.task.names))
        for region, part in (self.quality.regions if self.quality else {}).items():
            names = feature_names(self.sequences)
            require(
                set(part.coefficients) <= set(names),
                f"quality.regions.{region}",
                ", ".join(part.coefficients),
                ", ".join(names),
            )
        if self.reference:
            known = self.reference.sequences
            require(
                set(self.sequences) <= set(known),
                "reference.sequences",
                ", ".join(known),
                ", ".join(self.sequences),
            )

    @property
    def task(self) -> Task:
        """What it segments."""
        return self.outputs.task

    @property
    def sequences(self) -> tuple[MRSequence, ...]:
        """The channels of the input, in order."""
        return self.preparation.sequences

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        settings, training = self.inference, self.training
        optional = {
            name: part.to_dict()
            for name in ("calibration", "quality", "reference")
            if (part := getattr(self, name)) is not None
        }
        if self.task != glioma():  # packages of gliomas name no task, as before there were others
            optional["task"] = description_of(self.task)
        return {
            "name": self.name,
            "preparation": self.preparation.to_dict(),
            "may_lack": [str(s) for s in self.may_lack],
            "network": {"name": self.network.name, "options": dict(self.network.options)},
            "outputs": {"kind": self.outputs.kind, "names": list(self.outputs.names)},
            "convention": convention_to_dict(self.convention),
            "inference": {
                "patch": list(settings.patch),
                "overlap": settings.overlap,
                "threshold": settings.threshold,
                "whole": settings.whole,
                "postprocessing": [
                    {"name": step.name, "options": dict(step.options)}
                    for step in settings.postprocessing
                ],
            },
            "training": (
                {f.name: getattr(training, f.name) for f in fields(training)}
                | {"validation_dice": dict(training.validation_dice)}
            ),
        } | optional

    @classmethod
    def from_dict(cls, values: object) -> "ModelSpec":
        """From JSON, strictly.

        Raises:
            PackageError: a key missing or unknown, or a value out of range; it is named.
        """
        v = check_keys(
            values, [f.name for f in fields(cls) if f.name not in OPTIONAL], "model.json", OPTIONAL
        )
        require(isinstance(v["name"], str) and bool(v["name"]), "name", v["name"], "a name")
        task = task_of(v["task"], _NO_TASK) if "task" in v else glioma()
        preparation = check_keys(
            v["preparation"], Preparation().to_dict(), "preparation", PREPARATION_OPTIONAL
        )
        return cls(
            name=v["name"],
            preparation=Preparation.from_dict(dict(preparation)),
            network=NetworkSpec.from_dict(v["network"]),
            outputs=OutputChannels.from_dict(v["outputs"], task),
            convention=convention_from_dict(v["convention"], task),
            inference=InferenceSettings.from_dict(v["inference"]),
            training=TrainingSummary.from_dict(v["training"]),
            may_lack=checked("may_lack", lambda: tuple(MRSequence(s) for s in v["may_lack"])),
            calibration=Calibration.from_dict(v["calibration"]) if "calibration" in v else None,
            quality=QualityModel.from_dict(v["quality"]) if "quality" in v else None,
            reference=AppearanceModel.from_dict(v["reference"]) if "reference" in v else None,
        )


def convention_to_dict(convention: LabelConvention) -> dict[str, Any]:
    """A label convention as JSON with its codes, so that a package does not depend on the name."""
    codes = {str(code): str(tissue) for code, tissue in convention.codes.items()}
    return {"name": convention.name, "source": convention.source, "codes": codes}


def convention_from_dict(values: object, task: Task) -> LabelConvention:
    """A label convention from JSON, strictly; its tissues are ours, or the task's own."""
    v = check_keys(values, ("name", "source", "codes"), "convention")

    def make() -> LabelConvention:
        codes = {int(code): tissue_of(str(tissue)) for code, tissue in v["codes"].items()}
        if strangers := set(codes.values()) - set(TISSUES) - set(task.looks):
            raise ValueError(f"tissues {sorted(strangers)}, expected some of {sorted(TISSUES)}")
        if not codes or not all(0 < code < 256 for code in codes):
            raise ValueError(f"codes {sorted(codes)}, expected 1 to 255")
        return LabelConvention(str(v["name"]), str(v["source"]), codes)

    return checked("convention", make)
