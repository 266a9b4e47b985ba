"""Methods: a paper is one file here and one recipe. A method owns the student and turns a batch
into weighted losses.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import torch
from pydantic import ValidationError
from torch import Tensor

from gliodistill.distillation.distiller import Distiller, fitting, nearest
from gliodistill.errors import RecipeError, brief
from gliodistill.networks import Network, build
from gliodistill.networks.subset import Selecting
from gliodistill.networks.widening import check_widening
from gliodistill.training.methods.any_subset import AnySubset
from gliodistill.training.methods.assistant_chain import AssistantChain
from gliodistill.training.methods.compression import Compression
from gliodistill.training.methods.mutual import Mutual
from gliodistill.training.methods.omni import Omni
from gliodistill.training.methods.single_stage import SingleStage
from gliodistill.training.methods.supervised import Supervised
from gliodistill.training.recipe import GIVEN, MethodPart, NetworkPart, Recipe
from gliodistill.training.sampling import Batch


@runtime_checkable
class Method(Protocol):
    """What the loop asks of a method.

    Class attributes say which options are networks, and what else a recipe must give:

    * ``TRAINED``: options that name an earlier run (or a list of them); the method gets its trained
    network, and freezes it;
    * ``LEARNING``: option → ``"complete"`` or ``"image"``: a network of its own (name and options),
      new, that learns beside the student and is shown all sequences or what the student is shown;
    * ``DROPS``: the run must drop sequences;
    * ``PSEUDO``: the run must learn from pseudo-labels.
    """

    @property
    def student(self) -> Network:
        """The network that learns and is exported."""
        ...

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named loss terms, each already weighted; the loop minimises their sum."""
        ...


METHODS: dict[str, Callable[..., Method]] = {
    "supervised": Supervised,
    "compression": Compression,
    "omni": Omni,
    "assistant_chain": AssistantChain,
    "single_stage": SingleStage,
    "mutual": Mutual,
    "any_subset": AnySubset,
}


_checked: set[str] = set()


def check_recipe(recipe: Recipe) -> None:
    """Check every run with :func:`check_run`; a recipe found good is not checked again by this
    process.
    """
    if (text := recipe.model_dump_json()) not in _checked:
        for name in recipe.runs:
            check_run(recipe, name)
        _checked.add(text)


def check_run(recipe: Recipe, name: str) -> None:
    """Check what a schema cannot: names in registries, options that fit, sequences the data has,
    teachers that train before.

    Raises:
        RecipeError: names the key in the recipe.
    """
    run = recipe.runs[name]
    place = f"runs.{name}"
    channels_of(recipe, name)
    teachers = needs(recipe, name)
    for teacher in teachers:
        if (theirs := recipe.runs[teacher].outputs) != run.outputs:
            hint = "train both on the same outputs"
            raise RecipeError(
                "teacher has other outputs",
                field=f"{place}.outputs",
                got=run.outputs,
                expected=theirs,
                hint=hint,
            )
    method_class = _method(run.method, f"{place}.method")
    if getattr(method_class, "DROPS", False) and not run.augmentation.drop_sequence:
        field = f"{place}.augmentation.drop_sequence"
        raise RecipeError(
            f"method {run.method.name} drops sequences",
            field=field,
            got=0,
            expected="above 0, e.g. 0.5",
        )
    if getattr(method_class, "PSEUDO", False) and not run.pseudo.share:
        raise RecipeError(
            f"method {run.method.name} learns from pseudo-labels",
            field=f"{place}.pseudo.share",
            got=0,
            expected="e.g. 0.5",
        )
    batch = recipe.sampling.batch
    if run.pseudo.share and not 0 < run.pseudo.count(batch) < batch:
        expected = f"a share of {batch} patches that leaves both kinds one"
        raise RecipeError(
            "batch cannot be shared",
            field=f"{place}.pseudo.share",
            got=run.pseudo.share,
            expected=expected,
        )
    for other in run.keep:
        # Weights that did not begin alike have no mean that means anything.
        line = {*recipe.starts(name), other, *([] if other == GIVEN else recipe.starts(other))} - {
            GIVEN
        }
        if recipe.head(other) != recipe.head(name) or any(
            recipe.runs[each].network != run.network for each in line
        ):
            raise RecipeError(
                "keeps weights of another network",
                field=f"{place}.keep",
                got=other,
                expected="the same network, from the same start",
            )
    with torch.device("meta"):  # shapes and names only: a 31 M teacher costs nothing to check
        with _naming(f"{place}.network"):
            student = build_network(recipe, name)
        with _naming(f"{place}.method"):
            method = build_method(recipe, name, lambda teacher: build_network(recipe, teacher))
        for role, network in learners_of(method).items():
            if any(side % network.divisor for side in recipe.sampling.patch):
                raise RecipeError(
                    f"patch does not fit the {role} of run {name}",
                    field="sampling.patch",
                    got=list(recipe.sampling.patch),
                    expected=f"multiples of {network.divisor}",
                )
        with _naming(f"{place}.network"):
            _rehearse(
                run.network.model_dump_json(),
                run.channels,
                len(channels_of(recipe, name)),
                (recipe.sampling.batch, *recipe.sampling.patch),
            )
        if run.start not in (None, GIVEN):
            assert run.start is not None
            if channels_of(recipe, run.start) != channels_of(recipe, name):
                raise RecipeError(
                    "starts from a network for other sequences",
                    field=f"{place}.start",
                    got=run.start,
                )
            with _naming(f"{place}.start"):
                check_widening(build_network(recipe, run.start), student)
        with _naming(f"{place}.method"):
            counts = len(channels_of(recipe, name)), len(recipe.data.sequences)
            image, complete = (torch.empty(1, count, *recipe.sampling.patch) for count in counts)
            for distiller in distillers_of(method):
                distiller.check(image, complete)
    if run.training.compile and listens(method):
        raise RecipeError(
            "features are read through hooks",
            field=f"{place}.training.compile",
            got=True,
            expected="false for this run",
        )


