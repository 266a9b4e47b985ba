"""Start a training in a folder, or continue one.

A folder belongs to the recipe of the first run that has a checkpoint there. Until then training may
be started again, with the same recipe or a corrected one. After that the stored recipe is fixed,
except for additional runs, keys of the machine (:data:`FREE`) and texts (:data:`WORDS`).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gliodistill.errors import CheckpointError, OutputError
from gliodistill.files import contents
from gliodistill.recipes.reading import SHARED
from gliodistill.recipes.schema import Recipe
from gliodistill.training.experiment import DATA, RECIPE, Experiment

WORDS = ("about", "citation", "expected", "cost")
"""Keys of a recipe that are texts."""
FREE = ("device", "compile", "prefetch", "save_every", "tensorboard")
"""Keys of ``training`` that do not change what is computed."""
SHOWN = 4
Differences = dict[str, tuple[Any, Any]]
"""Dotted key → stored and given value."""


def claim(root: Path, recipe: Recipe, resume: bool) -> Experiment | None:
    """The training that ``root`` holds, or None if it is free for ``recipe``; nothing is written.

    Raises:
        OutputError: ``root`` exists and ``resume`` is not given.
        CheckpointError: something else, or a training of another recipe, with ``resume``.
    """
    if not root.exists() or (
        root.is_dir()
        # A process killed before the recipe was written leaves at most its plan.
        and all(path.name == DATA for path in contents(root))
    ):
        return None
    if not resume:
        try:
            there = Experiment.open(root)
        except CheckpointError:
            there = None
        if there is not None and not there.is_begun():
            return None
        raise OutputError(
            "output exists",
            file=root,
            expected="a new folder",
            hint="continue with --resume, or choose another",
        )
    experiment = Experiment.open(root)
    if differing := bound(differences(experiment.recipe, recipe)):
        if not experiment.is_begun():
            return None
        raise _another_recipe(root, differing)
    return experiment


def recipe_to_resume(
    root: str | os.PathLike[str], given: Recipe, settings: Sequence[str] = ()
) -> tuple[Recipe, list[str]]:
    """The recipe that continues the training at ``root``: the stored one, with the runs that
    ``given`` adds and the :data:`FREE` keys among ``settings``.

    Args:
        root: folder of a training.
        given: the recipe given now, with ``settings`` applied.
        settings: ``key=value``, as the user gave them; unlike a file, they must take effect.

    Returns:
        the recipe, and a line where ``given`` differs from what is used.

    Raises:
        CheckpointError: ``settings``, or a recipe of another name, differ from what is stored.
    """
    try:
        there = Experiment.open(root)
    except CheckpointError:
        return given, []  # the function that claims the folder reports what is wrong with it
    if not there.is_begun():
        return given, []
    asked = [setting.partition("=")[0].strip().split(".") for setting in settings]
    found = differences(there.recipe, given)
    wanted = {key: both for key, both in found.items() if _is_asked(key, asked)}
    if refused := {key: both for key, both in bound(found).items() if key in {"name", *wanted}}:
        raise _another_recipe(there.folder, refused)
    runs = {name: there.recipe.runs[name] for name in there.recipe.runs if name not in given.runs}
    for name, run in given.runs.items():
        if (stored := there.recipe.runs.get(name)) is not None:
            chosen = {
                key: getattr(run.training, key)
                for key in FREE
                if f"runs.{name}.training.{key}" in wanted
            }
            run = stored.model_copy(update={"training": stored.training.model_copy(update=chosen)})
        runs[name] = run
    words = {key: getattr(given, key) for key in WORDS}
    used = there.recipe.model_copy(update={"runs": runs, **words})
    left = differences(used, given)
    text = (
        f"{there.folder} continues with its stored recipe, which differs from the given one:"
        f" {_listed(left, runs)}"
    )
    return used, [text] if left else []


def differences(stored: Recipe, given: Recipe) -> Differences:
    """The differences of two recipes, without texts and runs that only ``given`` has."""
    return dict(
        _compare(
            stored.model_dump(mode="json", exclude=set(WORDS)),
            {
                **(values := given.model_dump(mode="json", exclude=set(WORDS))),
                "runs": {name: run for name, run in values["runs"].items() if name in stored.runs},
            },
        )
    )


def bound(found: Differences) -> Differences:
    """The differences that are not allowed after the first checkpoint."""
    return {
        key: both
        for key, both in found.items()
        if not (key.split(".")[2:3] == ["training"] and key.split(".")[3] in FREE)
    }


def _compare(stored: Any, given: Any, path: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        for key in [*stored, *(key for key in given if key not in stored)]:
            yield from _compare(stored.get(key), given.get(key), f"{path}.{key}".lstrip("."))
    elif stored != given:
        yield path, (stored, given)


def _is_asked(key: str, asked: Sequence[Sequence[str]]) -> bool:
    """Whether a setting names ``key`` or what it belongs to; ``training.…`` names that of every
    run.
    """
    parts = key.split(".")
    shared = parts[2:] if parts[0] == "runs" and parts[2:3] and parts[2] in SHARED else parts
    return any(
        whole[: len(setting)] == list(setting) or setting[: len(whole)] == whole
        for setting in map(list, asked)
        for whole in (parts, shared)
    )


def _another_recipe(root: Path, differing: Differences) -> CheckpointError:
    shown = list(differing)[:SHOWN]
    more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
    given, stored = (
        ", ".join(_value(differing[key][side]) for key in shown) + more for side in (1, 0)
    )
    return CheckpointError(
        "folder holds another recipe",
        file=root / RECIPE,
        field=", ".join(shown) + more,
        got=given,
        expected=stored,
        hint="resume with the stored recipe, or train into another folder",
    )


def _listed(found: Differences, runs: Mapping[str, Any]) -> str:
    """``key stored (given: value)`` for each, once if all runs differ equally."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for key, both in found.items():
        head, _, rest = key.removeprefix("runs.").partition(".")
        name = head if key.startswith("runs.") and rest else ""
        stored, given = map(_value, both)
        grouped.setdefault((rest if name else key, stored, given), []).append(name)
    lines = [
        f"{'' if names in ([''], list(runs)) else f'runs.{name}.'}{key} {stored} (given: {given})"
        for (key, stored, given), names in grouped.items()
        for name in (names[:1] if names == list(runs) else names)
    ]
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return ", ".join(lines[:SHOWN]) + more


def _value(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
