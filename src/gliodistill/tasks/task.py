"""A task: the label set that a network learns, as one validated description."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import LabelError
from gliodistill.tasks.conventions import LabelConvention
from gliodistill.tasks.tissues import TISSUES, Look

MOST_REGIONS = 7
"""Regions of a task: a prepared reference has one bit for each, and one for "not known"."""
_NAME = re.compile("[a-z0-9][a-z0-9-]*")
_REGION = re.compile("[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class TaskRegion:
    """A region: what one output of a network says of a voxel.

    Attributes:
        name: short, as in tables: ``WT``.
        tissues: it is their union.
        paint: the tissue that a voxel of this region, and of no later one, becomes in a label map:
            the first of these that the label convention has a code for.
        within: the region that it lies in, always; None = it lies in none.
        look: words, colour and standard code.
    """

    name: str
    tissues: frozenset[str]
    paint: tuple[str, ...]
    within: str | None
    look: Look


@dataclass(frozen=True)
class Evaluation:
    """What the field scores of a task.

    Attributes:
        challenges: names in rule sets (``gli``); the first is the task's own.
        regions: region → the tissues whose union it is, in the order of output.
    """

    challenges: tuple[str, ...]
    regions: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Task:
    """A label set and all that follows from it.

    Attributes:
        name: as recipes name it.
        title: in a few words.
        scans: which scans it is for.
        conventions: how its references are coded; the first is the default of what is written.
        ids: kinds of BraTS case ids (``BraTS-<kind>-…``) that it is for.
        regions: in the order of a network's outputs, in which they are painted too.
        clean_up: rules of post-processing that make sense.
        evaluation: what is scored.
        looks: of tissues that only this task has.
        patient: whom it is for, in words of a flag: "a patient with glioma".
        least_ml: a smaller first region counts as no tumour at all.

    Raises:
        LabelError: parts that do not fit together.

    Example:
        >>> from gliodistill.tasks import find_task
        >>> task = find_task("glioma-post")
        >>> task.names
        ('WT', 'TC', 'ET', 'RC')
        >>> task
        <Task glioma-post: WT > TC > ET, RC>
    """

    name: str
    title: str
    scans: str
    conventions: tuple[LabelConvention, ...]
    regions: tuple[TaskRegion, ...]
    evaluation: Evaluation
    ids: tuple[str, ...] = ()
    clean_up: tuple[str, ...] = ()
    looks: Mapping[str, Look] = field(default_factory=dict)
    patient: str = "a patient"
    least_ml: float = 1.0

    def __post_init__(self) -> None:
        names = self.names
        self._require(
            bool(_NAME.fullmatch(self.name)), "name", self.name, "lower case, e.g. glioma"
        )
        self._require(
            0 < len(set(names)) == len(names) <= MOST_REGIONS
            and all(_REGION.fullmatch(name) for name in names),
            "regions",
            ", ".join(names),
            f"1 to {MOST_REGIONS} different names of letters and digits",
        )
        self._require(bool(self.conventions), "conventions", "none", "one or more")
        self._require(0 <= self.least_ml <= 1000, "least_ml", self.least_ml, "0 to 1000 ml")
        for place, region in enumerate(self.regions):
            key = f"regions.{region.name}"
            self._require(bool(region.tissues), f"{key}.tissues", "none", "one or more")
            self._require(
                bool(region.paint) and set(region.paint) <= region.tissues,
                f"{key}.paint",
                ", ".join(region.paint),
                f"some of {', '.join(sorted(region.tissues))}",
            )
            if region.within is not None:
                self._require(
                    region.within in names[:place],
                    f"{key}.within",
                    region.within,
                    f"a region before it: {', '.join(names[:place]) or 'there is none'}",
                )
                around = self.region(region.within).tissues
                self._require(
                    region.tissues <= around,
                    f"{key}.tissues",
                    ", ".join(sorted(region.tissues)),
                    f"some of {', '.join(sorted(around))}, as it lies within {region.within}",
                )
        unseen = set(self.looks) - {t for region in self.regions for t in region.tissues}
        self._require(not unseen, "tissues", ", ".join(sorted(unseen)), "tissues of its regions")
        codes = self.conventions[0].codes.values()
        for region in self.regions:
            self._require(
                bool(set(region.paint) & set(codes)),
                f"regions.{region.name}.paint",
                ", ".join(region.paint),
                f"a tissue that {self.conventions[0].name} has a code for: {', '.join(codes)}",
            )

    def _require(self, fits: bool, key: str, got: object, expected: str) -> None:
        if not fits:
            raise LabelError(
                f"task {self.name} does not fit together", field=key, got=got, expected=expected
            )

    def shared(self, other: "Task") -> tuple[tuple[int, int], ...]:
        """Regions of the same name and tissues in both: their places here and in ``other``."""
        theirs = {(region.name, region.tissues): at for at, region in enumerate(other.regions)}
        places = (theirs.get((region.name, region.tissues)) for region in self.regions)
        return tuple((own, at) for own, at in enumerate(places) if at is not None)

    def __repr__(self) -> str:
        return f"<Task {self.name}: {self.nesting}>"

    def __hash__(self) -> int:
        return hash((self.name, self.names))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the regions, in channel order."""
        return tuple(region.name for region in self.regions)

    @property
    def nesting(self) -> str:
        """Its regions in words: ``WT > TC > ET, RC``."""
        chains: list[str] = []
        for region in self.regions:
            name, within = region.name, region.within
            if within is not None and chains and chains[-1].split(" > ")[-1] == within:
                chains[-1] += f" > {name}"
            else:
                chains.append(name if within is None else f"{name} within {within}")
        return ", ".join(chains)

    def region(self, name: str) -> TaskRegion:
        """The region of that name."""
        return self.regions[self.names.index(name)]

    @cached_property
    def parents(self) -> tuple[int | None, ...]:
        """Index of the region that each lies within, or None."""
        return tuple(
            None if region.within is None else self.names.index(region.within)
            for region in self.regions
        )

    @cached_property
    def roots(self) -> tuple[int, ...]:
        """Indices of the regions that lie within none."""
        return tuple(i for i, parent in enumerate(self.parents) if parent is None)

    def inside(self, index: int) -> tuple[int, ...]:
        """The region and those within it, directly or not."""
        found = [index]
        found += [i for i, parent in enumerate(self.parents) if parent in found and i not in found]
        return tuple(sorted(found))

    @property
    def parts(self) -> dict[str, list[str]]:
        """Region → its tissues, as JSON: what the content of a prepared reference depends on."""
        return {region.name: sorted(map(str, region.tissues)) for region in self.regions}

    def known(
        self, told: Sequence[str] | None, convention: LabelConvention | None, study: str
    ) -> tuple[str, ...]:
        """The regions that a study's label map defines.

        Args:
            told: by a manifest, in any letters; None = all that its codes tell.
            convention: of its codes; None where it has no label map.
            study: its id, for the error.

        Raises:
            LabelError: a region that the task does not have, or none that is known.
        """
        coded = self.names if convention is None else self.known_by(convention)
        if told is not None:
            by_letters = {name.upper(): name for name in self.names}
            if strangers := [name for name in told if name.upper() not in by_letters]:
                raise LabelError(
                    "unknown region",
                    field=f"known_regions of {study}",
                    got=", ".join(strangers),
                    expected=f"one or more of {', '.join(self.names)} (task {self.name})",
                )
            chosen = {by_letters[name.upper()] for name in told}
            coded = tuple(name for name in coded if name in chosen)
        if not coded and convention is not None:
            raise LabelError(
                f"label convention has no region of the task {self.name}",
                field=f"labels of {study}",
                got=f"{convention.name} {sorted(map(str, set(convention.codes.values())))}",
                expected=f"tissues of {', '.join(self.names)}",
                hint="name another task in the recipe: gliodistill tasks lists them",
            )
        return coded

    def known_by(self, convention: LabelConvention) -> tuple[str, ...]:
        """The regions that a convention draws: it has a code for one of their tissues."""
        drawn = set(convention.codes.values())
        return tuple(region.name for region in self.regions if region.tissues & drawn)

    def regions_of(self, labels: NDArray[Any], convention: LabelConvention) -> NDArray[np.bool_]:
        """Codes on X Y Z → regions, bool on R X Y Z.

        Raises:
            LabelError: a code that ``convention`` does not know.
        """
        table = np.zeros((len(self.regions), 256), dtype=bool)
        for code, tissue in convention.codes.items():
            for channel, region in enumerate(self.regions):
                table[channel, code] = tissue in region.tissues
        convention.check(labels)
        return table[:, labels.astype(np.uint8)]

    def nest(self, values: NDArray[Any]) -> NDArray[Any]:
        """Scores or masks of the regions (R …), each at most that of the region it lies within."""
        if not any(parent is not None for parent in self.parents):
            return values
        nested = values.copy()
        for index, parent in enumerate(self.parents):
            if parent is not None:
                np.minimum(nested[index], nested[parent], out=nested[index])
        return nested

    def paint(self, regions: NDArray[Any]) -> NDArray[np.uint8]:
        """Masks of the regions (R X Y Z, truthy) → a painting: uint8 X Y Z, 0 where there is none,
        else 1 + the index of the last region there. A region is painted only within its own.
        """
        painting = np.zeros(regions.shape[1:], dtype=np.uint8)
        masks: list[NDArray[np.bool_]] = []
        for index, parent in enumerate(self.parents):
            mask = regions[index].astype(bool, copy=False)
            masks.append(mask if parent is None else mask & masks[parent])
            np.copyto(painting, np.uint8(index + 1), where=masks[-1])
        return painting

    def codes(self, convention: LabelConvention) -> NDArray[np.uint8]:
        """Value of a painting → code of ``convention``.

        Raises:
            LabelError: it has no code for what a region is painted as.
        """
        found = [0, *(convention.code_of(*region.paint) for region in self.regions)]
        return np.array(found, dtype=np.uint8)

    def labels_of(self, regions: NDArray[Any], convention: LabelConvention) -> NDArray[np.uint8]:
        """Masks of the regions (R X Y Z, truthy) → codes on X Y Z."""
        return self.codes(convention)[self.paint(regions)]

    def members(self, convention: LabelConvention) -> NDArray[np.bool_]:
        """Whether a value of a painting lies in a region once it is written in ``convention``: bool
        on R × R + 1. A cyst painted over oedema is no oedema, but both lie in the whole tumour.
        """
        return self.regions_of(self.codes(convention), convention)

    def look(self, name: str) -> Look:
        """The look of a region, or of what is scored besides (that of its tissue)."""
        if name in self.names:
            return self.region(name).look
        return self.look_of_tissue(min(map(str, self.evaluation.regions[name])))

    def look_of_tissue(self, tissue: str) -> Look:
        """The look of a tissue."""
        return self.looks[tissue] if tissue in self.looks else TISSUES[tissue]

    def some(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of its regions that ``names`` has, in channel order."""
        return tuple(name for name in self.names if name in names)