@lru_cache(maxsize=256)
def _rehearse(
    network: str, out_channels: int, in_channels: int, batch: tuple[int, int, int, int]
) -> None:
    """One forward pass on the meta device, in training mode: what shapes alone can refuse is
    refused here.
    """
    with torch.no_grad():
        samples, *sides = batch
        _shadow(network, in_channels, out_channels).train()(
            torch.empty(samples, in_channels, *sides)
        )


def channels_of(recipe: Recipe, name: str) -> list[int]:
    """Which of the data's sequences the run's student takes, ascending.

    Raises:
        RecipeError: a sequence that the data does not have, or one twice.
    """
    wanted, there = recipe.runs[name].sequences or recipe.data.sequences, recipe.data.sequences
    if len(set(wanted)) < len(wanted) or not set(wanted) <= set(there):
        raise RecipeError(
            "not a subset of the data's sequences",
            field=f"runs.{name}.sequences",
            got=", ".join(wanted),
            expected=f"each once, some of {', '.join(there)}",
        )
    return [index for index, sequence in enumerate(there) if sequence in wanted]


def needs(recipe: Recipe, name: str) -> list[str]:
    """The earlier runs that teach run ``name``, that it starts from, or whose weights it keeps a
    share of.

    Raises:
        RecipeError: no teacher is named where one is needed, or it is not an earlier run.
    """
    run = recipe.runs[name]
    named: list[tuple[str, Any]] = [
        (f"runs.{name}.start", start)
        for start in [run.start]
        if start is not None and start != GIVEN
    ]
    named += [(f"runs.{name}.keep", other) for other in run.keep if other != GIVEN]
    method = _method(run.method, f"runs.{name}.method")
    for option in getattr(method, "TRAINED", ()):
        field, value = f"runs.{name}.method.options.{option}", run.method.options.get(option)
        several = inspect.signature(method).parameters[option].annotation != Network
        if isinstance(value, list) != several and value is not None:
            raise RecipeError(
                "option does not fit",
                field=field,
                got=value,
                expected="a list of runs" if several else "one run",
            )
        named += [
            (field, each) for each in (value if isinstance(value, list) and value else [value])
        ]
    earlier = list(recipe.runs)[: list(recipe.runs).index(name)]
    for field, got in named:
        if got not in earlier:
            expected = ", ".join(earlier) or "a run before this one"
            raise RecipeError(
                "not an earlier run",
                field=field,
                got=got,
                expected=expected,
                hint=nearest(str(got), earlier),
            )
    return list(dict.fromkeys(str(got) for _, got in named))


