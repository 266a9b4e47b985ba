"""What a recipe may say of each transform of the augmentation: its probability and its ranges.

The transforms themselves, with torch, are in ``training/transforms``: one class a file, which
takes the keys below. A plain number in place of the mapping is its probability: ``gamma: 0.5`` is
``gamma: {p: 0.5}``.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotPositive = Annotated[float, Field(le=0)]
NotNegative = Annotated[float, Field(ge=0)]


def _in_order(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] > values[1]:
        raise ValueError("the smaller number first")
    return values


Range = Annotated[tuple[float, float], AfterValidator(_in_order)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_in_order)]
NotNegativeRange = Annotated[tuple[NotNegative, NotNegative], AfterValidator(_in_order)]
Shares = Annotated[tuple[Probability, Probability], AfterValidator(_in_order)]
Gap = Annotated[float, Field(ge=0, lt=1)]
Gaps = Annotated[tuple[Gap, Gap], AfterValidator(_in_order)]
Axis = Literal[0, 1, 2]
GreyLevels = Annotated[float, Field(ge=2, le=256)]
Zoom = Annotated[float, Field(gt=0, le=1)]
Zooms = Annotated[tuple[Zoom, Zoom], AfterValidator(_in_order)]


class TransformPart(BaseModel):
    """A transform: how often, and how much."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    p: Probability = 0.0
    """Probability that a patch is transformed."""

    @model_validator(mode="before")
    @classmethod
    def _probability(cls, value: Any) -> Any:
        """A number is its probability."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"p": value}
        if not isinstance(value, dict | cls):
            raise ValueError(f"a probability, or a mapping of {', '.join(cls.model_fields)}")
        return value


class GammaPart(TransformPart):
    """Grey scale bent, for each sequence."""

    p: Probability = 0.2
    """Probability of a gamma transform, for each patch."""
    exponent: PositiveRange = (0.7, 1.5)
    """Least and greatest exponent on the sequence's own range."""


class BrightnessPart(TransformPart):
    """Intensities shifted, for each sequence."""

    p: Probability = 0.3
    """Probability of a shift, for each patch."""
    shift: Range = (-0.3, 0.3)
    """Least and greatest shift, in standard deviations of the brain."""


class ContrastPart(TransformPart):
    """Intensities stretched, for each sequence."""

    p: Probability = 0.3
    """Probability of a stretch, for each patch."""
    factor: PositiveRange = (0.75, 1.25)
    """Least and greatest factor on z-scores."""


class NoisePart(TransformPart):
    """Gaussian noise."""

    p: Probability = 0.15
    """Probability of noise, for each patch."""
    deviation: NotNegativeRange = (0.0, 0.25)
    """Least and greatest standard deviation, in those of the brain."""


class BlurPart(TransformPart):
    """Smoothing by a Gaussian, for each sequence."""

    p: Probability = 0.15
    """Probability of smoothing, for each patch."""
    sigma: PositiveRange = (0.3, 1.0)
    """Least and greatest sigma, in voxels."""


class LowResolutionPart(TransformPart):
    """Coarse sampling and back, for each sequence."""

    p: Probability = 0.15
    """Probability of coarse sampling, for each patch."""
    zoom: Zooms = (0.5, 1.0)
    """Least and greatest share of the voxels along each axis."""


class BiasPart(TransformPart):
    """A smooth gain, another in each sequence."""

    deviation: NotNegativeRange = (0.0, 0.25)
    """Least and greatest standard deviation of the gain's logarithm."""
    zero: NotNegativeRange = (2.0, 6.0)
    """How many standard deviations below the brain's mean intensity 0 lies, least and greatest: T2
    and FLAIR rather less, T1 and T1CE rather more."""


class CurvePart(TransformPart):
    """Another contrast: a random increasing curve of the z-scores."""

    steepness: NotNegative = 0.35
    """Standard deviation of the logarithm of the curve's slope between its knots."""
    shift: NotNegative = 0.2
    """Standard deviation of where the brain's mean goes."""


class ThickSlicesPart(TransformPart):
    """Slabs along one axis, as thick slices are."""

    voxels: PositiveRange = (2.0, 5.0)
    """Least and greatest distance between slices, for each sequence."""
    sequences: Probability = 0.5
    """Share of the sequences that have thick slices."""
    every: Probability = 0.0
    """Probability that all sequences of a patch have thick slices, as in hospital studies."""
    axes: Annotated[tuple[Axis, ...], Field(min_length=1)] = (0, 1, 2)
    """Along which slices may lie (0 sagittal, 1 coronal, 2 axial); one is drawn."""
    gap: Gaps = (0.0, 0.0)
    """Least and greatest share of the distance that is a gap between slices."""


class MisregistrationPart(TransformPart):
    """Sequences shifted against the reference."""

    voxels: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Largest shift along each axis; at most 1."""


class CutFieldPart(TransformPart):
    """The field of view of one sequence, ending within the patch."""

    at: Shares = (0.1, 0.9)
    """Where it ends, as least and greatest share of the patch's side."""


class WindowingPart(TransformPart):
    """A window with few grey levels, another in each sequence, as 8-bit exports have."""

    low: Annotated[tuple[NotPositive, NotPositive], AfterValidator(_in_order)] = (-4.0, -1.5)
    """Lower end of the window in standard deviations of the brain, least and greatest."""
    high: PositiveRange = (1.5, 5.0)
    """Upper end of the window, least and greatest."""
    levels: Annotated[tuple[GreyLevels, GreyLevels], AfterValidator(_in_order)] = (24.0, 128.0)
    """Least and greatest number of grey levels within the window."""


class ContrastAgentPart(TransformPart):
    """Contrast agent absent, too little or late: T1 mixed into T1CE."""

    missing: Shares = (0.3, 1.0)
    """Least and greatest share of T1 in a patch. From 0.5 on the reference has no ET there."""
    everywhere: Probability = 0.5
    """Probability that the share is the same everywhere; otherwise it varies smoothly from 0."""


class BrainMaskPart(TransformPart):
    """Errors of the brain mask: brain that is cut off, and other tissue that is left on."""

    voxels: NotNegativeRange = (1.0, 3.3)
    """Least and greatest shift of its border, inwards or outwards."""
    brightness: Range = (-2.0, 5.0)
    """Least and greatest mean of left-on tissue, in standard deviations above the brain's mean."""


class TransplantPart(TransformPart):
    """Another labelled patient's tumour in a labelled patch, besides its own."""

    rim: Annotated[int, Field(ge=0)] = 2
    """Most voxels around it that are transplanted with it."""
