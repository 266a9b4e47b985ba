"""The weighted distillation losses between a student and a teacher."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gliodistill.distillation.pairing import check_widths
from gliodistill.distillation.registry import LOSSES, SUPPLIED
from gliodistill.distillation.taps import FeatureTaps
from gliodistill.errors import RecipeError
from gliodistill.networks import Network
from gliodistill.recipes.options import fitting


@dataclass(frozen=True)
class _Term:
    loss: Callable[..., Tensor]
    same_width: bool
    weight: float
    taps: tuple[tuple[str, str], ...]
    options: dict[str, Any]


class Distiller:
    """The weighted distillation losses between a student and a teacher.

        with distiller.hooked():
            heads = student(image)
            with torch.no_grad():
                targets = teacher(image)
            terms = distiller.terms(heads[0], targets[0], regions)

    Args:
        student: the network to train.
        teacher: the network to distil from.
        outputs: of both: ``regions`` or ``classes``.
        losses: name → ``weight`` (1 by default), for features ``taps`` (pairs ``[student's stage,
            teacher's stage]``; by default all stages with the same name in both), and the
            loss's own options.

    Raises:
        RecipeError: an unknown loss, option or stage; a weight or option out of range.
    """

    def __init__(
        self,
        student: Network,
        teacher: Network,
        outputs: str,
        losses: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.outputs, self._networks = outputs, (student, teacher)
        terms = {name: _term(name, settings, student, teacher) for name, settings in losses.items()}
        if (
            outputs == "regions"
            and (term := terms.get("soft_target"))
            and term.options.get("standardise")
        ):
            field = "options.losses.soft_target.standardise"
            raise RecipeError(
                "regions have no common soft-max to standardise",
                field=field,
                got=True,
                expected="outputs: classes",
            )
        self._terms = {name: term for name, term in terms.items() if term.weight}
        pairs = [pair for term in self._terms.values() for pair in term.taps]
        self._taps = (
            [
                FeatureTaps(student, [p[0] for p in pairs]),
                FeatureTaps(teacher, [p[1] for p in pairs]),
            ]
            if pairs
            else []
        )

    def __bool__(self) -> bool:
        """Whether any loss has a weight."""
        return bool(self._terms)

    @property
    def teacher(self) -> Network:
        """The network to distil from."""
        return self._networks[1]

    @property
    def reads_features(self) -> bool:
        """Whether features are read, by forward hooks."""
        return bool(self._taps)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Forward hooks for one call of both networks; :meth:`terms` uses the features."""
        with ExitStack() as stack:
            for taps in self._taps:
                stack.enter_context(taps)
            yield

    @torch.no_grad()
    def check(self, student: Float[Tensor, "B C X Y Z"], teacher: Any) -> None:
        """Check feature shapes by one pass of both networks, if a loss needs it; milliseconds on
        the meta device.

        Args:
            student: input of the student.
            teacher: input of the teacher, as its ``input_of`` gives it.

        Raises:
            RecipeError: a loss that compares channels has stages of unequal widths.
        """
        pairs = [
            (name, *pair)
            for name, term in self._terms.items()
            if term.same_width
            for pair in term.taps
        ]
        if pairs:
            with self.hooked():
                for network, image in zip(self._networks, (student, teacher), strict=True):
                    network(image)
                for name, own, other in pairs:
                    check_widths(self._taps[0][own], self._taps[1][other], name)

    def terms(
        self,
        student: Float[Tensor, "B K X Y Z"],
        teacher: Float[Tensor, "B _ X Y Z"],
        regions: Float[Tensor, "B R X Y Z"],
        known: Bool[Tensor, "B R _ _ _"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """The weighted losses by name.

        Args:
            student: logits on the input's grid.
            teacher: logits on the same grid, of the regions that it teaches.
            regions: reference, for losses that need it.
            known: where it is known; None = everywhere. Losses between two networks need no labels
                and use every voxel.
        """
        terms = {}
        if self.teacher.teaches is not None:
            student = student[:, list(self.teacher.teaches)]
        for name, term in self._terms.items():
            given = {"outputs": self.outputs, "regions": regions, "known": known}
            options = {
                **term.options,
                **{
                    key: given[key]
                    for key in inspect.signature(term.loss).parameters
                    if key in given
                },
            }
            if term.taps:
                ours, theirs = self._taps
                pair = (
                    [ours[own] for own, _ in term.taps],
                    [theirs[other] for _, other in term.taps],
                )
                terms[name] = term.weight * term.loss(*pair, **options)
            else:
                terms[name] = term.weight * term.loss(student, teacher, **options)
        return terms


def _term(name: str, settings: Mapping[str, Any], student: Network, teacher: Network) -> _Term:
    found = LOSSES.find(name, "options.losses")
    loss, features = found.function, found.compares == "features"
    field, keywords = f"options.losses.{name}", inspect.signature(loss).parameters
    kinds: dict[str, Any] = {
        key: p.annotation
        for key, p in keywords.items()
        if p.kind is p.KEYWORD_ONLY and key not in SUPPLIED
    }
    kinds |= {"weight": float} | ({"taps": list[tuple[str, str]]} if features else {})
    options = fitting(settings, kinds, field)
    weight = options.pop("weight", 1.0)
    for option, value in {"weight": weight, **options}.items():
        if isinstance(value, float) and not (
            math.isfinite(value) and value >= 0 and (option != "temperature" or value > 0)
        ):
            expected = "above 0" if option == "temperature" else "0 or more"
            raise RecipeError(
                "option of a loss out of range",
                field=f"{field}.{option}",
                got=value,
                expected=expected,
            )
    taps: list[tuple[str, str]] = []
    if features and teacher.outputs_only is not None:
        logits = ", ".join(name for name, each in LOSSES.items() if each.compares == "logits")
        raise RecipeError(
            f"loss {name} compares features",
            field=field,
            got=teacher.outputs_only,
            expected=f"losses on logits: {logits}",
        )
    if features:
        shared = [(tap, tap) for tap in student.taps if tap in teacher.taps]
        taps = options.pop("taps", shared)
        if not taps:
            raise RecipeError(
                "no stages to compare",
                field=f"{field}.taps",
                expected=f"pairs, the student's from {', '.join(student.taps)}",
                hint="gliodistill networks --of KIND:PATH lists a teacher's"
                if teacher.unopened
                else None,
            )
        for network, names in zip((student, teacher), zip(*taps, strict=True), strict=True):
            try:  # also with weight 0, so that errors of a recipe are found at once
                FeatureTaps(network, names)
            except RecipeError as error:
                raise RecipeError(
                    error.problem,
                    field=f"{field}.taps",
                    got=error.got,
                    expected=error.expected,
                    hint=error.hint,
                ) from None
    return _Term(loss, found.same_width, weight, tuple(taps), options)
