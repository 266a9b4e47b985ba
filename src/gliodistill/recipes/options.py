"""Options of what a recipe names: checked against the annotations of what takes them."""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from gliodistill.errors import RecipeError, brief
from gliodistill.registry import nearest


def fitting(given: Mapping[str, Any], kinds: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Check that the ``given`` options are in ``kinds`` and of that type.

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
