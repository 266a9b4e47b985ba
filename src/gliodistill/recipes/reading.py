"""Read recipes: YAML and ``key=value`` settings as plain values, and one error that names
the key as the user wrote it.
"""

import os
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from gliodistill.documents import Refusal
from gliodistill.documents.reading import MOST_DEPTH
from gliodistill.documents.yaml_text import parse_yaml, read_yaml
from gliodistill.errors import RecipeError, brief
from gliodistill.registry import nearest

Model = TypeVar("Model", bound=BaseModel)

SHARED = ("outputs", "segmentation_loss", "augmentation", "training")
"""Keys that a recipe may give once for all its runs."""

RENAMED = {
    "data.bias_mm": "data.bias_correction_mm",
    "data.learn_bias": "data.correct_training (the opposite)",
    "augmentation.drop_sequence": "augmentation.modality_dropout.p",
    "augmentation.keep_all": "augmentation.modality_dropout.keep_all",
    "augmentation.drop_alike": "augmentation.modality_dropout.per_batch",
    "training.statistics": "training.batch_norm_recalibration",
    "start": "init_from",
    "keep": "weight_averaging",
}
"""Keys of recipes up to version 0.1 → their present names; those without a dot belong to a run."""

RENAMED_RUNS = {
    "alone": "baseline",
    "fused_alone": "fused_baseline",
    "taught": "distilled_labelled",
}
"""Runs of the shipped recipes up to version 0.1 → their present names."""


def new_run_name(old: str, runs: Container[str]) -> str | None:
    """The present name of a shipped recipe's run, if ``runs`` has it; for the hint of an error."""
    new = RENAMED_RUNS.get(old)
    return f"{old} is called {new} since gliodistill 0.2" if new in runs else None


STORED = 5
"""A recipe that a training has stored may be so many times larger than what a person writes: it has
every default, two thousand bytes a run, and a study may have a hundred runs.
"""


def read_values(
    path: str | os.PathLike[str], settings: Sequence[str] = (), times: int = 1
) -> dict[str, Any]:
    """Read a recipe's YAML and apply ``a.b=c`` settings; nothing is validated yet.

    Args:
        path: the file.
        settings: to apply.
        times: how much larger than usual the file may be.

    Raises:
        RecipeError: not YAML, or a setting that is none.
    """
    refusal = Refusal(RecipeError, "cannot read the recipe")
    values: dict[str, Any] = read_yaml(Path(path), refusal, times=times)
    return apply_settings(values, settings)


def apply_settings(values: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The plain values of a recipe with ``a.b=c`` settings applied.

    Raises:
        RecipeError: a setting that is none.
    """
    for setting in settings:
        parsed = _parse_setting(setting)
        _check_run_names(values, parsed, setting)
        values = merge(values, parsed)
    return values


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``base`` updated with ``over``, recursively."""
    result = dict(base)
    for key, value in over.items():
        result[key] = (
            merge(result[key], value)
            if isinstance(value, dict) and isinstance(result.get(key), dict)
            else value
        )
    return result


def validated(model: type[Model], values: dict[str, Any], file: Path) -> Model:
    """Build ``model``, the recipe, from plain values.

    Raises:
        RecipeError: an unknown key (with the nearest valid one, or its new name) or a bad value;
            names ``file`` and the key.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in _as_written(values, first["loc"])) or "recipe"
        if first["type"] == "extra_forbidden":
            if renamed := _renamed(first["loc"]):
                raise RecipeError(
                    "key was renamed",
                    file=file,
                    field=field,
                    expected=renamed,
                    hint="recipes up to gliodistill 0.1 used the old name",
                ) from None
            valid = _valid_keys(model, first["loc"])
            hint = nearest(str(first["loc"][-1]), valid)
            raise RecipeError(
                "unknown key in recipe",
                file=file,
                field=field,
                expected=", ".join(valid),
                hint=hint,
            ) from None
        got = None if first["type"] == "missing" else brief(first.get("input"))
        expected = first["msg"].removeprefix("Value error, ")
        raise RecipeError(
            "recipe does not validate", file=file, field=field, got=got, expected=expected
        ) from None


def _renamed(location: tuple[int | str, ...]) -> str | None:
    """The present name of an old key, if it is one."""
    parts = [str(part) for part in location]
    if parts[:1] == ["runs"]:
        parts = parts[2:]
    return RENAMED.get(".".join(parts))


def _as_written(values: dict[str, Any], location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The location of a key as the user wrote it: ``training.…`` for values that a run inherits,
    and not deeper than the user's values.
    """
    value: Any = values
    for depth, part in enumerate(location):
        if not isinstance(value, dict | list):
            location = location[:depth]  # deeper parts are the alternative types of the value
            break
        known = (
            part in value
            if isinstance(value, dict)
            else isinstance(part, int) and part < len(value)
        )
        value = value[part] if known else {}  # type: ignore[index]
    if location[:1] != ("runs",) or location[2:3] not in [(key,) for key in SHARED]:
        return location
    own = values["runs"][location[1]].get(location[2])
    for part in location[3:]:
        if not isinstance(own, dict) or part not in own:
            return location[2:]
        own = own[part]
    return location if own is not None else location[2:]


def _valid_keys(recipe: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed where ``location`` ends, found by walking the models."""
    model: Any = recipe
    for part in location[:-1]:
        fields = getattr(model, "model_fields", {})
        if part in fields:
            model = fields[part].annotation
        elif model is recipe.model_fields["runs"].annotation:
            model = get_args(model)[1]  # a run, whatever its name
    keys = list(getattr(model, "model_fields", {}))
    return [*keys, *SHARED] if model is recipe else keys


def _check_run_names(values: dict[str, Any], parsed: dict[str, Any], setting: str) -> None:
    """Refuse a setting of a run that a shipped recipe has under another name now."""
    runs, own = values.get("runs"), parsed.get("runs")
    if not isinstance(runs, dict) or not isinstance(own, dict):
        return
    for name in own.keys() - runs.keys():
        if hint := new_run_name(name, runs):
            raise RecipeError(
                "no such run", field=f"--set {setting.partition('=')[0]}", got=name, hint=hint
            )


def _parse_setting(setting: str) -> dict[str, Any]:
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise RecipeError(
            "bad setting",
            field="--set",
            got=setting,
            expected="key.key=value, e.g. training.steps=500",
        )
    value: Any = parse_yaml(text, Refusal(RecipeError, "bad setting", field=f"--set {key}"))
    parts = key.strip().split(".")
    if len(parts) > MOST_DEPTH:
        raise RecipeError("bad setting", field="--set", got=key, expected="a key of the recipe")
    for part in reversed(parts):
        value = {part: value}
    return dict(value)
