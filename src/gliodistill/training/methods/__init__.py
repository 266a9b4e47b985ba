"""Methods: a paper is one file here and one recipe. A method owns the student and turns a batch into weighted losses."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from gliodistill.errors import RecipeError
from gliodistill.networks import Network, build, count_parameters
from gliodistill.training.losses import Outputs
from gliodistill.training.methods.compression import Compression
from gliodistill.training.methods.supervised import Supervised
from gliodistill.training.recipe import Recipe, RunPart
from gliodistill.training.sampling import Batch

Losses = Mapping[str, Tensor]


class Method(Protocol):
    """What the loop asks of a method.

    Attributes:
        student: the network that learns and is exported.
    """

    student: Network

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named loss terms, each already weighted; the loop minimises their sum."""
        ...


METHODS: dict[str, type[Supervised] | type[Compression]] = {"supervised": Supervised, "compression": Compression}
NEEDS_TEACHER = frozenset({"compression"})


def check_run(recipe: Recipe, name: str) -> None:
    """Check what a schema cannot: names in registries, options that fit, a teacher that trains before its student.

    Raises:
        RecipeError: with the field relative to the run.
    """
    run = recipe.runs[name]
    method = METHODS.get(run.method.name)
    if method is None:
        near = difflib.get_close_matches(run.method.name, METHODS, n=1)
        raise RecipeError(
            "unknown method",
            field="method.name",
            got=run.method.name,
            expected=", ".join(METHODS),
            hint=f"did you mean {near[0]}?" if near else None,
        )
    options = set(run.method.options)
    parameters = list(inspect.signature(method.__init__).parameters.values())[1:]
    valid = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY] + (["teacher"] if run.method.name in NEEDS_TEACHER else [])
    unknown = sorted(options - set(valid))
    if unknown:
        raise RecipeError("unknown method option", field=f"method.options.{unknown[0]}", expected=", ".join(valid) or "no options")
    parts = [run]
    if run.method.name in NEEDS_TEACHER:
        parts.append(recipe.runs[teacher_of(recipe, name)])
    if run.training.compile and run.method.options.get("attention_weight"):
        raise RecipeError("attention reads features through hooks", field="training.compile", got=True, expected="false for this run")
    with torch.device("meta"):  # shapes and names only: a 31 M teacher costs nothing to check
        built = [build_network(recipe, part) for part in parts]
    for network in built:
        for side, patch in zip("XYZ", recipe.sampling.patch, strict=True):
            if patch % network.divisor:
                raise RecipeError("patch does not fit the network", field=f"sampling.patch {side}", got=patch, expected=f"a multiple of {network.divisor}")
    if run.method.name in NEEDS_TEACHER:
        own = {key: value for key, value in run.method.options.items() if key != "teacher"}
        METHODS[run.method.name](built[0], recipe.outputs, teacher=built[1], **own)
    else:
        METHODS[run.method.name](built[0], recipe.outputs, **run.method.options)


def teacher_of(recipe: Recipe, name: str) -> str:
    """The earlier run that teaches run ``name``.

    Raises:
        RecipeError: no teacher is named, or it is not an earlier run.
    """
    teacher = recipe.runs[name].method.options.get("teacher")
    earlier = list(recipe.runs)[: list(recipe.runs).index(name)]
    if teacher not in earlier:
        raise RecipeError("teacher is not an earlier run", field="method.options.teacher", got=teacher, expected=", ".join(earlier) or "a run before this one")
    return str(teacher)


def build_network(recipe: Recipe, run: RunPart) -> Network:
    """The run's network for the recipe's sequences and outputs."""
    for option in ("in_channels", "out_channels"):
        if option in run.network.options:
            raise RecipeError("set by the recipe's sequences and outputs", field=f"network.options.{option}", hint="remove it")
    return build(run.network.name, in_channels=len(recipe.data.sequences), out_channels=recipe.channels, **run.network.options)


def build_method(recipe: Recipe, name: str, teacher: Network | None) -> Method:
    """The run's method around a fresh student; ``teacher`` is the trained network of :func:`teacher_of`."""
    run = recipe.runs[name]
    student = build_network(recipe, run)
    options = {key: value for key, value in run.method.options.items() if key != "teacher"}
    if run.method.name in NEEDS_TEACHER:
        options["teacher"] = teacher
    method: Method = METHODS[run.method.name](student, recipe.outputs, **options)
    return method


__all__ = ["METHODS", "NEEDS_TEACHER", "Losses", "Method", "Outputs", "build_method", "build_network", "check_run", "count_parameters", "teacher_of"]
