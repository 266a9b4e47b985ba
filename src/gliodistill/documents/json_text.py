"""Strict JSON: unique keys, finite numbers, bounded depth."""

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

from gliodistill.documents.reading import (
    MOST_DEPTH,
    BadDocument,
    Refusal,
    Unreal,
    check_plain,
    check_type,
    read_document,
)
from gliodistill.errors import brief

_LONGEST_NUMBER = 100
"""Most digits of an integer; Python refuses longer ones."""
MOST_VALUES = 1_000_000
"""Most commas and colons of a document; they take a second or two to check."""
_LONGEST_LINE = 1 << 20


def read_json(
    path: str | os.PathLike[str], refusal: Refusal, expect: type | tuple[type, ...] = dict
) -> Any:
    """Read a JSON file as plain data.

    Args:
        path: the file.
        refusal: the wording of errors.
        expect: its type: ``dict``, ``list`` or both.

    Raises:
        GliodistillError: it cannot be read, is no JSON, repeats a key, is beyond the bounds, or
            holds something else than what is expected.
    """
    return parse_json(read_document(path, refusal), refusal.of(path), expect)


def parse_json(text: str, refusal: Refusal, expect: type | tuple[type, ...] = dict) -> Any:
    """Parse JSON text; see :func:`read_json`."""
    if (count := sum(map(text.count, ",:"))) > MOST_VALUES:
        raise refusal("values", count, f"at most {MOST_VALUES}")
    try:
        values = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_number,
            parse_constant=Unreal,
        )
        check_plain(values)
    except BadDocument as bad:
        raise refusal(bad.field, bad.got, bad.expected) from None
    except RecursionError:
        raise refusal("nesting", "deeper", f"at most {MOST_DEPTH} levels") from None
    except ValueError as error:
        raise refusal("JSON", error, "valid JSON in UTF-8") from error
    return check_type(values, expect, refusal)


def read_json_lines(path: str | os.PathLike[str], refusal: Refusal) -> list[dict[str, Any]]:
    """The objects of a file with one on each line; an incomplete last line is skipped.

    Raises:
        GliodistillError: it cannot be read, or a whole line is no object.
    """
    lines, number = [], 1
    try:
        with Path(path).open("rb") as file:
            while (line := file.readline(_LONGEST_LINE)).endswith(b"\n"):
                words = refusal.of(f"{path}: line {number}")
                lines.append(parse_json(line.decode("utf-8", "surrogateescape"), words))
                number += 1
    except OSError as error:
        raise refusal.of(path)(None, error.strerror, None) from error
    return lines


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise BadDocument(f"key {brief(twice)}", "a repeated name", "each key once")
    return values


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else Unreal(digits)


def _number(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else Unreal(digits)
