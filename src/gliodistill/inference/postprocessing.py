"""Clean-up rules by name: what of a drawn tumour is too small to be believed.

A model package names its steps and their options (:class:`~gliodistill.models.spec.Step`); they are
applied in order, before the labels are written. Sizes are in mm³, which mean the same on every
grid; the papers count voxels of 1 mm³.

Rules work on *depth*: 0 outside, 1 in WT only, 2 in TC, 3 in ET. The regions are nested by that
alone, whatever a rule
does: TC lies within WT and ET within TC. Besides they may ask how sure the network was.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.models.spec import Step

Depth = NDArray[np.uint8]
ET, TC, WT = 3, 2, 1


@dataclass(frozen=True)
class Known:
    """What rules may know of an answer besides its depth.

    Attributes:
        voxel_mm3: size of a voxel.
        expected_dice: region → Dice to be expected if every voxel were right with its own
            probability, of the network's answer before any clean-up
            (:meth:`~gliodistill.trust.assessment.Evidence.expected_dice`); a region that was not
            drawn is left out.
    """

    voxel_mm3: float
    expected_dice: Mapping[str, float]


@dataclass(frozen=True)
class Rule:
    """One kind of step.

    Attributes:
        text: what it does, for people.
        option: name of its one option.
        limits: least and greatest value of the option.
        apply: depth (X Y Z), value of the option, what is known → depth, perhaps the same array,
            changed.
    """

    text: str
    option: str
    limits: tuple[float, float]
    apply: Callable[[Depth, float, Known], Depth]


def _drop_small_et(depth: Depth, mm3: float, known: Known) -> Depth:
    enhancing = depth == ET
    if np.count_nonzero(enhancing) * known.voxel_mm3 < mm3:
        depth[enhancing] = TC
    return depth


def _drop_doubtful_et(depth: Depth, least: float, known: Known) -> Depth:
    if known.expected_dice.get("ET", 1) < least:
        depth[depth == ET] = TC
    return depth


def _drop_small_components(depth: Depth, mm3: float, known: Known) -> Depth:
    return _keep(depth, lambda sizes: sizes * known.voxel_mm3 >= mm3)


def _drop_minor_components(depth: Depth, share: float, known: Known) -> Depth:
    return _keep(depth, lambda sizes: sizes >= share * sizes.sum())


def _keep_largest(depth: Depth, count: float, known: Known) -> Depth:
    return _keep(depth, lambda sizes: np.argsort(np.argsort(-sizes, kind="stable")) < count)


def _keep(depth: Depth, chosen: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> Depth:
    """Drop the 26-connected parts of the whole tumour that are not ``chosen`` by their size in
    voxels.
    """
    import cc3d  # here, so that a package without such a rule needs a runtime and numpy alone

    parts, count = cc3d.connected_components(depth > 0, connectivity=26, return_N=True)
    if count:
        sizes = np.bincount(parts.ravel(order="K"))[1:]
        depth[~np.concatenate([[True], chosen(sizes)])[parts]] = 0
    return depth


RULES = {
    "drop_small_et": Rule(
        "ET of less than so many mm³ in all becomes NCR (Lachinov et al., BrainLes 2019: 33)",
        "mm3",
        (0, np.inf),
        _drop_small_et,
    ),
    "drop_doubtful_et": Rule(
        "ET becomes NCR where the network's own probabilities expect less Dice of it than this:"
        " where nothing enhances, a speck that is drawn is small, and the network unsure of it",
        "expected_dice",
        (0, 1),
        _drop_doubtful_et,
    ),
    "drop_small_components": Rule(
        "26-connected parts of the whole tumour of less than so many mm³ are dropped",
        "mm3",
        (0, np.inf),
        _drop_small_components,
    ),
    "drop_minor_components": Rule(
        "26-connected parts of less than this share of the whole tumour are dropped (Lachinov et"
        " al., BrainLes 2019: 0.1)",
        "share",
        (0, 1),
        _drop_minor_components,
    ),
    "keep_largest": Rule(
        "only so many of the largest 26-connected parts of the whole tumour are kept",
        "parts",
        (1, np.inf),
        _keep_largest,
    ),
}
"""Name → rule."""


def check_steps(steps: Iterable[Step]) -> None:
    """Refuse steps that no rule knows.

    Raises:
        PackageError: no such rule, not exactly its option, or a value out of range.
    """
    for step in steps:
        if step.name not in RULES:
            raise PackageError(
                "unknown post-processing",
                field="inference.postprocessing",
                got=step.name,
                expected=", ".join(RULES),
                hint="update gliodistill",
            )
        rule, field = RULES[step.name], f"inference.postprocessing.{step.name}"
        if set(step.options) != {rule.option}:
            raise PackageError(
                "options do not fit",
                field=field,
                got=", ".join(step.options) or "none",
                expected=rule.option,
            )
        value, (low, high) = step.options[rule.option], rule.limits
        if not low <= value <= high:
            raise PackageError(
                "option out of range",
                field=f"{field}.{rule.option}",
                got=value,
                expected=f"{low:g} to {high:g}",
            )


def parse_steps(texts: Iterable[str]) -> tuple[Step, ...]:
    """Steps from ``RULE=VALUE``, e.g. ``drop_small_et=33``, checked.

    Raises:
        PackageError: not of that form, or as :func:`check_steps`.
    """
    steps = []
    for text in texts:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            expected = ", ".join(f"{rule}={RULES[rule].option.upper()}" for rule in RULES)
            raise PackageError(
                "not a clean-up rule", field="--clean-up", got=text, expected=expected
            ) from None
        options = {RULES[name].option: number} if name in RULES else {}
        steps.append(Step(name, options))
    check_steps(steps)
    return tuple(steps)


def clean(depth: Depth, steps: Iterable[Step], known: Known) -> Depth:
    """Apply steps in order to a depth map (uint8, X Y Z, any part of the grid that holds the whole
    tumour; changed).
    """
    for step in steps:
        rule = RULES[step.name]
        depth = rule.apply(depth, step.options[rule.option], known)
    return depth
