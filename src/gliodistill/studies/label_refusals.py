"""Errors about label maps that no convention explains."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from gliodistill.errors import LabelError
from gliodistill.studies.label_anatomy import Boundaries
from gliodistill.studies.label_origin import Origin
from gliodistill.studies.labels import CONVENTIONS, how_to_declare

STRAYS = 0.005
"""Share of the maps that may differ from the others (with a note) before all are refused."""


@dataclass(frozen=True)
class LabelMap:
    """The evidence of one label map.

    Attributes:
        id: of its study.
        origin: from names.
        boundaries: of its codes.
    """

    id: str
    origin: Origin
    boundaries: Boundaries

    @property
    def codes(self) -> frozenset[int]:
        """The codes present, without 0."""
        return self.boundaries.codes


Maps = Sequence[LabelMap]


def refuse_masks(maps: Maps, place: str) -> None:
    """Raise LabelError if maps contain only code 1: such a mask does not say which tissue it is."""
    drawn = [one for one in maps if one.codes]
    masks = [one for one in drawn if one.codes == {1}]
    if len(masks) <= STRAYS * len(drawn):
        return
    raise LabelError(
        "binary masks" if len(masks) == len(drawn) else "binary masks among label maps",
        file=place,
        field="labels",
        got=f"only code 1 in {some_maps(masks)} of {len(drawn)}",
        expected="codes that distinguish oedema, core and enhancing tumour",
        hint=(
            "a mask does not distinguish tissues: of a radiotherapy target, declare --labels gtv;"
            " of the whole tumour, leave it out, or set known_regions to WT in a manifest; if 1 is"
            f" a tissue here, {how_to_declare()}"
        ),
    )


def refuse_codes(pool: Maps, place: str) -> NoReturn:
    """Raise LabelError for codes of no convention, with what they may be."""
    known = {code for c in CONVENTIONS.values() if c.detectable for code in c.codes}
    strangers = [one for one in pool if not one.codes <= known] or list(pool)
    seen = sorted(frozenset().union(*(one.codes for one in pool)))
    hint = how_to_declare()
    if all(len(one.codes) == 1 for one in strangers):
        hint = (
            f"one code in each of {some_maps(strangers)}: a binary mask, which does not"
            " distinguish tissues"
        )
    elif set(seen) == {1, 2, 3, 4, 5}:
        hint = (
            "synthetic images of BraTS 2012 and 2013 number 1 white matter, 2 grey matter, 3 CSF, 4"
            " oedema, 5 tumour"
        )
    raise LabelError(
        "label codes that fit no convention",
        file=place,
        field="labels",
        got=f"{seen[:8]} in {len(pool)} label map(s), e.g. {strangers[0].id}",
        expected="; ".join(
            f"{c.name} {sorted(c.codes)}" for c in CONVENTIONS.values() if c.detectable
        ),
        hint=hint,
    )


def refuse_mixture(told: Iterable[str], place: str) -> NoReturn:
    """Raise LabelError for maps of different conventions, with the maps of each."""
    raise LabelError(
        "label maps of different conventions",
        file=place,
        field="labels",
        got="; ".join(line for line in told if line),
        expected="one convention, or one declared for each study",
        hint=how_to_declare(),
    )


def some_maps(maps: Maps) -> str:
    """``3 maps (a, b, …)``."""
    names = ", ".join(one.id for one in maps[:3]) + (", …" if len(maps) > 3 else "")
    return f"{len(maps)} {'map' if len(maps) == 1 else 'maps'} ({names})"


def speak(maps: Maps) -> str:
    """The verb for one map or for several."""
    return "speaks" if len(maps) == 1 else "speak"
