"""Checks before a training begins: machine, tumours, patch size."""

import importlib.util
import math
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from gliodistill.errors import LabelError, RecipeError, StudyError
from gliodistill.images.nifti import read_header, read_labels
from gliodistill.images.volume import Volume
from gliodistill.preparation.cache import Cache, CachedStudy
from gliodistill.preparation.preparation import Preparation
from gliodistill.preparation.prepared import REGION_BITS, TUMOUR
from gliodistill.progress import track
from gliodistill.recipes.schema import Recipe
from gliodistill.studies.cohort import Cohort
from gliodistill.studies.records import StudyRecord
from gliodistill.tasks.task import Task
from gliodistill.training.resolved import ResolvedRun

NAMED = 3
Shape = tuple[int, int, int]


def check_machine(runs: Iterable[ResolvedRun]) -> None:
    """Refuse a recipe that this machine cannot run.

    Raises:
        RecipeError: a device, a compiler or TensorBoard that is missing.
    """
    for run in runs:
        part, place = run.part.training, f"runs.{run.name}.training"
        if part.device == "cuda" and not torch.cuda.is_available():
            built = torch.version.cuda is not None
            raise RecipeError(
                "no GPU can be used",
                field=f"{place}.device",
                got="cuda",
                expected="cpu or auto here" if built else "cpu or auto: this torch has no CUDA",
                hint="set training.device=auto",
            )
        compilers = filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++"))
        if part.compile and not any(map(shutil.which, compilers)):
            raise RecipeError(
                "no C++ compiler, which torch needs to compile networks",
                field=f"{place}.compile",
                got="true",
                expected="false here",
                hint="install g++, or set training.compile=false",
            )
        if part.tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise RecipeError(
                "TensorBoard is not installed",
                field=f"{place}.tensorboard",
                got="true",
                expected="false here",
                hint="pip install 'gliodistill[tensorboard]', or set training.tensorboard=false",
            )


def check_tumours(source: Cohort | Cache, training: Iterable[str], place: Path, task: Task) -> None:
    """Refuse a cohort without anything to learn of a task.

    Reads label maps until one has a tumour; usually one is enough.

    Raises:
        StudyError: no training study has a tumour.
        ImageError, LabelError: a label map that cannot be read.
    """
    ids = set(training)
    studies = [study for study in source.studies if study.id in ids]
    if not any(_has_tumour(study, source, task) for study in studies):
        outermost = [task.names[root] for root in task.roots]
        raise StudyError(
            "no training study has a tumour",
            file=place,
            field="labels",
            got=f"{len(studies)} label maps without {' or '.join(outermost)}",
            expected="at least one with a tumour",
            hint="inspect them with gliodistill inspect --deep, and declare codes with --labels",
        )


def _has_tumour(study: StudyRecord | CachedStudy, source: Cohort | Cache, task: Task) -> bool:
    if isinstance(study, CachedStudy):
        return bool((study.truth() & TUMOUR).any())
    assert study.truth is not None and isinstance(source, Cohort)
    convention = source.convention_of(study)
    assert convention is not None
    volume = read_labels(study.truth.path, study.truth.channel)
    try:
        return bool(task.regions_of(volume.data, convention).any())
    except LabelError as error:
        raise LabelError(
            error.problem,
            file=study.truth.path,
            field=error.field,
            got=error.got,
            expected=error.expected,
            hint=error.hint,
        ) from error


def check_patch(recipe: Recipe, runs: Sequence[ResolvedRun], source: Cohort | Cache) -> None:
    """Refuse a patch larger than every study.

    Such a patch wastes work and is usually meant for another voxel size. Images are not read: the
    headers of a cohort give upper bounds of the sizes.

    Raises:
        RecipeError: along each axis the patch is larger than every study rounded up to the sides
            that the networks take.
    """
    if not runs:
        return
    divisor = math.lcm(*(run.divisor for run in runs))
    patch, preparation = recipe.sampling.patch, recipe.data.preparation()
    largest: Shape = (0, 0, 0)
    for study in source.studies:
        x, y, z = study.shape if isinstance(study, CachedStudy) else _at_most(study, preparation)
        largest = max(largest[0], x), max(largest[1], y), max(largest[2], z)
        if any(p <= _rounded(side, divisor) for p, side in zip(patch, largest, strict=True)):
            return
    fits = [min(p, _rounded(side, divisor)) for p, side in zip(patch, largest, strict=True)]
    raise RecipeError(
        "patch is larger than every study",
        field="sampling.patch",
        got=list(patch),
        expected=f"at most {fits}: no prepared study has more than {_size(largest)} voxels",
        hint="take a smaller patch, or a finer data.spacing",
    )


def _rounded(side: int, divisor: int) -> int:
    return -(-side // divisor) * divisor


def _at_most(record: StudyRecord, preparation: Preparation) -> Shape:
    """Upper bound of a prepared study's size: its brain may fill its grid."""
    header = read_header(next(iter(record.images.values())).path)
    grid = Volume(np.broadcast_to(np.uint8(0), header.shape), header.affine).canonical()
    x, y, z = (
        math.ceil((side + 2 * round(preparation.margin_mm / step)) * step / target)
        for side, step, target in zip(
            grid.shape, grid.spacing, preparation.spacing or grid.spacing, strict=True
        )
    )
    return x, y, z


def notes_on(recipe: Recipe, cache: Cache, split: Mapping[str, list[str]]) -> Iterator[str]:
    """Notes on prepared studies before training, a line each: studies without a tumour, regions
    that no study has, patches larger than studies.
    """
    sides = {side: cache.select(set(ids)).studies for side, ids in split.items()}
    held = {
        study.id: _regions(study)
        for study in track([s for studies in sides.values() for s in studies], "reading labels")
    }
    for side, studies in sides.items():
        without = [study.id for study in studies if not held[study.id]]
        if without:
            yield (
                f"{len(without)} of {len(studies)} {side} studies have no tumour ({_some(without)})"
            )
        every = studies[0].regions if studies else ()
        missing = [r for r in every if not any(r in held[study.id] for study in studies)]
        if studies and missing and len(without) < len(studies):
            told = {
                "training": "networks trained on them will not predict it",
                "validation": "its Dice is 1 wherever it is not predicted",
            }
            yield f"no {side} study has {' or '.join(missing)}: {told[side]}"
    yield from _small(recipe.sampling.patch, sides["training"])


def _regions(study: CachedStudy) -> set[str]:
    bits = int(np.bitwise_or.reduce(study.truth(), axis=None))
    named = zip(study.regions, REGION_BITS, strict=False)
    return {region for region, bit in named if bits >> bit & 1}


def _small(patch: Shape, studies: Iterable[CachedStudy]) -> Iterator[str]:
    studies, small = list(studies), defaultdict(list)
    for study in studies:
        if any(p > side for p, side in zip(patch, study.shape, strict=True)):
            small[study.shape].append(study.id)
    if small:
        count = sum(map(len, small.values()))
        least = min(small, key=math.prod)
        yield (
            f"patches of {_size(patch)} voxels are larger than {count} of {len(studies)} training"
            f" studies ({small[least][0]} has {_size(least)}): the rest of them is padding"
        )


def _size(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape))


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:NAMED]) + (", …" if len(ids) > NAMED else "")
