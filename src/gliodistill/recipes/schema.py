"""A recipe: one validated YAML file that is an experiment.

A recipe names one or more *runs* trained in order on one split of one cohort: typically the
teacher, the baseline (the student without distillation) and the distilled student, so that every
experiment compares at the same budget. Networks and methods are registry names with options; nothing in
a recipe is ever imported or executed.
"""

import os
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gliodistill.preparation.preparation import Preparation
from gliodistill.studies.sequence import MRSequence

Probability = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(gt=0, le=1024)]
Sides = tuple[Side, Side, Side]
Positive = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataPart(_Part):
    """Which sequences, at what resolution, and who validates."""

    sequences: Annotated[tuple[MRSequence, ...], Field(min_length=1)] = tuple(MRSequence)
    """Channels of the image, in this order."""
    spacing: tuple[Positive, Positive, Positive] | None = None
    """Voxel size in mm, or null for each study's own."""
    bias_correction_mm: Positive | None = None
    """Bias-field correction by the preparation: smoothness of the field in mm; null corrects none.
    """
    correct_training: bool = True
    """Whether training images are corrected as well. ``false`` leaves their fields in, as
    augmentation by real scanners; the exported model corrects in either case.
    """
    validation: int | float | Annotated[str, Field(pattern=r"^\d+/\d+$")] | tuple[str, ...] = 0.2
    """Patients kept for validation: a number (0: nobody; the last weights are taken), a share, a
    fold (``2/5``: second of five), or ids.
    """
    split_seed: int = 0
    transductive: bool = False
    """Whether patients who validate may be among the pseudo-labelled ones; what comes out says so.
    """

    @field_validator("sequences")
    @classmethod
    def _each_once(cls, sequences: tuple[MRSequence, ...]) -> tuple[MRSequence, ...]:
        if len(set(sequences)) < len(sequences):
            raise ValueError("each sequence once")
        return sequences

    @model_validator(mode="after")
    def _something_to_correct(self) -> "DataPart":
        if not self.correct_training and self.bias_correction_mm is None:
            raise ValueError("correct_training: false needs bias_correction_mm")
        return self

    def preparation(self) -> Preparation:
        """The preparation of studies to learn from."""
        return (
            self.preparation_in_use()
            if self.correct_training
            else replace(self.preparation_in_use(), bias_mm=None)
        )

    def preparation_in_use(self) -> Preparation:
        """The preparation of what is exported."""
        return Preparation(
            sequences=self.sequences, spacing=self.spacing, bias_mm=self.bias_correction_mm
        )


class SamplingPart(_Part):
    """Where patches are cut."""

    patch: Sides = (64, 64, 64)
    batch: Annotated[int, Field(gt=0)] = 2
    """Patches a step. On a processor take 2 or more: for one patch with channels·X·Y ≤ 20480 torch
    leaves its fast convolutions for ``slow_conv3d`` (8 times slower in float32, far more in
    bfloat16)."""
    foreground: Probability = 0.67
    """Share of patches around a tumour voxel, up to a quarter of a side off their centre; its region
    is drawn evenly from those the patient has.
    """
    groups: dict[str, Probability] = {}
    """Shares of the labelled patches that come from groups of studies, as the manifest names them;
    the rest comes from the studies of no group named here, each as often as any other.
    """

    @field_validator("groups")
    @classmethod
    def _at_most_all(cls, groups: dict[str, float]) -> dict[str, float]:
        if sum(groups.values()) > 1 + 1e-9:
            raise ValueError("shares of at most 1 in all")
        return groups


class ModalityDropoutPart(_Part):
    """Which sequences a patch loses, so that the network learns to do without them."""

    p: Probability = 0.0
    """Probability that each sequence is removed; one always stays, and every draw of all is drawn
    again, so that 0.5 makes all subsets equally likely.
    """
    keep_all: Probability = 0.0
    """Probability that a patch loses none, before ``p`` is drawn."""
    per_batch: bool = False
    """Whether all patches of a batch lose the same, and what one of their studies lacks: then a
    batch norm sees in training what it sees of a study.
    """