def build_network(recipe: Recipe, name: str) -> Network:
    """The run's network, fresh, for its sequences and outputs."""
    run = recipe.runs[name]
    return _build(run.network, len(channels_of(recipe, name)), run.channels)


def build_method(recipe: Recipe, name: str, trained: Callable[[str], Network]) -> Method:
    """The run's method around a fresh student.

    Args:
        recipe: checked.
        name: of the run.
        trained: the trained network of an earlier run.
    """
    run, every = recipe.runs[name], list(range(len(recipe.data.sequences)))
    method = _method(run.method, "method")
    student = build_network(
        recipe, name
    )  # first: it starts from the same weights with and without a teacher
    options: dict[str, Any] = {}

    def teacher(run: str) -> Network:
        network, own = trained(run), channels_of(recipe, run)
        return network if own == every else Selecting(network, own)

    for option, value in run.method.options.items():
        if option in getattr(method, "TRAINED", ()):
            options[option] = (
                [teacher(each) for each in value] if isinstance(value, list) else teacher(value)
            )
    for option, sees in getattr(method, "LEARNING", {}).items():
        part = _network_part(run.method.options.get(option), f"options.{option}")
        with _naming(f"options.{option}"):
            options[option] = _build(
                part, len(every if sees == "complete" else channels_of(recipe, name)), run.channels
            )
    kinds = {
        p.name: p.annotation
        for p in inspect.signature(method).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }
    plain = {option: value for option, value in run.method.options.items() if option not in options}
    return method(student, run.outputs, **options, **fitting(plain, kinds, "options"))


def learners_of(method: Method) -> dict[str, Network]:
    """The networks that learn, by role: ``student``, and those that learn beside it."""
    return {
        "student": method.student,
        **{role: getattr(method, role) for role in getattr(method, "LEARNING", {})},
    }


def frozen_in(method: Method) -> list[Network]:
    """The trained networks that the method only reads."""
    values = [getattr(method, option) for option in getattr(method, "TRAINED", ())]
    return [
        network for value in values for network in (value if isinstance(value, list) else [value])
    ]


def distillers_of(method: Method) -> list[Distiller]:
    """Towards each of the method's teachers, the losses that it weighs."""
    return getattr(method, "distillers", [method.distiller] if hasattr(method, "distiller") else [])


def listens(method: Method) -> bool:
    """Whether the method reads features through hooks, which compiled networks do not call."""
    return any(distiller.listens for distiller in distillers_of(method))


def _method(part: MethodPart, field: str) -> Callable[..., Method]:
    if part.name not in METHODS:
        raise RecipeError(
            "unknown method",
            field=f"{field}.name",
            got=part.name,
            expected=", ".join(METHODS),
            hint=nearest(part.name, METHODS),
        )
    return METHODS[part.name]


def _network_part(value: Any, field: str) -> NetworkPart:
    try:
        return NetworkPart.model_validate(value)
    except ValidationError as error:
        expected = (
            "a network that learns beside the student: name and options"
            f" ({error.errors()[0]['msg']})"
        )
        raise RecipeError(
            "option does not fit", field=field, got=brief(value), expected=expected
        ) from None


def _build(part: NetworkPart, in_channels: int, out_channels: int) -> Network:
    for option in ("in_channels", "out_channels"):
        if option in part.options:
            raise RecipeError(
                "set by the recipe's sequences and outputs",
                field=f"options.{option}",
                hint="remove it",
            )
    if torch.get_default_device().type == "meta":
        return _shadow(part.model_dump_json(), in_channels, out_channels)
    return build(part.name, in_channels=in_channels, out_channels=out_channels, **part.options)


@lru_cache(maxsize=256)
def _shadow(part: str, in_channels: int, out_channels: int) -> Network:
    """A network of shapes without weights, for checks, which change nothing: a study has few
    networks and many runs.
    """
    described = NetworkPart.model_validate_json(part)
    return build(
        described.name, in_channels=in_channels, out_channels=out_channels, **described.options
    )


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Say where in the recipe it was that a network or a method refused its options."""
    try:
        yield
    except RecipeError as error:
        inner = error.field or ""
        field = inner if inner.startswith("runs.") else f"{place}.{inner}".rstrip(".")
        raise RecipeError(
            error.problem, field=field, got=error.got, expected=error.expected, hint=error.hint
        ) from None
    except (TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise RecipeError("options do not fit", field=f"{place}.options", got=str(error)) from error
