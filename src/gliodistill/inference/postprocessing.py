"""Post-processing by clean-up rules, which remove implausibly small parts of a segmentation.

A model package names its steps and their options (:class:`~gliodistill.models.spec.Step`); they are
applied in order, before the labels are written. Sizes are in mm³, which mean the same on every
grid; the papers count voxels of 1 mm³.

Rules work on the *painting* of a task (:meth:`~gliodistill.tasks.task.Task.paint`), which for
gliomas is a depth: 0 outside, 1 in WT only, 2 in TC, 3 in ET. Therefore the regions stay nested, TC
within WT and ET within TC. Rules may also use the network's confidence.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError
from gliodistill.images.bounds import filled_box
from gliodistill.models.spec import Step
from gliodistill.registry import Registry, first_line
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.task import Task

Depth = NDArray[np.uint8]
ET, TC, WT = 3, 2, 1
"""Values of a painting of gliomas."""


@dataclass(frozen=True)
class Known:
    """What rules may use besides the depth map.

    Attributes:
        voxel_mm3: size of a voxel.
        expected_dice: region → expected Dice of the network's output before clean-up, if its
            probabilities were calibrated
            (:meth:`~gliodistill.trust.assessment.Evidence.expected_dice`); empty regions are
            omitted.
        task: whose painting it is.
    """

    voxel_mm3: float
    expected_dice: Mapping[str, float]
    task: Task = field(default_factory=glioma)

    def painted(self, region: str) -> tuple[int, int]:
        """Value of a region in the painting, and of the region that it lies within (0: none)."""
        index = self.task.names.index(region)
        parent = self.task.parents[index]
        return index + 1, 0 if parent is None else parent + 1


@dataclass(frozen=True)
class Rule:
    """One clean-up rule.

    Attributes:
        text: what it does, for people.
        option: name of its one option.
        limits: least and greatest value of the option.
        apply: depth (X Y Z), value of the option, context → depth; may change the array in place.
        region: the region that it needs; None = any task will do.
    """

    text: str
    option: str
    limits: tuple[float, float]
    apply: Callable[[Depth, float, Known], Depth]
    region: str | None = None


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
        >>> clean(np.array([[[3, 2, 0]]], np.uint8), parse_steps(["no_et_example=1"]), Known(1, {}))
        array([[[2, 2, 0]]], dtype=uint8)
    """

    def keep(function: Apply) -> Apply:
        RULES.register(name, origin=function)(Rule(first_line(function), option, limits, function))
        return function

    return keep


def _drop_small_et(depth: Depth, mm3: float, known: Known) -> Depth:
    own, around = known.painted("ET")
    enhancing = depth == own
    if np.count_nonzero(enhancing) * known.voxel_mm3 < mm3:
        depth[enhancing] = around
    return depth


def _drop_doubtful_et(depth: Depth, least: float, known: Known) -> Depth:
    if known.expected_dice.get("ET", 1) < least:
        own, around = known.painted("ET")
        depth[depth == own] = around
    return depth


def _drop_small_components(depth: Depth, mm3: float, known: Known) -> Depth:
    return _keep(depth, known, lambda sizes: sizes * known.voxel_mm3 >= mm3)


def _drop_minor_components(depth: Depth, share: float, known: Known) -> Depth:
    return _keep(depth, known, lambda sizes: sizes >= share * sizes.sum())


def _keep_largest(depth: Depth, count: float, known: Known) -> Depth:
    return _keep(depth, known, lambda sizes: np.argsort(np.argsort(-sizes, kind="stable")) < count)


def _keep(
    depth: Depth, known: Known, chosen: Callable[[NDArray[np.int64]], NDArray[np.bool_]]
) -> Depth:
    """Remove the 26-connected parts that are not ``chosen`` by their size in voxels: of the whole
    tumour, and of any other region that lies within none, each by itself.
    """
    import cc3d  # here, so that packages without such a rule need only a runtime and NumPy

    task = known.task
    for root in task.roots:
        alone = len(task.roots) == 1
        mask = depth > 0 if alone else np.isin(depth, [i + 1 for i in task.inside(root)])
        parts, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
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
        "ET",
    ),
    "drop_doubtful_et": Rule(
        "ET becomes NCR if its expected Dice, by the network's own probabilities, is below this:"
        " false-positive ET is small and has low probabilities",
        "expected_dice",
        (0, 1),
        _drop_doubtful_et,
        "ET",
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


def check_steps(steps: Iterable[Step], task: Task | None = None) -> None:
    """Check that all steps are known rules.

    Args:
        steps: of a model.
        task: of the model; None = not known.

    Raises:
        PackageError: no such rule, not exactly its option, a value out of range, or a rule for a
            region that the task does not have.
    """
    for step in steps:
        rule = RULES.find(
            step.name,
            "inference.postprocessing",
            hint="update gliodistill, or install the package that adds this rule",
        )
        place = f"inference.postprocessing.{step.name}"
        if set(step.options) != {rule.option}:
            raise PackageError(
                "options do not fit",
                field=place,
                got=", ".join(step.options) or "none",
                expected=rule.option,
            )
        if task is not None and rule.region not in (None, *task.names):
            raise PackageError(
                "clean-up rule for a region that the model does not have",
                field=place,
                got=rule.region,
                expected=f"{', '.join(task.names)} (task {task.name})",
                hint=f"rules for it: {', '.join(task.clean_up) or 'none'}",
            )
        value, (low, high) = step.options[rule.option], rule.limits
        if not low <= value <= high:
            raise PackageError(
                "option out of range",
                field=f"{place}.{rule.option}",
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
    tumour; changed). Rules see the box around the tumour; without a tumour none is applied.
    """
    box = filled_box(depth)
    if box is None:
        return depth
    tumour = depth[box]  # a few per cent of the brain
    for step in steps:
        rule = RULES[step.name]
        tumour = rule.apply(tumour, step.options[rule.option], known)
    depth[box] = tumour
    return depth
