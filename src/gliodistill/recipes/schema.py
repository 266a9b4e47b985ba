"""A recipe: one validated YAML file that is an experiment.

A recipe names one or more *runs* trained in order on one split of one cohort: typically the
teacher, the baseline (the student without distillation) and the distilled student, so that every
experiment compares at the same budget. Networks and methods are registry names with options;
nothing in a recipe is ever imported or executed.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gliodistill.preparation.preparation import Preparation
from gliodistill.recipes.catalogue import find_recipe
from gliodistill.recipes.reading import SHARED, merge, read_values, validated
from gliodistill.recipes.transforms import (
    BiasPart,
    BlurPart,
    BrainMaskPart,
    BrightnessPart,
    ContrastAgentPart,
    ContrastPart,
    CurvePart,
    CutFieldPart,
    GammaPart,
    LowResolutionPart,
    MisregistrationPart,
    NoisePart,
    Positive,
    Probability,
    ThickSlicesPart,
    TransplantPart,
    WindowingPart,
)
from gliodistill.studies.sequence import MRSequence
from gliodistill.tasks.catalogue import DEFAULT, find_task, shipped_tasks
from gliodistill.tasks.description import description_of
from gliodistill.tasks.task import Task

Side = Annotated[int, Field(gt=0, le=1024)]
Sides = tuple[Side, Side, Side]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataPart(_Part):
    """Sequences, voxel size, bias-field correction and the patients for validation."""

    sequences: Annotated[tuple[MRSequence, ...], Field(min_length=1)] = tuple(MRSequence)
    """Channels of the image, in this order."""
    spacing: tuple[Positive, Positive, Positive] | None = None
    """Voxel size in mm, or null for each study's own."""
    bias_correction_mm: Positive | None = None
    """Bias-field correction by the preparation: smoothness of the field in mm; null corrects none.
    """
    correct_training: bool = True
    """Whether training images are corrected too. ``false`` keeps their bias fields, as augmentation
    by real scanners; the exported model corrects in either case.
    """
    validation: int | float | Annotated[str, Field(pattern=r"^\d+/\d+$")] | tuple[str, ...] = 0.2
    """Patients kept for validation: a number (0: nobody; the last weights are taken), a share, a
    fold (``2/5``: second of five), or ids.
    """
    split_seed: int = 0
    """Seed of the split; a patient is never on both sides."""
    transductive: bool = False
    """Whether validation patients may be among the pseudo-labelled ones; the model card then says
    so.
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
        """The preparation of training studies."""
        return (
            self.preparation_in_use()
            if self.correct_training
            else replace(self.preparation_in_use(), bias_mm=None)
        )

    def preparation_in_use(self) -> Preparation:
        """The preparation of the exported model."""
        return Preparation(
            sequences=self.sequences, spacing=self.spacing, bias_mm=self.bias_correction_mm
        )


class SamplingPart(_Part):
    """How patches are sampled."""

    patch: Sides = (64, 64, 64)
    """Voxels along X, Y, Z; multiples of the network's divisor (the error names it)."""
    batch: Annotated[int, Field(gt=0)] = 2
    """Patches per step. On a CPU use 2 or more: for a single patch with channels·X·Y ≤ 20480 torch
    uses ``slow_conv3d`` instead of its fast convolutions (8 times slower in float32, more in
    bfloat16).
    """
    foreground: Probability = 0.67
    """Share of patches around a tumour voxel, up to a quarter of a side off their centre; the
    region is drawn uniformly from those the patient has.
    """
    groups: dict[str, Probability] = {}
    """Group of studies in the manifest → its share of the labelled patches. The other patches come
    from the studies of all other groups, each equally often.
    """

    @field_validator("groups")
    @classmethod
    def _at_most_all(cls, groups: dict[str, float]) -> dict[str, float]:
        if sum(groups.values()) > 1 + 1e-9:
            raise ValueError("shares that sum to at most 1")
        return groups


