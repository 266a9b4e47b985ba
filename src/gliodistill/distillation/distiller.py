"""What a student owes its teacher: any of the losses, by name, each with its weight."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from gliodistill.distillation.pairing import check_widths
from gliodistill.distillation.registry import GIVEN, LOSSES
from gliodistill.distillation.taps import FeatureTaps
from gliodistill.errors import RecipeError, brief
from gliodistill.networks import Network
from gliodistill.registry import nearest


@dataclass(frozen=True)
class _Term:
    loss: Callable[..., Tensor]
    same_width: bool
    weight: float
    taps: tuple[tuple[str, str], ...]
    options: dict[str, Any]


class Distiller:
    """The weighted distillation losses between a student and a teacher.

        with distiller.listening():
            heads = student(image)
            with torch.no_grad():
                told = teacher(image)
            terms = distiller.terms(heads[0], told[0], regions)

    Args:
        student: learns.
        teacher: is compared with.
        outputs: of both: ``regions`` or ``classes``.
        losses: name → ``weight`` (1 by default), for features ``taps`` (pairs ``[student's stage,
            teacher's stage]``; by default every stage that both have under one name), and the
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
    def listens(self) -> bool:
        """Whether features are read, through hooks."""
        return bool(self._taps)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Call both networks once within; :meth:`terms` reads what their stages put out."""
        with ExitStack() as stack:
            for taps in self._taps:
                stack.enter_context(taps)
            yield

    @torch.no_grad()
    def check(
        self, student: Float[Tensor, "B C X Y Z"], teacher: Float[Tensor, "B D X Y Z"]
    ) -> None:
        """Find out what only shapes tell, by one pass of both networks where a loss needs it:
        milliseconds on the meta device.

        Args:
            student: what the student will be shown.
            teacher: what the teacher will be shown.

        Raises:
            RecipeError: a loss that compares channel by channel would meet stages of unequal
                widths.
        """
        pairs = [
            (name, *pair)
            for name, term in self._terms.items()
            if term.same_width
            for pair in term.taps
        ]
        if pairs:
            with self.listening():
                for network, image in zip(self._networks, (student, teacher), strict=True):
                    network(image)
                for name, own, other in pairs:
                    check_widths(self._taps[0][own], self._taps[1][other], name)

    def terms(
        self,
        student: Float[Tensor, "B K X Y Z"],
        teacher: Float[Tensor, "B K X Y Z"],
        regions: Float[Tensor, "B 3 X Y Z"],
        known: Bool[Tensor, "B 3 _ _ _"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """The weighted losses by name.

        Args:
            student: logits on the input's grid.
            teacher: logits on the same grid.
            regions: truth, for the losses that ask for it.
            known: where it is known; None = everywhere. Losses between two networks ask for no
                labels and count every voxel.
        """
        terms = {}
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
        if p.kind is p.KEYWORD_ONLY and key not in GIVEN
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
    if features:
        shared = [(tap, tap) for tap in student.taps if tap in teacher.taps]
        taps = options.pop("taps", shared)
        if not taps:
            expected = f"pairs, the student's from {', '.join(student.taps)}"
            raise RecipeError("no stages to compare", field=f"{field}.taps", expected=expected)
        for network, names in zip((student, teacher), zip(*taps, strict=True), strict=True):
            try:  # even where the weight is 0: a recipe's mistakes do not wait for their day
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


def fitting(given: Mapping[str, Any], kinds: Mapping[str, Any], field: str) -> dict[str, Any]:
    """``given`` options, each known to ``kinds`` and of the kind stated there.

    Raises:
        RecipeError: unknown (with the nearest valid one), or of another kind.
    """
    options = {}
    for key, value in given.items():
        if key not in kinds:
            valid = ", ".join(kinds) or "no options"
            raise RecipeError(
                "unknown option", field=f"{field}.{key}", expected=valid, hint=nearest(key, kinds)
            )
        try:
            options[key] = TypeAdapter(
                kinds[key], config=ConfigDict(allow_inf_nan=False)
            ).validate_python(value)
        except ValidationError as error:
            raise RecipeError(
                "option does not fit",
                field=f"{field}.{key}",
                got=brief(value),
                expected=error.errors()[0]["msg"],
            ) from None
    return options
