"""Recipe → resolved runs: all names looked up and all checks made once, before anything is written.

A :class:`ResolvedRun` holds what a recipe means: the network's sequences, the method's class, the
teachers, the initial weights. Training, loading and export use the resolved run, not the recipe.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from gliodistill.distillation.registry import LOSSES
from gliodistill.errors import RecipeError, brief
from gliodistill.methods import METHODS, Method
from gliodistill.methods.segmentation import SEGMENTATION_LOSSES, SegmentationLoss
from gliodistill.networks.registry import NETWORKS
from gliodistill.networks.widening import check_widening
from gliodistill.recipes.options import fitting
from gliodistill.recipes.schema import PRETRAINED, NetworkPart, Recipe, RunPart, SamplingPart
from gliodistill.registry import Registry, nearest
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.sequence import MRSequence
from gliodistill.tasks.catalogue import glioma
from gliodistill.teachers import TEACHERS, ForeignTeacher, parse_teacher
from gliodistill.teachers.registry import stored_teacher
from gliodistill.training.foreign import ForeignNetwork
from gliodistill.training.resolved import ResolvedRun, at_key, on_meta
from gliodistill.training.transforms import TRANSFORMS, Intensities

CHAIN = (None, 0, 1)
"""Parents of regions that nest as WT, TC and ET do."""


def resolve(recipe: Recipe, file: Path | str | None = None) -> tuple[ResolvedRun, ...]:
    """The runs of ``recipe`` in the order they are trained, each checked.

    Args:
        recipe: valid by its schema.
        file: where it was read, for errors.

    Raises:
        RecipeError: names the key: a name in no registry, an option that does not fit, a sequence
            that the data lacks, a teacher that is no earlier run or has other outputs, a
            patch that does not fit the network.
    """
    try:
        return _resolve(recipe.model_dump_json())
    except RecipeError as error:
        if file is None:
            raise
        raise RecipeError(
            error.problem,
            file=file,
            field=error.field,
            got=error.got,
            expected=error.expected,
            hint=error.hint,
        ) from None


def resolve_run(recipe: Recipe, name: str) -> ResolvedRun:
    """One run of a stored recipe, which must have it; errors as of :func:`resolve`.

    A foreign teacher of a kind that is not known here is left as it is: a student that was trained
    is loaded and exported without the code of its teacher.
    """
    runs = _resolve(recipe.model_dump_json(), stored=True)
    return next(run for run in runs if run.name == name)


@lru_cache(maxsize=32)
def _resolve(text: str, stored: bool = False) -> tuple[ResolvedRun, ...]:
    """Resolve a recipe given as JSON, or one that was trained; cached for the process."""
    recipe = Recipe.model_validate_json(text)
    runs: dict[str, ResolvedRun] = {}
    for name, part in recipe.runs.items():
        run = _name(recipe, name, part, runs, stored)
        _check_method(recipe, run, runs)
        _check_averaging(recipe, run)
        divisor, live = _check_shapes(recipe.sampling, run, runs)
        runs[name] = replace(run, divisor=divisor, live=live)
    return tuple(runs.values())


def _name(
    recipe: Recipe,
    name: str,
    part: RunPart,
    earlier: Mapping[str, ResolvedRun],
    stored: bool,
) -> ResolvedRun:
    """Look up all names of a run."""
    place = f"runs.{name}"
    method = METHODS.find(part.method.name, f"{place}.method.name")
    given = dict(part.method.options)
    if part.init_from not in (None, PRETRAINED):
        _earlier(f"{place}.init_from", part.init_from, earlier)
    if part.training.frozen_norms and part.init_from is None:
        raise RecipeError(
            "no statistics to keep for batch norms",
            field=f"{place}.training.frozen_norms",
            got="a run without init_from",
            expected="one that begins with the weights of another",
        )
    for other in part.weight_averaging:
        if other != PRETRAINED:
            _earlier(f"{place}.weight_averaging", other, earlier)
    teachers = {
        option: _teachers(
            f"{place}.method.options.{option}", given.pop(option, None), kind, earlier, stored
        )
        for option, kind in method.needs.trained.items()
    }
    jointly_trained = {
        option: _network_part(f"{place}.method.options.{option}", given.pop(option, None))
        for option in method.needs.jointly_trained
    }
    kinds = {
        parameter.name: parameter.annotation
        for parameter in signature(method).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
        and parameter.name not in (*teachers, *jointly_trained)
    }
    with at_key(f"{place}.method"):
        options = fitting(given, kinds, "options")
    loss = part.segmentation_loss
    channels, needs = _channels(recipe, name), [part.init_from, *part.weight_averaging]
    needs += [
        teacher.name
        for named in teachers.values()
        for teacher in named
        if isinstance(teacher, ResolvedRun)
    ]
    return ResolvedRun(
        name,
        part,
        recipe.described_task,
        recipe.data.sequences,
        channels,
        tuple(recipe.data.sequences[channel] for channel in channels),
        method,
        teachers,
        jointly_trained,
        options,
        SegmentationLoss.named(loss.name, loss.options, f"{place}.segmentation_loss"),
        _plugins(part, jointly_trained, teachers),
        part.init_from,
        part.weight_averaging,
        tuple(dict.fromkeys(each for each in needs if each not in (None, PRETRAINED))),
    )


def _plugins(
    part: RunPart,
    jointly_trained: Mapping[str, NetworkPart],
    teachers: Mapping[str, tuple[ResolvedRun | ForeignTeacher, ...]],
) -> dict[str, str]:
    """What of a run other packages bring, and which."""
    foreign = [
        teacher.kind
        for named in teachers.values()
        for teacher in named
        if isinstance(teacher, ForeignTeacher)
    ]
    named: list[tuple[str, Registry[Any], str]] = [
        *(("network", NETWORKS, each.name) for each in (part.network, *jointly_trained.values())),
        ("method", METHODS, part.method.name),
        ("segmentation loss", SEGMENTATION_LOSSES, part.segmentation_loss.name),
        *(("transform", TRANSFORMS, name) for name in part.augmentation.others),
        *(("teacher", TEACHERS, name) for name in foreign),
    ]
    losses = part.method.options.get("losses")
    if isinstance(losses, Mapping):
        named += [("distillation loss", LOSSES, name) for name in losses if name in LOSSES]
    return {
        f"{kind} {name}": package
        for kind, registry, name in named
        if name in registry and (package := registry.package(name)) is not None
    }


def _channels(recipe: Recipe, name: str) -> tuple[int, ...]:
    wanted, there = recipe.runs[name].sequences or recipe.data.sequences, recipe.data.sequences
    if len(set(wanted)) < len(wanted) or not set(wanted) <= set(there):
        raise RecipeError(
            "not a subset of the data's sequences",
            field=f"runs.{name}.sequences",
            got=", ".join(wanted),
            expected=f"each once, some of {', '.join(there)}",
        )
    return tuple(index for index, sequence in enumerate(there) if sequence in wanted)


def _teachers(
    field: str, value: Any, kind: str, earlier: Mapping[str, ResolvedRun], stored: bool
) -> tuple[ResolvedRun | ForeignTeacher, ...]:
    """The teachers of an option: names of earlier runs, or foreign teachers."""
    parse = stored_teacher if stored else parse_teacher
    if value is not None and isinstance(value, list) != (kind == "several"):
        expected = "a list of runs" if kind == "several" else "one run"
        raise RecipeError("option does not fit", field=field, got=value, expected=expected)
    named = value if isinstance(value, list) and value else [value]
    return tuple(
        parse(each, field) if isinstance(each, Mapping) else _earlier(field, each, earlier)
        for each in named
    )


def _earlier(field: str, got: Any, earlier: Mapping[str, ResolvedRun]) -> ResolvedRun:
    if not isinstance(got, str) or got not in earlier:
        raise RecipeError(
            "not an earlier run",
            field=field,
            got=got,
            expected=", ".join(earlier) or "a run before this one",
            hint=nearest(str(got), earlier),
        )
    return earlier[got]


def _network_part(field: str, value: Any) -> NetworkPart:
    try:
        return NetworkPart.model_validate(value)
    except ValidationError as error:
        expected = (
            "a network trained together with the student: name and options"
            f" ({error.errors()[0]['msg']})"
        )
        raise RecipeError(
            "option does not fit", field=field, got=brief(value), expected=expected
        ) from None


def _check_method(recipe: Recipe, run: ResolvedRun, earlier: Mapping[str, ResolvedRun]) -> None:
    """Check what the method needs of the run and of earlier runs."""
    place, part, needs = f"runs.{run.name}", run.part, run.method.needs
    _check_task(run, place)
    for needed in (earlier[name] for name in run.needs):
        if needed.part.outputs != part.outputs:
            raise RecipeError(
                "teacher has other outputs",
                field=f"{place}.outputs",
                got=part.outputs,
                expected=needed.part.outputs,
                hint="train both on the same outputs",
            )
    if needs.modality_dropout and not part.augmentation.modality_dropout.p:
        raise RecipeError(
            f"method {part.method.name} needs modality dropout",
            field=f"{place}.augmentation.modality_dropout.p",
            got=0,
            expected="above 0, e.g. 0.5",
        )
    if run.foreign and part.augmentation.transplant.p:
        raise RecipeError(
            "the outputs of a teacher that is no run know nothing of a transplanted tumour",
            field=f"{place}.augmentation.transplant.p",
            got=part.augmentation.transplant.p,
            expected="0",
        )
    Intensities(part.augmentation, f"{place}.augmentation")
    mixed = (MRSequence.T1, MRSequence.T1CE)
    if part.augmentation.contrast_agent.p and not set(mixed) <= set(recipe.data.sequences):
        raise RecipeError(
            "transform needs sequences that the recipe does not take",
            field=f"{place}.augmentation.contrast_agent",
            got=", ".join(recipe.data.sequences),
            expected=f"{' and '.join(mixed)} among data.sequences",
        )
    if needs.pseudo_labels and not part.pseudo.share:
        raise RecipeError(
            f"method {part.method.name} needs pseudo-labels",
            field=f"{place}.pseudo.share",
            got=0,
            expected="e.g. 0.5",
        )
    batch = recipe.sampling.batch
    if part.pseudo.share and not 0 < part.pseudo.count(batch) < batch:
        raise RecipeError(
            "batch cannot be shared",
            field=f"{place}.pseudo.share",
            got=part.pseudo.share,
            expected=f"a share that gives each kind at least one of {batch} patches",
        )


def _check_task(run: ResolvedRun, place: str) -> None:
    """Check that what a run uses is there for the regions of its task."""
    task = run.task
    losses = run.part.method.options.get("losses")
    affinity = isinstance(losses, Mapping) and "region_affinity" in losses
    if task.parents != CHAIN and (run.part.outputs == "classes" or affinity):
        raise RecipeError(
            "needs three regions, each within the one before",
            field=f"{place}.outputs" if run.part.outputs == "classes" else f"{place}.method",
            got=f"{'classes' if run.part.outputs == 'classes' else 'region_affinity'}, with the"
            f" task {task.name}: {task.nesting}",
            expected="outputs: regions, and other losses",
        )
    if not task.shared(glioma()) and (run.foreign or run.part.pseudo.share):
        raise RecipeError(
            f"teachers that are no run, and pseudo-labels, give {', '.join(REGIONS)}",
            field=f"{place}.{'method.options' if run.foreign else 'pseudo.share'}",
            got=f"the task {task.name}: {', '.join(task.names)}",
            expected="a task that shares a region, or a teacher that is an earlier run",
        )
    if run.foreign and run.part.outputs == "classes" and task.parts != glioma().parts:
        raise RecipeError(
            f"classes of a teacher that is no run are those of {', '.join(REGIONS)}",
            field=f"{place}.outputs",
            got=f"classes, with the task {task.name}",
            expected="outputs: regions",
        )


def _check_averaging(recipe: Recipe, run: ResolvedRun) -> None:
    """Check that averaged weights have the same initialisation."""
    for other in run.averaging:
        line = {
            *recipe.lineage(run.name),
            other,
            *([] if other == PRETRAINED else recipe.lineage(other)),
        }
        if recipe.head(other) != recipe.head(run.name) or any(
            recipe.runs[each].network != run.part.network for each in line - {PRETRAINED}
        ):
            raise RecipeError(
                "averages weights of another network",
                field=f"runs.{run.name}.weight_averaging",
                got=other,
                expected="the same network with the same initial weights",
            )


def _check_shapes(
    sampling: SamplingPart, run: ResolvedRun, earlier: Mapping[str, ResolvedRun]
) -> tuple[int, tuple[bool, ...]]:
    """Checks that need the built networks, on the meta device, which costs no memory.

    Returns:
        the divisor of the network, and which of its foreign teachers are live.
    """
    place, part = f"runs.{run.name}", run.part
    with at_key(f"{place}.segmentation_loss"):
        counts = run.out_channels, len(run.task.regions)
        logits, regions = (torch.zeros(1, count, 2, 2, 2) for count in counts)
        run.segmentation_loss(logits, regions, part.outputs)
    with torch.device("meta"):
        with at_key(f"{place}.network"):
            student = run.build_network()
        with at_key(f"{place}.method"):
            method = run.build_method(lambda teacher: earlier[teacher].build_network())
        for role, network in method.trainable.items():
            if any(side % network.divisor for side in sampling.patch):
                raise RecipeError(
                    f"patch does not fit the {role} of run {run.name}",
                    field="sampling.patch",
                    got=list(sampling.patch),
                    expected=f"multiples of {network.divisor}",
                )
        with at_key(f"{place}.network"):
            batch = (sampling.batch, len(run.channels), *sampling.patch)
            _rehearse(part.network.model_dump_json(), run.out_channels, batch)
        if run.init_from not in (None, PRETRAINED):
            start = earlier[str(run.init_from)]
            if start.channels != run.channels:
                raise RecipeError(
                    "is initialised from a network for other sequences",
                    field=f"{place}.init_from",
                    got=run.init_from,
                )
            with at_key(f"{place}.init_from"):
                check_widening(start.build_network(), student)
        with at_key(f"{place}.method"):
            image, complete = (
                torch.empty(1, count, *sampling.patch)
                for count in (len(run.channels), len(run.data_sequences))
            )
            for distiller in method.distillers:
                if not isinstance(distiller.teacher, ForeignNetwork):
                    distiller.check(image, complete)
    if part.training.compile and method.reads_features:
        raise RecipeError(
            "features are read by forward hooks",
            field=f"{place}.training.compile",
            got=True,
            expected="false for this run",
        )
    return student.divisor, _live(run, method)


def _live(run: ResolvedRun, method: Method) -> tuple[bool, ...]:
    """Which foreign teachers run on the patches of each step: as the recipe says, else those whose
    features are read.
    """
    reading = {
        distiller.teacher.place
        for distiller in method.distillers
        if isinstance(distiller.teacher, ForeignNetwork) and distiller.reads_features
    }
    return tuple(
        place in reading if teacher.live is None else teacher.live
        for place, teacher in enumerate(run.foreign)
    )


@lru_cache(maxsize=256)
def _rehearse(network: str, out_channels: int, batch: tuple[int, ...]) -> None:
    """One forward pass on the meta device, in training mode, to check shapes."""
    with torch.no_grad():
        on_meta(network, batch[1], out_channels).train()(torch.empty(batch))