class ModalityDropoutPart(_Part):
    """Modality dropout: sequences are removed from patches at random."""

    p: Probability = 0.0
    """Probability that each sequence is removed; one is always kept (a draw that removes all is
    repeated), so that 0.5 makes all subsets equally likely.
    """
    keep_all: Probability = 0.0
    """Probability that a patch keeps all sequences, before ``p`` applies."""
    per_batch: bool = False
    """Whether all patches of a batch lose the same sequences, including those that one of their
    studies lacks. Batch norms then see one subset at a time, as at inference.
    """


class AugmentationPart(_Part):
    """Probabilities and ranges of the augmentation; drawn per patch."""

    flip: Probability = 0.5
    """Probability of mirroring, for each axis."""
    spatial: Probability = 0.3
    """Probability of rotation, scaling and elastic deformation together (one interpolation)."""
    rotate_degrees: Annotated[float, Field(ge=0)] = 20.0
    """Largest angle about each axis, in degrees."""
    scale: tuple[Positive, Positive] = (0.8, 1.25)
    """Smallest and largest factor; above 1 enlarges the tumour."""
    elastic_voxels: Annotated[float, Field(ge=0)] = 3.0
    """Standard deviation of the smooth displacement, in voxels."""
    gamma: GammaPart = GammaPart()
    """A gamma transform of the intensities."""
    brightness: BrightnessPart = BrightnessPart()
    """An intensity offset."""
    contrast: ContrastPart = ContrastPart()
    """An intensity scaling."""
    noise: NoisePart = NoisePart()
    """Additive Gaussian noise."""
    blur: BlurPart = BlurPart()
    """Gaussian smoothing."""
    low_resolution: LowResolutionPart = LowResolutionPart()
    """Coarse sampling and interpolation back, as in thick slices."""
    bias: BiasPart = BiasPart()
    """A smooth multiplicative field, another one in each sequence."""
    curve: CurvePart = CurvePart()
    """A contrast change: a random increasing curve of the z-scores."""
    thick_slices: ThickSlicesPart = ThickSlicesPart()
    """Thick slices along one axis, in some sequences or in all."""
    misregistration: MisregistrationPart = MisregistrationPart()
    """Sequences shifted against the reference."""
    cut_field: CutFieldPart = CutFieldPart()
    """A sequence whose field of view ends within the patch."""
    windowing: WindowingPart = WindowingPart()
    """A window with few grey levels, another in each sequence."""
    contrast_agent: ContrastAgentPart = ContrastAgentPart()
    """Contrast agent absent or late: T1 mixed into T1CE, and no ET where the enhancement is gone.
    """
    brain_mask: BrainMaskPart = BrainMaskPart()
    """Errors of the brain mask, in all sequences: brain cut off, tissue left on."""
    transplant: TransplantPart = TransplantPart()
    """Another labelled patient's tumour in a labelled patch, besides its own."""
    others: dict[str, dict[str, Any]] = {}
    """Transforms that other packages add, by registry name, with their options; they come after
    those above but for ``cut_field``."""
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
    """``adamw``, or ``sgd`` with Nesterov momentum."""
    rate: Positive = 1e-3
    """Learning rate that warm-up and decay scale."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Weight decay."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Momentum of ``sgd``."""


class TrainingPart(_Part):
    """Schedule, optimiser and numerics of one run."""

    steps: Annotated[int, Field(gt=0)] = 1000
    """Batches."""
    warmup: Annotated[int, Field(ge=0)] = 20
    """Steps over which the learning rate rises linearly to its full value."""
    power: Positive = 0.9
    """Exponent of the polynomial decay, (1 − step / steps)^power, from the first step on."""
    optimiser: OptimiserPart = OptimiserPart()
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the exponential moving average (EMA) of the weights, which is validated and
    exported; 0 turns it off.
    """
    clip: Positive = 12.0
    """Largest gradient norm."""
    accumulate: Annotated[int, Field(gt=0)] = 1
    """Batches whose gradients are averaged before each step of the optimiser (gradient
    accumulation); Dice terms are joint over each of them.
    """
    batch_norm_recalibration: Annotated[int, Field(ge=0)] = 0
    """Batch-norm recalibration: number of batches over which batch-norm statistics are recomputed
    for the weights that are validated and exported. The patches lie around tumours and are at most
    mirrored. They have every sequence the student takes; norms with statistics for each subset of
    the sequences take those of a subset from every patch that has it. 0 keeps the running mean of
    training.
    """
    frozen_norms: bool = False
    """Whether batch norms use, in training too, the statistics that the run's ``init_from`` has:
    for fine-tuning. Else a patch is normalised with the others of its batch, and the network learns
    to rely on what it does not have at inference.
    """
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto`` takes bfloat16 where the processor has it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes a GPU where there is one."""
    compile: bool = False
    """Whether torch compiles the network; not with a loss on features."""
    prefetch: Annotated[int, Field(ge=0)] = 1
    """Background threads that cut patches; 0 cuts them in the loop."""
    validate_every: Annotated[int, Field(gt=0)] = 200
    """Steps between validations (Dice of whole prepared studies); the best weights are kept."""
    save_every: Annotated[int, Field(gt=0)] = 100
    """Steps between checkpoints."""
    tensorboard: bool = False
    """Whether a TensorBoard log is written too (``pip install 'gliodistill[tensorboard]'``)."""

    @model_validator(mode="after")
    def _one_kind_of_statistics(self) -> Self:
        if self.frozen_norms and self.batch_norm_recalibration:
            raise ValueError("frozen_norms, or batch_norm_recalibration above 0, not both")
        return self


