"""Label conventions from the ``labels`` of a ``dataset.json``.

MSD and nnU-Net 1: ``{"1": "edema", …}``; nnU-Net 2: ``{"edema": 1, …}`` or, for regions, ``{"whole
tumor": [1, 2, 3], …}``.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from gliodistill.errors import LabelError
from gliodistill.studies.labels import CONVENTIONS, REGION_TISSUES, LabelConvention, Tissue

Meaning = TypeVar("Meaning")

_TISSUES: tuple[tuple[str, Tissue], ...] = (
    # Order matters: "non-enhancing" holds "enhancing", "edema" may be "non-enhancing edema".
    (r"\bgtv|gross tumou?r", Tissue.GTV),
    (r"o?edema|snfh|\bed\b|flair hyperintens", Tissue.ED),
    (r"resection|cavity|\brc\b", Tissue.RC),
    (r"cystic|\bcc\b", Tissue.CC),
    (r"necro|\bncr\b|\bnetc\b|non ?enhancing|\bnet\b", Tissue.NCR),
    (r"enhancing|\bet\b", Tissue.ET),
)
_REGIONS: tuple[tuple[str, str], ...] = (
    (r"resection|cavity|\brc\b", "none"),
    (r"whole|\bwt\b", "WT"),
    (r"core|\btc\b", "TC"),
    (r"enhancing|\bet\b", "ET"),
)


def by_names(labels: Mapping[str, Any], place: str) -> LabelConvention:
    """The convention whose codes belong to the named regions.

    Raises:
        LabelError: a name that is not understood, or codes that fit no convention.
    """
    pairs = [
        (str(value), key) if re.fullmatch("[0-9]{1,4}", str(key)) else (str(key), value)
        for key, value in labels.items()
    ]
    pairs = [(re.sub(r"[^a-z0-9]+", " ", name.lower()).strip(), codes) for name, codes in pairs]
    pairs = [(name, codes) for name, codes in pairs if name not in ("background", "ignore")]
    try:
        if any(isinstance(codes, list) for _, codes in pairs):
            regions = {
                _match(name, _REGIONS): {
                    int(code) for code in (codes if isinstance(codes, list) else [codes])
                }
                for name, codes in pairs
            }
            if len(regions) < len(pairs):
                raise ValueError("one region named twice")
            every = set().union(*regions.values())
            told = {
                code: frozenset(r for r, codes in regions.items() if code in codes and r != "none")
                for code in every
            }
        else:
            told = {int(code): _regions_with(_match(name, _TISSUES)) for name, code in pairs}
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(
            "labels that are not understood",
            file=place,
            field="dataset.json labels",
            got=dict(labels),
            expected="names of tissues (edema, non-enhancing tumor, enhancing tumor, …) or regions",
            hint=f"declare the convention with --labels NAME ({', '.join(CONVENTIONS)})",
        ) from error
    for convention in CONVENTIONS.values():
        if {code: _regions_with(tissue) for code, tissue in convention.codes.items()} == told:
            return convention
    raise LabelError(
        "labels that fit no convention",
        file=place,
        field="dataset.json labels",
        got=dict(labels),
        expected="; ".join(
            f"{c.name}: {', '.join(f'{code} {tissue}' for code, tissue in c.codes.items())}"
            for c in CONVENTIONS.values()
        ),
        hint="renumber the label maps, or declare the convention with --labels NAME",
    )


def _match(name: str, table: tuple[tuple[str, Meaning], ...]) -> Meaning:
    for pattern, meaning in table:
        if re.search(pattern, name):
            return meaning
    raise KeyError(name)


def _regions_with(tissue: str) -> frozenset[str]:
    if tissue == Tissue.GTV:  # no region of a glioma, but not a cavity either
        return frozenset({"GTV"})
    return frozenset(region for region, tissues in REGION_TISSUES.items() if tissue in tissues)
