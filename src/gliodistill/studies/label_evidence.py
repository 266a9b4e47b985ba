"""Detection of a cohort's label convention from descriptions, names, codes and anatomy.

Every label map is read. Maps of one origin (file names, task) are analysed together. If two
conventions fit, or maps have different ones, the error gives the number of maps for each, and how
to declare the convention.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from gliodistill.errors import GliodistillError, LabelError, note
from gliodistill.images.nifti import read_labels
from gliodistill.progress import track
from gliodistill.studies.label_anatomy import MARGIN, POOL, STRONG, Boundaries
from gliodistill.studies.label_names import by_names
from gliodistill.studies.label_origin import RADIOTHERAPY, Origin
from gliodistill.studies.label_refusals import (
    STRAYS,
    LabelMap,
    Maps,
    refuse_codes,
    refuse_masks,
    refuse_mixture,
    some_maps,
    speak,
)
from gliodistill.studies.labels import (
    BRATS2013,
    BRATS2023,
    BRATS_PED,
    CONVENTIONS,
    GTV,
    MSD,
    LabelConvention,
    Tissue,
    how_to_declare,
)
from gliodistill.studies.records import StudyRecord

RIM = 0.5
"""Share of the boundary of necrosis (1) above which another code surrounds it."""
_OWN_ANATOMY = frozenset({"MEN", "MET", "PED"})
"""Tasks whose tumours often have little oedema, so that the outermost code is no evidence."""


@dataclass(frozen=True)
class Detection:
    """A convention and its evidence.

    Attributes:
        convention: the one that fits.
        evidence: a line each, for ``inspect``.
    """

    convention: LabelConvention
    evidence: tuple[str, ...]


def detect_convention(
    records: Sequence[StudyRecord], label_names: Mapping[str, Any] | None = None
) -> Detection:
    """Detect the convention of a cohort's label maps; each is read.

    Args:
        records: the studies; their names are evidence. Those without a label map are ignored.
        label_names: the ``labels`` of a data set's own ``dataset.json``, if it has one; they take
            precedence.

    Raises:
        LabelError: codes of no convention, of several (says how to declare one), or maps of
            different conventions.
        ImageError: no label map can be read.
    """
    place = _place(records)
    declared = by_names(label_names, place) if label_names else None
    maps = _read_maps(records)
    codes = frozenset().union(*(one.codes for one in maps))
    evidence = [f"codes {sorted(codes)} in {len(maps)} label map(s)"]
    if declared is not None:
        _check_declared(declared, maps, place)
        return Detection(declared, ("the labels named in dataset.json", *evidence))
    if codes == {1} and all(one.origin.task == RADIOTHERAPY for one in maps):
        return Detection(GTV, (*evidence, f"names as of BraTS-{RADIOTHERAPY}"))
    refuse_masks(maps, place)
    pools: dict[Origin, list[LabelMap]] = defaultdict(list)
    for one in maps:
        pools[one.origin].append(one)
    judged = [
        (pool, _conventions_of(pool, origin, place, evidence)) for origin, pool in pools.items()
    ]
    candidates = _common(judged)
    if not candidates:
        refuse_mixture(
            [
                f"{some_maps(pool)} {speak(pool)} for {' or '.join(c.name for c in fitting)}"
                for pool, fitting in judged
            ],
            place,
        )
    if candidates == [MSD] and codes == {1, 2}:
        evidence.append(
            "1 outside 2 and no 3: MSD without enhancing tumour, or a map of two classes (BraTS"
            " 2012 as first released: 1 oedema, 2 core; HD-GLIO: 1 not enhancing, 2 enhancing)"
        )
    elif len(candidates) == 1:
        return Detection(candidates[0], tuple(evidence))
    raise LabelError(
        "ambiguous label convention",
        file=place,
        field="labels",
        got="; ".join(evidence),
        expected=f"one of {', '.join(c.name for c in candidates)}",
        hint=how_to_declare(),
    )


def _read_maps(records: Sequence[StudyRecord]) -> list[LabelMap]:
    """All readable label maps; an unreadable one is reported when its study is loaded."""
    labelled = [record for record in records if record.truth is not None and not record.problems]
    # A mask of the whole tumour, or a crop, has fewer codes and other neighbours than a label map.
    wanted = [record for record in labelled if not record.partial] or labelled

    def read_map(record: StudyRecord) -> LabelMap | GliodistillError:
        assert record.truth is not None
        try:
            labels = read_labels(record.truth.path, record.truth.channel)
        except GliodistillError as error:
            return error
        return LabelMap(record.id, Origin.of(record), Boundaries.of(labels.data))

    # Threads: decompression and counting release the GIL.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        seen = list(track(pool.map(read_map, wanted), "reading label maps", total=len(wanted)))
    maps = [one for one in seen if isinstance(one, LabelMap)]
    if seen and not maps:
        raise next(one for one in seen if isinstance(one, GliodistillError))
    return maps


def _conventions_of(
    pool: Maps, origin: Origin, place: str, evidence: list[str]
) -> list[LabelConvention]:
    """The conventions that maps of one origin may follow."""
    codes = frozenset().union(*(one.codes for one in pool))
    fitting = [c for c in _detectable() if codes <= set(c.codes)]
    if not fitting:
        refuse_codes(pool, place)
    if str(origin):
        evidence.append(str(origin))
    candidates = origin.narrow(_without_mixture(fitting, pool, origin, place), codes)
    if len(fitting) > 1 and origin.task not in _OWN_ANATOMY:
        candidates = _by_anatomy(candidates, fitting, pool, place, evidence)
    return _without_supersets(candidates, codes)


def _without_mixture(
    fitting: list[LabelConvention], pool: Maps, origin: Origin, place: str
) -> list[LabelConvention]:
    """Narrow down conventions with codes 3 and 4, if maps may be pooled from two.

    A 3 or a 4 is enhancing tumour in most conventions. If a convention has both, many maps contain
    both; and a 4 around the 1 is enhancing tumour around necrosis, not a cavity.
    """
    with_4 = [one for one in pool if 4 in one.codes]
    with_3 = [one for one in pool if 3 in one.codes]
    both = [one for one in with_4 if 3 in one.codes]
    if origin.task == "PED":
        # Of the maps from 2024 on, 99 % hold non-enhancing tumour, code 2.
        strays = [one for one in pool if one.codes and 2 not in one.codes]
        if with_4 and len(strays) > 0.05 * len(pool):
            refuse_mixture(
                [
                    f"{some_maps(with_4)} with code 4 {speak(with_4)} for BraTS-PED 2024"
                    f" ({BRATS_PED.name})",
                    f"{some_maps(strays)} without code 2 {speak(strays)} for BraTS-PED 2023"
                    f" ({BRATS2023.name})",
                ],
                place,
            )
        return fitting
    if not with_3 or not with_4:
        return fitting
    only_3 = [one for one in with_3 if 4 not in one.codes]
    only_4 = [one for one in with_4 if 3 not in one.codes]
    rims = [one for one in only_4 if one.boundaries.share(1, 4) > RIM]
    recent = origin.naming == "2023" or origin.task is not None
    told = [f"{some_maps(only_4)} with code 4 and no 3"]
    if len(both) >= len(with_4) / 3:
        if not recent or len(rims) <= STRAYS * len(pool):
            return fitting
        told = [f"{some_maps(rims)} with no 3 and a 4 that surrounds 1, as enhancing tumour does"]
    elif BRATS_PED in fitting:
        outermost = Boundaries.pooled(one.boundaries for one in with_4).outermost(STRONG)
        if outermost == BRATS_PED.code_of(Tissue.ED):
            return [BRATS_PED]
    told.append(f"{some_maps(only_3)} with code 3 and no 4" if only_3 else "")
    told.append(f"{some_maps(both)} with both" if both else "none with both")
    refuse_mixture(told, place)


def _by_anatomy(
    candidates: list[LabelConvention],
    fitting: list[LabelConvention],
    pool: Maps,
    place: str,
    evidence: list[str],
) -> list[LabelConvention]:
    """Narrow down by the outermost code, which is oedema."""
    outside = _outermost(fitting, pool)
    expected = {c.code_of(Tissue.ED) for c in candidates}
    speaking = sum(len(maps) for maps in outside.values())
    largest = max(outside, key=lambda code: len(outside[code]), default=None)
    strays = {
        code: maps for code, maps in outside.items() if code != largest or code not in expected
    }
    if sum(len(maps) for maps in strays.values()) > STRAYS * speaking:
        told = [
            f"{some_maps(maps)} with code {code} outermost, as oedema is in"
            f" {' and '.join(c.name for c in fitting if c.code_of(Tissue.ED) == code)}"
            for code, maps in sorted(outside.items())
        ]
        if len(outside) == 1:
            told.append(f"{pool[0].origin}, as of {' or '.join(c.name for c in candidates)}")
        refuse_mixture(told, place)
    for code, maps in strays.items():
        line = f"unlike the others: {some_maps(maps)} with code {code} outermost"
        evidence.append(line)
        note(f"{place}: {line}")
    pooled = Boundaries.pooled(one.boundaries for one in pool)
    outermost = pooled.outermost(MARGIN if len(pool) >= POOL else STRONG)
    if len(candidates) < 2 or outermost is None or len(expected & pooled.codes) < 2:
        return candidates
    shares = ", ".join(f"{code}: {share:.0%}" for code, share in pooled.shares().items())
    evidence.append(
        f"code {outermost} lies outermost, as oedema does (boundary on background {shares})"
    )
    return [c for c in candidates if c.codes.get(outermost) == Tissue.ED] or candidates


def _outermost(fitting: Iterable[LabelConvention], pool: Maps) -> dict[int, list[LabelMap]]:
    """Code → the maps in which it is clearly outermost, among codes that are oedema in some
    convention; only maps with two of these count.
    """
    oedema = {c.code_of(Tissue.ED) for c in fitting}
    outside: dict[int, list[LabelMap]] = defaultdict(list)
    for one in pool:
        outermost = one.boundaries.outermost(STRONG)
        if outermost in oedema and len(oedema & one.codes) > 1:
            outside[outermost].append(one)
    return dict(outside)


def _without_supersets(
    candidates: list[LabelConvention], codes: frozenset[int]
) -> list[LabelConvention]:
    """Drop conventions that only add unseen codes to one whose codes were all seen (2024 without a
    cavity is 2023; 2012–2016 has a 4 except in low grades, which have known names).

    A code that turns up later is still caught: loading checks every label map.
    """
    complete = [c for c in candidates if set(c.codes) == codes]
    return [
        c
        for c in candidates
        if not any(d is not c and d.codes.items() <= c.codes.items() for d in complete)
        and not (c is BRATS2013 and BRATS2023 in complete)
    ]


def _common(
    judged: Sequence[tuple[Maps, list[LabelConvention]]],
) -> list[LabelConvention]:
    """The conventions that explain every pool: a candidate there, or the same in the codes seen."""
    left = []
    for convention in _detectable():
        explains = True
        for pool, candidates in judged:
            codes = frozenset().union(*(one.codes for one in pool))
            explains &= any(
                all(convention.codes.get(code) is c.codes[code] for code in codes)
                for c in candidates
            )
        if explains:
            left.append(convention)
    for enough in (all, any):
        chosen = [c for c in left if enough(c in candidates for _, candidates in judged)]
        if chosen:
            return chosen
    return left


def _check_declared(declared: LabelConvention, maps: Maps, place: str) -> None:
    """Check the maps against ``dataset.json``."""
    strangers = [one for one in maps if not one.codes <= set(declared.codes)]
    if strangers:
        raise LabelError(
            "label codes that dataset.json does not declare",
            file=place,
            field="labels",
            got=f"{sorted(strangers[0].codes)[:8]} in {some_maps(strangers)}",
            expected=f"{declared.name} {sorted(declared.codes)}",
            hint="correct dataset.json, or declare the convention with --labels NAME",
        )
    if declared in (BRATS_PED, GTV):  # children's tumours have little oedema, a target none
        return
    codes = frozenset().union(*(one.codes for one in maps))
    fitting = [c for c in _detectable() if codes <= set(c.codes)]
    outside = _outermost(fitting, maps)
    against = [
        one for code, there in outside.items() for one in there if declared.codes[code] != Tissue.ED
    ]
    if 2 * len(against) > sum(len(there) for there in outside.values()):
        told = "; ".join(
            f"{some_maps(there)} with code {code} outermost"
            for code, there in sorted(outside.items())
        )
        raise LabelError(
            "label maps contradict dataset.json",
            file=place,
            field="labels",
            got=told,
            expected=f"oedema, code {declared.code_of(Tissue.ED)}, outermost ({declared.name})",
            hint="correct dataset.json, or declare the convention with --labels NAME",
        )


def _detectable() -> list[LabelConvention]:
    return [convention for convention in CONVENTIONS.values() if convention.detectable]


def _place(records: Sequence[StudyRecord]) -> str:
    truths = [record.truth.path for record in records if record.truth is not None]
    return (
        str(truths[0])
        if len(truths) == 1
        else f"{len(truths)} label maps from {truths[0].parent}"
        if truths
        else "no label map"
    )
