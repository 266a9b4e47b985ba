"""Read recipes: from a file and ``key=value`` settings to a :class:`Recipe`, or an error that names
the key as the user wrote it.
"""

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gliodistill.documents import Refusal
from gliodistill.documents.reading import MOST_DEPTH
from gliodistill.documents.yaml_text import parse_yaml, read_yaml
from gliodistill.errors import RecipeError, brief
from gliodistill.recipes.schema import RENAMED, SHARED, Recipe, RunPart, merge, new_run_name
from gliodistill.registry import nearest


def load_recipe(path: str | os.PathLike[str], settings: list[str] | None = None) -> Recipe:
    """Read a recipe, apply ``a.b=c`` settings, and validate it.

    Raises:
        RecipeError: not YAML, an unknown key (with the nearest valid one, or its new name), a bad
            value. Names are looked up by :func:`gliodistill.training.resolve.resolve`.
    """
    file = Path(path)
    values = read_yaml(file, Refusal(RecipeError, "cannot read the recipe"))
    for setting in settings or []:
        parsed = _parse_setting(setting)
        _check_run_names(values, parsed, setting)
        values = merge(values, parsed)
    return validate_recipe(values, file)


def validate_recipe(values: dict[str, Any], file: Path) -> Recipe:
    """Build a Recipe from plain values.

    Raises:
        RecipeError: as :func:`load_recipe`; names ``file`` and the key.
    """
    try:
        return Recipe.model_validate(values)
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
            valid = _valid_keys(values, first["loc"])
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


def _valid_keys(values: dict[str, Any], location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed where ``location`` ends, found by walking the models."""
    model: Any = Recipe
    for part in location[:-1]:
        if model is Recipe and part == "runs":
            model = dict
        elif model is dict:
            model = RunPart
        else:
            model = (
                model.model_fields[part].annotation
                if isinstance(part, str) and part in model.model_fields
                else model
            )
    keys = list(model.model_fields) if hasattr(model, "model_fields") else []
    return [*keys, *SHARED] if model is Recipe else keys


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