class AugmentationPart(_Part):
    """What may happen to a patch; each is drawn per patch, recorded, then applied."""

    flip: Probability = 0.5
    """Per axis."""
    spatial: Probability = 0.3
    """Probability of rotation, scaling and elastic deformation together (one interpolation)."""
    rotate_degrees: Annotated[float, Field(ge=0)] = 20.0
    scale: tuple[Positive, Positive] = (0.8, 1.25)
    """Smallest and largest factor; above 1 the tumour looks larger."""
    elastic_voxels: Annotated[float, Field(ge=0)] = 3.0
    """Standard deviation of the smooth displacement."""
    gamma: Probability = 0.2
    brightness: Probability = 0.3
    contrast: Probability = 0.3
    noise: Probability = 0.15
    blur: Probability = 0.15
    low_resolution: Probability = 0.15
    bias: Probability = 0.0
    curve: Probability = 0.0
    """Of another contrast: a random increasing curve of the z-scores."""
    thick_slices: Probability = 0.0
    misregistration: Probability = 0.0
    """Of sequences that lie up to a voxel beside the truth."""
    cut_field: Probability = 0.0
    """Of a sequence whose field of view ends within the patch."""
    transplant: Probability = 0.0
    """Of a labelled patch that gets another labelled patient's tumour besides its own."""
    modality_dropout: ModalityDropoutPart = ModalityDropoutPart()

    @field_validator("scale")
    @classmethod
    def _in_order(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError("the smaller factor first")
        return scale


class OptimiserPart(_Part):
    """AdamW, or SGD with Nesterov momentum."""

    name: Literal["adamw", "sgd"] = "adamw"
    rate: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99


class TrainingPart(_Part):
    """Schedule and arithmetic of one run."""

    steps: Annotated[int, Field(gt=0)] = 1000
    warmup: Annotated[int, Field(ge=0)] = 20
    power: Positive = 0.9
    """Of the polynomial decay, from the first step on."""
    optimiser: OptimiserPart = OptimiserPart()
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the exponential moving average (EMA) of the weights, which is validated and exported;
    0 turns it off.
    """
    clip: Positive = 12.0
    """Largest gradient norm."""
    accumulate: Annotated[int, Field(gt=0)] = 1
    """Batches whose gradients are averaged before each step of the optimiser (gradient
    accumulation); Dice terms are joint over each of them.
    """
    batch_norm_recalibration: Annotated[int, Field(ge=0)] = 0
    """Batches over which the statistics of batch norms are computed again for what is validated and
    exported: patches around tumours, mirrored at most, with every sequence that the student takes.
    0: the running mean of the batches trained on, whatever they lack."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compile: bool = False
    prefetch: Annotated[int, Field(ge=0)] = 1
    """Patches are cut by this many background threads; 0 cuts them in the loop."""
    validate_every: Annotated[int, Field(gt=0)] = 200
    save_every: Annotated[int, Field(gt=0)] = 100
    tensorboard: bool = False


class PseudoPart(_Part):
    """What a run learns from the pseudo-labelled studies of ``gliodistill train --pseudo``."""

    share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of the patches of a batch; 0 learns from labelled studies alone."""
    labels: Literal["hard", "soft"] = "hard"
    """``hard``: the label map. ``soft``: the ensemble's probabilities."""

    def count(self, batch: int) -> int:
        """Pseudo-labelled patches in a batch of that many."""
        return round(self.share * batch)


class NetworkPart(_Part):
    """A network by registry name, with its options."""

    name: str
    options: dict[str, Any] = {}


class MethodPart(_Part):
    """A method by registry name, with its options."""

    name: str = "supervised"
    options: dict[str, Any] = {}


Outputs = Literal["regions", "classes"]
PRETRAINED = "pretrained"
"""In place of an earlier run: the run of another training that ``gliodistill train --pretrained``
names.
"""


class RunPart(_Part):
    """One training: a network, a method, and what differs from what the recipe's runs share."""

    network: NetworkPart
    method: MethodPart = MethodPart()
    init_from: Name | None = None
    """An earlier run whose weights this one is initialised from, widened where this network is
    wider; ``pretrained``: that of ``--pretrained``.
    """
    weight_averaging: dict[Name, Probability] = {}
    """Weight averaging with others: ``pretrained`` or earlier runs of the same initialisation →
    share in what is validated and exported; the rest is the run's own.
    """
    sequences: Annotated[tuple[MRSequence, ...], Field(min_length=1)] | None = None
    """The sequences that the network takes, some of the data's; null for all of them."""
    outputs: Outputs = "regions"
    """``regions``: sigmoids WT, TC, ET. ``classes``: soft-max over background, NCR, ED, ET."""
    seed: Seed = 0
    """Of the first weights and of every patch; runs with one seed see the same patches in the same
    order.
    """
    pseudo: PseudoPart = PseudoPart()
    augmentation: AugmentationPart = AugmentationPart()
    training: TrainingPart = TrainingPart()

    @field_validator("weight_averaging")
    @classmethod
    def _leave_some(cls, shares: dict[str, float]) -> dict[str, float]:
        if sum(shares.values()) >= 1:
            raise ValueError("shares below 1 in all: the rest is the run's own")
        return shares

    @property
    def channels(self) -> int:
        """Output channels: 3 regions or 4 classes."""
        return 3 if self.outputs == "regions" else 4


SHARED = ("outputs", "augmentation", "training")
"""Keys that a recipe may give once for all of its runs."""


class Recipe(_Part):
    """An experiment."""

    name: Name
    about: str = ""
    citation: str = ""
    expected: str = ""
    """What should come out, or where what came out is written."""
    cost: str = ""
    """What it needs: data, time, machine."""
    data: DataPart = DataPart()
    sampling: SamplingPart = SamplingPart()
    runs: Annotated[dict[Name, RunPart], Field(min_length=1)]
    """Trained in this order, each into a folder of its name."""

    @field_validator("runs")
    @classmethod
    def _free_names(cls, runs: dict[str, RunPart]) -> dict[str, RunPart]:
        if taken := sorted({"cache", "cache-pseudo"} & runs.keys()):
            raise ValueError(f"another name than {taken[0]}: the folder of prepared studies has it")
        if PRETRAINED in runs:
            raise ValueError(f"another name than {PRETRAINED}: it stands for that of --pretrained")
        return runs

    @model_validator(mode="before")
    @classmethod
    def _share(cls, values: Any) -> Any:
        """The top-level ``SHARED`` keys are every run's defaults: merged in here, so that each run
        is complete.
        """
        if not isinstance(values, dict) or not isinstance(values.get("runs"), dict):
            return values
        shared = {key: values[key] for key in SHARED if values.get(key) is not None}
        # What is no mapping goes on as it is, for the schema to name it.
        runs = {
            name: merge(shared, run) if isinstance(run, dict) else run
            for name, run in values["runs"].items()
        }
        return {**{key: value for key, value in values.items() if key not in SHARED}, "runs": runs}

    @classmethod
    def open(cls, name: str | os.PathLike[str], settings: Sequence[str] = ()) -> "Recipe":
        """A shipped recipe by its name, or a file.

        Args:
            name: e.g. ``compression``, or a path.
            settings: ``key=value`` laid over it, e.g. ``training.steps=500``.

        Raises:
            RecipeError: neither, or not valid.
        """
        from gliodistill.recipes.reading import load_recipe
        from gliodistill.recipes.shipped import find_recipe

        return load_recipe(find_recipe(name), list(settings))

    def __repr__(self) -> str:
        return f"<Recipe {self.name}: {', '.join(self.runs)}>"

    def head(self, name: str) -> str:
        """Where a run's weights come from in the end: itself, another run, or ``pretrained``."""
        return name if name == PRETRAINED else [name, *self.lineage(name)][-1]

    def lineage(self, name: str) -> list[str]:
        """What a run is initialised from, what that was, and so on, ending with a run that is
        initialised at random, or ``pretrained``.
        """
        chain: list[str] = []
        source = self.runs[name].init_from
        while source is not None:
            chain.append(source)
            source = None if source == PRETRAINED else self.runs[source].init_from
        return chain

    def to_yaml(self) -> str:
        """The complete recipe, every default spelled out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` laid on ``base``, mapping by mapping."""
    result = dict(base)
    for key, value in over.items():
        result[key] = (
            merge(result[key], value)
            if isinstance(value, dict) and isinstance(result.get(key), dict)
            else value
        )
    return result


RENAMED = {
    "data.bias_mm": "data.bias_correction_mm",
    "data.learn_bias": "data.correct_training (the opposite)",
    "augmentation.drop_sequence": "augmentation.modality_dropout.p",
    "augmentation.keep_all": "augmentation.modality_dropout.keep_all",
    "augmentation.drop_alike": "augmentation.modality_dropout.per_batch",
    "training.statistics": "training.batch_norm_recalibration",
    "start": "init_from",
    "keep": "weight_averaging",
}
"""Keys of recipes up to version 0.1 → their present names; those without a dot belong to a run."""

RENAMED_RUNS = {
    "alone": "baseline",
    "fused_alone": "fused_baseline",
    "taught": "distilled_labelled",
}
"""Runs of the shipped recipes up to version 0.1 → their present names."""


def new_run_name(old: str, runs: Container[str]) -> str | None:
    """The present name of a shipped recipe's run, if ``runs`` has it; for the hint of an error."""
    new = RENAMED_RUNS.get(old)
    return f"{old} is called {new} since gliodistill 0.2" if new in runs else None
