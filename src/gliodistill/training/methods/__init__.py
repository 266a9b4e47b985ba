"""Methods: a paper is one file here and one recipe. A method owns the student and turns a batch into weighted losses."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from gliodistill.errors import RecipeError
from gliodistill.networks import Network, build
from gliodistill.training.methods.compression import Compression
from gliodistill.training.methods.supervised import Supervised
from gliodistill.training.recipe import MethodPart, Recipe, RunPart
from gliodistill.training.sampling import Batch


@runtime_checkable
class Method(Protocol):
    """What the loop asks of a method."""

    @property
    def student(self) -> Network:
        """The network that learns and is exported."""
        ...

    @property
    def teacher(self) -> Network | None:
        """A trained network that is only read, or None."""
        ...

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named loss terms, each already weighted; the loop minimises their sum."""
        ...


METHODS: dict[str, Callable[..., Method]] = {"supervised": Supervised, "compression": Compression}
NEEDS_TEACHER = frozenset({"compression"})


def check_recipe(recipe: Recipe) -> None:
    """Check every run with :func:`check_run`."""
    for name in recipe.runs:
        check_run(recipe, name)


def check_run(recipe: Recipe, name: str) -> None:
    """Check what a schema cannot: names in registries, options that fit, a teacher that trains before its student.

    Raises:
        RecipeError: names the key in the recipe.
    """
    run = recipe.runs[name]
    _method_options(run.method, f"runs.{name}.method")
    teacher = teacher_of(recipe, name) if run.method.name in NEEDS_TEACHER else None
    if run.training.compile and run.method.options.get("attention_weight"):
        raise RecipeError(
            "attention reads features through hooks", field=f"runs.{name}.training.compile", got=True, expected="false for this run"
        )
    with torch.device("meta"):  # shapes and names only: a 31 M teacher costs nothing to check
        with _naming(f"runs.{name}.network"):
            student = build_network(recipe, run)
        lent = None if teacher is None else build_network(recipe, recipe.runs[teacher])
    if any(side % student.divisor for side in recipe.sampling.patch):
        raise RecipeError(
            f"patch does not fit the network of run {name}",
            field="sampling.patch",
            got=list(recipe.sampling.patch),
            expected=f"multiples of {student.divisor}",
        )
    with _naming(f"runs.{name}.method"):
        _make(recipe, run, student, lent)


def _method_options(part: MethodPart, field: str = "method") -> dict[str, Any]:
    """The options of a method that is there, each known and of the type that the method declares; without the teacher's name."""
    method = METHODS.get(part.name)
    if method is None:
        raise RecipeError(
            "unknown method", field=f"{field}.name", got=part.name, expected=", ".join(METHODS), hint=_nearest(part.name, METHODS)
        )
    parameters = inspect.signature(method).parameters.values()
    valid = {parameter.name: parameter.annotation for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    options = {}
    for option, value in part.options.items():
        key = f"{field}.options.{option}"
        if option not in valid:
            raise RecipeError("unknown method option", field=key, expected=", ".join(valid) or "no options", hint=_nearest(option, valid))
        if option == "teacher":
            continue  # the name of a run here, a network there
        try:
            options[option] = TypeAdapter(valid[option], config=ConfigDict(allow_inf_nan=False)).validate_python(value)
        except ValidationError as error:
            raise RecipeError("method option does not fit", field=key, got=repr(value)[:80], expected=error.errors()[0]["msg"]) from None
    return options


def _nearest(word: str, valid: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(word, list(valid), n=1)
    return f"did you mean {near[0]}?" if near else None


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Say where in the recipe it was that a network or a method refused its options."""
    try:
        yield
    except RecipeError as error:
        inner = error.field or ""
        field = inner if inner.startswith("runs.") else f"{place}.{inner}".rstrip(".")
        raise RecipeError(error.problem, field=field, got=error.got, expected=error.expected, hint=error.hint) from None
    except (TypeError, ValueError, AttributeError) as error:
        raise RecipeError("options do not fit", field=f"{place}.options", got=str(error)) from error


def teacher_of(recipe: Recipe, name: str) -> str:
    """The earlier run that teaches run ``name``.

    Raises:
        RecipeError: no teacher is named, or it is not an earlier run.
    """
    teacher = recipe.runs[name].method.options.get("teacher")
    earlier = list(recipe.runs)[: list(recipe.runs).index(name)]
    if teacher not in earlier:
        raise RecipeError(
            "teacher is not an earlier run",
            field=f"runs.{name}.method.options.teacher",
            got=teacher,
            expected=", ".join(earlier) or "a run before this one",
            hint=_nearest(str(teacher), earlier),
        )
    return str(teacher)


def build_network(recipe: Recipe, run: RunPart) -> Network:
    """The run's network for the recipe's sequences and outputs."""
    for option in ("in_channels", "out_channels"):
        if option in run.network.options:
            raise RecipeError("set by the recipe's sequences and outputs", field=f"options.{option}", hint="remove it")
    return build(run.network.name, in_channels=len(recipe.data.sequences), out_channels=recipe.channels, **run.network.options)


def build_method(recipe: Recipe, name: str, teacher: Network | None) -> Method:
    """The run's method around a fresh student; ``teacher`` is the trained network of :func:`teacher_of`."""
    run = recipe.runs[name]
    return _make(recipe, run, build_network(recipe, run), teacher)


def _make(recipe: Recipe, run: RunPart, student: Network, teacher: Network | None) -> Method:
    options = _method_options(run.method) if teacher is None else {**_method_options(run.method), "teacher": teacher}
    return METHODS[run.method.name](student, recipe.outputs, **options)
