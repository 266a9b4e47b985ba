"""Strict reading of a model's description: unknown keys are errors, as missing ones are."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from gliodistill.errors import PackageError

Result = TypeVar("Result")


def check_keys(
    values: object, expected: Collection[str], where: str, optional: Collection[str] = ()
) -> Mapping[str, Any]:
    """Check that ``values`` is a mapping with the ``expected`` keys and no others than ``optional``
    ones.

    Raises:
        PackageError: not a mapping, or keys missing or unknown (they are named).
    """
    if not isinstance(values, Mapping):
        raise PackageError(
            "damaged model description",
            field=where,
            got=type(values).__name__,
            expected="an object",
        )
    missing, unknown = (
        sorted(set(expected) - set(values)),
        sorted(set(values) - set(expected) - set(optional)),
    )
    if missing:
        raise PackageError(
            "key missing from the model description",
            field=_join(where, missing[0]),
            expected=", ".join(sorted(expected)),
        )
    if unknown:
        raise PackageError(
            "unknown key in the model description",
            field=_join(where, unknown[0]),
            expected=", ".join(sorted(expected)),
        )
    return values


def checked(where: str, make: Callable[[], Result]) -> Result:
    """Call ``make()``; a wrong type or value becomes a PackageError about ``where``."""
    try:
        return make()
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise PackageError("damaged model description", field=where, got=error) from error


def require(condition: bool, field: str, got: object, expected: str) -> None:
    """Raise PackageError about ``field`` unless ``condition``."""
    if not condition:
        raise PackageError(
            "model description out of range", field=field, got=got, expected=expected
        )


def _join(where: str, key: str) -> str:
    return key if where == "model.json" else f"{where}.{key}"