class PseudoPart(_Part):
    """How a run uses the pseudo-labelled studies of ``gliodistill train --pseudo``."""

    share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the patches of a batch; 0 uses labelled studies only."""
    labels: Literal["hard", "soft"] = "hard"
    """``hard``: the label map. ``soft``: the ensemble's probabilities."""

    def count(self, batch: int) -> int:
        """Pseudo-labelled patches in a batch of that many."""
        return round(self.share * batch)


class NetworkPart(_Part):
    """A network by registry name, with its options."""

    name: str
    """From the registry of networks."""
    options: dict[str, Any] = {}
    """Options of that network."""


class MethodPart(_Part):
    """A method by registry name, with its options."""

    name: str = "supervised"
    """From the registry of methods."""
    options: dict[str, Any] = {}
    """Options of that method."""


class SegmentationLossPart(_Part):
    """A segmentation loss by registry name, with its options."""

    name: str = "dice_cross_entropy"
    """Its name: ``gliodistill list segmentation-losses``."""
    options: dict[str, Any] = {}
    """Its options."""


Outputs = Literal["regions", "classes"]
"""What the channels of logits are: sigmoids of the task's regions, or a soft-max over background
and tissues."""
PRETRAINED = "pretrained"
"""Stands for the run of another training that ``gliodistill train --pretrained`` names.
"""


class RunPart(_Part):
    """One training: a network, a method, and what differs from the keys that the recipe's runs
    share.
    """

    network: NetworkPart
    method: MethodPart = MethodPart()
    segmentation_loss: SegmentationLossPart = SegmentationLossPart()
    """The segmentation loss; soft Dice + cross-entropy by default."""
    init_from: Name | None = None
    """An earlier run whose weights this one is initialised from, widened where this network is
    wider; ``pretrained``: that of ``--pretrained``.
    """
    weight_averaging: dict[Name, Probability] = {}
    """Weight averaging: ``pretrained`` or an earlier run with the same initial weights → its share
    in the weights that are validated and exported. The remaining share is this run's own.
    """
    sequences: Annotated[tuple[MRSequence, ...], Field(min_length=1)] | None = None
    """Input sequences of the network, a subset of the data's; null for all."""
    outputs: Outputs = "regions"
    """``regions``: a sigmoid for each region of the task. ``classes``: a soft-max over background
    and tissues, for tasks of three regions that nest as WT, TC and ET do.
    """
    seed: Seed = 0
    """Seed of the initial weights and of the patches; runs with the same seed see the same patches
    in the same order.
    """
    pseudo: PseudoPart = PseudoPart()
    augmentation: AugmentationPart = AugmentationPart()
    training: TrainingPart = TrainingPart()

    @field_validator("weight_averaging")
    @classmethod
    def _leave_some(cls, shares: dict[str, float]) -> dict[str, float]:
        if sum(shares.values()) >= 1:
            raise ValueError("shares that sum to less than 1: the rest is the run's own")
        return shares


