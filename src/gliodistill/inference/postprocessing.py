"""Post-processing by clean-up rules, which remove implausibly small parts of a segmentation.

A model package names its steps and their options (:class:`~gliodistill.models.spec.Step`); they are
applied in order, before the labels are written. Sizes are in mm³, which mean the same on every
grid; the papers count voxels of 1 mm³.

Rules work on *depth*: 0 outside, 1 in WT only, 2 in TC, 3 in ET. Therefore the regions stay nested,
TC within WT and ET within TC. Rules may also use the network's confidence.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.models.spec import Step
from gliodistill.registry import Registry, first_line

Depth = NDArray[np.uint8]
ET, TC, WT = 3, 2, 1


@dataclass(frozen=True)
class Known:
    """What rules may use besides the depth map.

    Attributes:
        voxel_mm3: size of a voxel.
        expected_dice: region → expected Dice of the network's output before clean-up, if its
            probabilities were calibrated
            (:meth:`~gliodistill.trust.assessment.Evidence.expected_dice`); empty regions are
            omitted.
    """

    voxel_mm3: float
    expected_dice: Mapping[str, float]


@dataclass(frozen=True)
class Rule:
    """One clean-up rule.

    Attributes:
        text: what it does, for people.
        option: name of its one option.
        limits: least and greatest value of the option.
        apply: depth (X Y Z), value of the option, context → depth; may change the array in place.
    """

    text: str
    option: str
    limits: tuple[float, float]
    apply: Callable[[Depth, float, Known], Depth]


Apply = TypeVar("Apply", bound=Callable[[Depth, float, Known], Depth])


def _check_rule(name: str, rule: Any) -> None:
    if not isinstance(rule, Rule):
        raise ValueError(f"post-processing rule {name!r} is no Rule")


RULES: Registry[Rule] = Registry(
    "post-processing rule",
    "gliodistill.postprocessing",
    PackageError,
    _check_rule,
    lambda rule: rule.text,
)
"""Name → rule."""


def register(name: str, *, option: str, limits: tuple[float, float]) -> Callable[[Apply], Apply]:
    """Decorator that adds a function as a rule under ``name``; its documentation says what it does.

    Args:
        name: what models and ``export`` call it.
        option: name of its one option.
        limits: least and greatest value of the option.

    Raises:
        ValueError: the name is taken (a programmer's error).

    Example:
        >>> @register("no_et_example", option="on", limits=(0, 1))
        ... def no_et(depth, on, known):
        ...     "ET becomes NCR."
        ...     return np.minimum(depth, TC) if on else depth
        >>> clean(np.array([3, 2, 0], np.uint8), parse_steps(["no_et_example=1"]), Known(1, {}))
        array([2, 2, 0], dtype=uint8)
    """

    def keep(function: Apply) -> Apply:
        RULES.register(name, origin=function)(Rule(first_line(function), option, limits, function))
        return function

    return keep


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
    """Remove the 26-connected parts of the whole tumour that are not ``chosen`` by their size in
    voxels.
    """
    import cc3d  # here, so that packages without such a rule need only a runtime and NumPy

    parts, count = cc3d.connected_components(depth > 0, connectivity=26, return_N=True)
    if count:
        sizes = np.bincount(parts.ravel(order="K"))[1:]
        depth[~np.concatenate([[True], chosen(sizes)])[parts]] = 0
    return depth


_OURS = {
    "drop_small_et": Rule(
        "ET with a total volume below this many mm³ becomes NCR (Lachinov et al., BrainLes 2019:"
        " 33)",
        "mm3",
        (0, np.inf),
        _drop_small_et,
    ),
    "drop_doubtful_et": Rule(
        "ET becomes NCR if its expected Dice, by the network's own probabilities, is below this:"
        " false-positive ET is small and has low probabilities",
        "expected_dice",
        (0, 1),
        _drop_doubtful_et,
    ),
    "drop_small_components": Rule(
        "26-connected parts of the whole tumour below this many mm³ are removed",
        "mm3",
        (0, np.inf),
        _drop_small_components,
    ),
    "drop_minor_components": Rule(
        "26-connected parts below this share of the whole tumour are removed (Lachinov et"
        " al., BrainLes 2019: 0.1)",
        "share",
        (0, 1),
        _drop_minor_components,
    ),
    "keep_largest": Rule(
        "only this many of the largest 26-connected parts of the whole tumour are kept",
        "parts",
        (1, np.inf),
        _keep_largest,
    ),
}
for _name, _rule in _OURS.items():
    RULES.register(_name)(_rule)
names = RULES.names
"""The names of all clean-up rules, sorted."""


def check_steps(steps: Iterable[Step]) -> None:
    """Check that all steps are known rules.

    Raises:
        PackageError: no such rule, not exactly its option, or a value out of range.
    """
    for step in steps:
        rule = RULES.find(
            step.name,
            "inference.postprocessing",
            hint="update gliodistill, or install the package that adds this rule",
        )
        field = f"inference.postprocessing.{step.name}"
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
