"""Strata: groups of studies that are compared separately."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np

from gliodistill.documents import Refusal, read_table
from gliodistill.errors import EvaluationError, note, some
from gliodistill.studies.sequence import MRSequence

NOT_GIVEN = "not given"
MOST_GROUPS = 12


@dataclass(frozen=True)
class Strata:
    """One division of the studies.

    Attributes:
        title: the criterion.
        groups: name → ids of its studies, none empty, no id in two.
    """

    title: str
    groups: Mapping[str, tuple[str, ...]]


def truth_strata(truth_ml: Mapping[str, Mapping[str, float]]) -> list[Strata]:
    """Strata from the references: with or without enhancing tumour, and thirds by whole-tumour
    volume.

    Args:
        truth_ml: study → region → volume in ml. Strata that need a missing ET or WT are omitted.

    Returns:
        those that divide the studies into at least two groups.
    """
    every = list(truth_ml.values())
    strata = []
    if every and all("ET" in regions for regions in every):
        groups = {
            "enhancing": _where(truth_ml, "ET", 0.0, np.inf),
            "not enhancing": _where(truth_ml, "ET", -np.inf, 0.0),
        }
        strata.append(Strata("Enhancing tumour in the reference", _filled(groups)))
    if every and all("WT" in regions for regions in every):
        third, two_thirds = np.quantile([regions["WT"] for regions in every], [1 / 3, 2 / 3])
        groups = {
            f"up to {third:.1f} ml": _where(truth_ml, "WT", -np.inf, third),
            f"{third:.1f} to {two_thirds:.1f} ml": _where(truth_ml, "WT", third, two_thirds),
            f"over {two_thirds:.1f} ml": _where(truth_ml, "WT", two_thirds, np.inf),
        }
        strata.append(
            Strata("Volume of the whole tumour in the reference, thirds", _filled(groups))
        )
    return [one for one in strata if len(one.groups) > 1]


def describe_sequences(studies: Mapping[str, Collection[str]]) -> str:
    """The sequences of the studies, as the line ``sequences`` of a provenance: ``T1+T2``, or
    ``T1+T2: a, c; FLAIR: b``.

    Args:
        studies: id → its sequences.
    """
    groups: dict[str, list[str]] = {}
    for id in sorted(studies):
        groups.setdefault("+".join(name for name in MRSequence if name in studies[id]), []).append(
            id
        )
    return (
        next(iter(groups))
        if len(groups) == 1
        else "; ".join(f"{name}: {', '.join(ids)}" for name, ids in sorted(groups.items()))
    )


def sequence_strata(described: str, ids: Collection[str]) -> list[Strata]:
    """Strata by the sequences that the studies have, from :func:`describe_sequences`; none if all
    have the same.
    """
    parts = [part.partition(": ") for part in described.split("; ")]
    groups = _filled(
        {name: [id for id in listed.split(", ") if id in ids] for name, _, listed in parts}
    )
    return [Strata("Sequences of the study", groups)] if len(groups) > 1 else []


def read_strata(path: str | PathLike[str], ids: Collection[str]) -> list[Strata]:
    """Strata from a CSV file: a column ``id``, and one or more columns whose values name the
    groups.

    Rows of other studies are ignored with a warning (a table may hold the whole cohort); studies
    without a row or with an empty cell form the group "not given".

    Args:
        path: the file, UTF-8, its first row naming the columns.
        ids: of the studies to divide.

    Raises:
        EvaluationError: it cannot be read, lacks ``id`` or any other column, names an id twice or
            none of ``ids``, or a column has more than 12 groups.
    """
    columns, rows = read_table(path, Refusal(EvaluationError, "cannot read strata"))
    if "id" not in columns or len(columns) < 2:
        raise EvaluationError(
            "not a table of strata",
            file=path,
            got=", ".join(columns) or "nothing",
            expected="columns id and one more",
        )
    named = [row["id"].strip() for row in rows]
    twice = sorted({id for id in named if named.count(id) > 1})
    if twice:
        raise EvaluationError(
            "an id is repeated",
            file=path,
            field="id",
            got=", ".join(twice[:6]),
            expected="one row per study",
        )
    if not set(named) & set(ids):
        raise EvaluationError(
            "no id of the studies compared",
            file=path,
            field="id",
            got=", ".join(named[:3]),
            expected=", ".join(sorted(ids)[:3]),
        )
    strangers, absent = [id for id in named if id not in ids], sorted(set(ids) - set(named))
    if strangers:
        told = f"{path}: rows ignored, of studies that are not compared: {some(strangers, 6)}"
        if absent:
            told += f'; studies without a row, in group "{NOT_GIVEN}": {some(absent, 6)}'
        note(told)
    cells = {column: [row[column].strip() for row in rows] for column in columns if column != "id"}
    return [
        _column(path, column, dict(zip(named, values, strict=True)), ids)
        for column, values in cells.items()
    ]


def _column(
    path: str | PathLike[str], column: str, given: Mapping[str, str], ids: Collection[str]
) -> Strata:
    names = sorted({value for id, value in given.items() if id in ids and value})
    if len(names) > MOST_GROUPS:
        hint = "divide numbers into a few ranges first"
        raise EvaluationError(
            "too many groups",
            file=path,
            field=column,
            got=len(names),
            expected=f"at most {MOST_GROUPS}",
            hint=hint,
        )
    groups: dict[str, Sequence[str]] = {
        name: [id for id in sorted(ids) if given.get(id) == name] for name in names
    }
    return Strata(
        column, _filled(groups | {NOT_GIVEN: [id for id in sorted(ids) if not given.get(id)]})
    )


def _where(
    truth_ml: Mapping[str, Mapping[str, float]], region: str, above: float, up_to: float
) -> list[str]:
    return [id for id in sorted(truth_ml) if above < truth_ml[id][region] <= up_to]


def _filled(groups: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(ids) for name, ids in groups.items() if ids}