class Recipe(_Part):
    """An experiment.

    Example:
        >>> from gliodistill import Recipe
        >>> recipe = Recipe.open("compression", ["training.steps=500"])
        >>> recipe
        <Recipe compression: teacher, ...>
        >>> recipe.runs["distilled"].training.steps
        500
    """

    name: Name
    """Lower-case letters, digits, ``-`` and ``_``; models are named ``<name>-<run>``."""
    about: str = ""
    """What the experiment is for."""
    citation: str = ""
    """The paper it follows."""
    expected: str = ""
    """Expected result, or where measured results are documented."""
    cost: str = ""
    """Data, time and machine needed."""
    task: str | dict[str, Any] = DEFAULT
    """What is segmented: a shipped task (``gliodistill tasks``), or the path of a YAML file of your
    own, relative to the recipe. The recipe of a training holds the description itself.
    """
    data: DataPart = DataPart()
    sampling: SamplingPart = SamplingPart()
    runs: Annotated[dict[Name, RunPart], Field(min_length=1)]
    """Runs by name, trained in this order, each into a folder of its name."""

    @field_validator("runs")
    @classmethod
    def _free_names(cls, runs: dict[str, RunPart]) -> dict[str, RunPart]:
        if taken := sorted({"cache", "cache-pseudo", "cache-teachers"} & runs.keys()):
            raise ValueError(f"another name than {taken[0]}, which is a folder of prepared studies")
        if PRETRAINED in runs:
            raise ValueError(
                f"another name than {PRETRAINED}, which stands for the run of --pretrained"
            )
        return runs

    @model_validator(mode="before")
    @classmethod
    def _share(cls, values: Any) -> Any:
        """Merge the top-level ``SHARED`` keys into every run as its defaults."""
        if not isinstance(values, dict) or not isinstance(values.get("runs"), dict):
            return values
        shared = {key: values[key] for key in SHARED if values.get(key) is not None}
        # A run that is no mapping is kept, so that the schema reports it.
        runs = {
            name: merge(shared, run) if isinstance(run, dict) else run
            for name, run in values["runs"].items()
        }
        return {**{key: value for key, value in values.items() if key not in SHARED}, "runs": runs}

    @classmethod
    def open(cls, name: str | os.PathLike[str], settings: Sequence[str] = ()) -> "Recipe":
        """Read and validate a shipped recipe by its name, or a file.

        Args:
            name: e.g. ``compression``, or a path.
            settings: ``key=value`` overrides, e.g. ``training.steps=500``.

        Raises:
            RecipeError: neither, not YAML, an unknown key (with the nearest valid one, or its new
                name), or a bad value. Names of networks, methods and losses are looked up by
                :func:`gliodistill.training.resolve.resolve`.
        """
        file = find_recipe(name)
        return cls.of(read_values(file, settings), file)

    @classmethod
    def of(cls, values: dict[str, Any], file: Path) -> "Recipe":
        """Validate plain values.

        Args:
            values: as YAML has them.
            file: where they come from, for errors.

        Raises:
            RecipeError: names ``file`` and the key.
        """
        task = values.get("task")
        if isinstance(task, str) and task not in shipped_tasks():
            own = file.parent / task
            found = find_task(own if own.is_file() else task)
            values = {**values, "task": description_of(found)}
        elif isinstance(task, dict):
            find_task(task)
        return validated(cls, values, file)

    @cached_property
    def described_task(self) -> Task:
        """The task whose regions its runs learn."""
        return find_task(self.task)

    def __repr__(self) -> str:
        return f"<Recipe {self.name}: {', '.join(self.runs)}>"

    def head(self, name: str) -> str:
        """The first ancestor of a run's initial weights: itself, another run, or ``pretrained``."""
        return name if name == PRETRAINED else [name, *self.lineage(name)][-1]

    def lineage(self, name: str) -> list[str]:
        """The chain of runs that a run is initialised from; it ends with a run initialised at
        random, or with ``pretrained``.
        """
        chain: list[str] = []
        source = self.runs[name].init_from
        while source is not None:
            chain.append(source)
            source = None if source == PRETRAINED else self.runs[source].init_from
        return chain

    def to_yaml(self) -> str:
        """The complete recipe with all defaults."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
