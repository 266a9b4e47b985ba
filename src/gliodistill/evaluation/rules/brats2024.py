"""``brats2024`` and ``brats2025``: lesion by lesion, as the organisers' scripts of those years
(rachitsaluja/BraTS-2024-Metrics) are read.

Against 2023, lesions of the prediction are merged by dilation too and small ones of them removed,
and lesions of one tissue are joined where they touch one lesion of another. Written from the
scripts' text; tests compare with a plain reading of it, not with numbers that the scripts printed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import EvaluationError
from gliodistill.evaluation.lesions import Mask, components, dilate, f1
from gliodistill.evaluation.rules.base import METRICS, Region, Rules, Values
from gliodistill.evaluation.surfaces import Surface, SurfaceDistances

Labels = NDArray[np.int64]
"""Lesions on X Y Z by number, 0 outside."""
NSD_MM = (0.5, 1.0)
"""Tolerances of the surface Dice of lesions, 2025."""


@dataclass(frozen=True)
class Parameters:
    """How a challenge defines lesions.

    Attributes:
        dilations: by which lesions are merged, and predictions found near them.
        small: lesions up to this size do not count: of the reference in mm³, of the prediction in
            voxels.
        penalty_mm: HD95 of a missed or false lesion.
        joined: region → tissues through which its lesions are joined, in turn.
        own_dilations, own_small: region → where it differs.
        false_lesions: whether false lesions enter the means.
    """

    dilations: int
    small: float
    penalty_mm: float = 374.0
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own_dilations: Mapping[str, int] = field(default_factory=dict)
    own_small: Mapping[str, float] = field(default_factory=dict)
    false_lesions: bool = True


_THROUGH_CORE = {"ET": ("NETC",)}
_AFTER_TREATMENT = Parameters(
    3,
    20.0,
    337.0,
    {
        "NETC": ("ET", "RC"),
        "ET": ("NETC", "RC"),
        "RC": ("ET", "NETC"),
        "SNFH": ("ET", "RC", "NETC"),
    },
    {"NETC": 5, "RC": 5},
    {"ET": 10.0},
)
PARAMETERS: dict[str, Parameters] = {
    "gli-post": _AFTER_TREATMENT,
    "ped": Parameters(5, 10.0),
    "met": Parameters(1, 2.0, joined=_THROUGH_CORE),
    "ssa": Parameters(3, 50.0, joined=_THROUGH_CORE),
    "men-rt": Parameters(1, 50.0, false_lesions=False),
}
"""Challenge → its parameters. Gliomas before treatment were no challenge of these years."""


@dataclass(frozen=True)
class Brats2024(Rules):
    """Lesions of both merged where they nearly touch, and joined where they touch a third."""

    name = "brats2024"
    year: ClassVar[int] = 2024

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.challenge not in PARAMETERS:
            raise EvaluationError(
                f"no challenge of BraTS {self.year} by lesions",
                field="task",
                got=self.task,
                expected=", ".join(PARAMETERS),
                hint="take --rules brats2023, or brats2026",
            )

    @property
    def parameters(self) -> Parameters:
        """Those of the challenge."""
        return PARAMETERS[self.challenge]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Lesion-wise values."""
        return METRICS

    @property
    def own_text(self) -> str:
        """The text specific to these rules."""
        parts, penalty = self.parameters, f"{self.parameters.penalty_mm:g} mm"
        dilations = _told(parts.dilations, parts.own_dilations)
        joined = "; ".join(f"{one} through {', '.join(by)}" for one, by in parts.joined.items())
        return (
            f"BraTS {self.year}, lesion by lesion, task {self.task}, regions"
            f" {', '.join(self.regions)}; read from the organisers' script, not compared with its"
            f" output. Reference and prediction are dilated (times: {dilations}; 18 neighbours);"
            " what lies in one 26-connected component of that is one lesion. Lesions of the"
            f" prediction of at most {_told(parts.small, parts.own_small)} voxels are removed,"
            " those of the reference of at most as many mm³ are left out."
            + (f" Lesions that touch one lesion of another tissue are joined ({joined})." if joined
               else "")
            + " Every lesion of the prediction that touches a dilated lesion belongs to it. Per"
            f" lesion: Dice, and HD95 over surface patches (0 and {penalty} where nothing belongs"
            " to it). Dice and HD95 are means over lesions"
            + (f", false ones of 0 and {penalty} among them" if parts.false_lesions
               else "; false ones do not count")
            + "; 1 and 0 mm where there are none. lesion_tp, lesion_fn, lesion_fp as in brats2023."
            f"{self._surface_text} Sensitivity, specificity, volumes: of the region as one mask, as"
            " it is given."
        )  # fmt: skip

    @property
    def _surface_text(self) -> str:
        return f" NSD: share of surface area of the whole region within {self._tolerance:g} mm."

    @property
    def _tolerance(self) -> float:
        return 1.0 if self.tolerance_mm is None else self.tolerance_mm

    def score_regions(self, regions: Mapping[str, Region]) -> dict[str, Values]:
        """All regions of a study, whose lesions depend on each other."""
        maps = [
            self._lesions({name: getattr(region, side) for name, region in regions.items()}, side)
            for side in ("prediction", "truth")
        ]
        return {
            name: self._score(name, region, maps[0][name], maps[1][name])
            for name, region in regions.items()
        }

    def score_region(self, region: Region) -> Values:
        """One region by itself: nothing is joined."""
        name = self.regions[0]
        lesions = [
            self._merged(name, mask, side)
            for mask, side in ((region.prediction, "prediction"), (region.truth, "truth"))
        ]
        return self._score(name, region, *lesions)

    def _lesions(self, masks: dict[str, Mask], side: str) -> dict[str, Labels]:
        """Region → the labels of its lesions on X Y Z."""
        if {"TC", "ET"} <= masks.keys() and "NETC" not in masks:
            masks = {**masks, "NETC": masks["TC"] & ~masks["ET"]}
        merged = {name: self._merged(name, mask, side) for name, mask in masks.items()}
        joined = {}
        for name, labels in merged.items():
            for other in self.parameters.joined.get(name, ()):
                if other in merged:
                    labels = _join(labels, merged[other])
            joined[name] = labels
        return joined

    def _merged(self, name: str, mask: Mask, side: str) -> Labels:
        parts = self.parameters
        around, _ = components(dilate(mask, parts.own_dilations.get(name, parts.dilations)))
        labels: Labels = (around * mask).astype(np.int64)
        if side == "prediction":
            sizes = np.bincount(labels.ravel())
            small = np.flatnonzero(sizes <= parts.own_small.get(name, parts.small))
            labels[np.isin(labels, small)] = 0
        return labels

    def _score(self, name: str, region: Region, predicted: Labels, true: Labels) -> Values:
        parts = self.parameters
        times = parts.own_dilations.get(name, parts.dilations)
        distances = _Distances(predicted, true, region)
        least = parts.own_small.get(name, parts.small)
        claimed: set[int] = set()
        pairs: list[Values] = []
        found = missed = 0
        for lesion in np.unique(true[true > 0]).tolist():
            mask = true == lesion
            near = np.unique(predicted[dilate(mask, times) & (predicted > 0)])
            claimed |= set(near.tolist())
            if np.count_nonzero(mask) * float(np.prod(region.spacing)) <= least:
                continue
            found, missed = found + bool(len(near)), missed + (not len(near))
            pairs.append(self._pair(mask, np.isin(predicted, near), distances, lesion, near))
        false = len(set(np.unique(predicted[predicted > 0]).tolist()) - claimed)
        if parts.false_lesions:
            pairs += [self._nothing()] * false
        means: Values = {
            metric: float(np.mean([float(pair[metric] or 0.0) for pair in pairs]))
            if pairs
            else best
            for metric, best in self._best().items()
        }
        return {
            **({"nsd": distances.surface_dice(self._tolerance)}),
            **region.counted(),
            **means,
            "lesion_f1": f1(found, false, missed),
            "lesion_tp": found,
            "lesion_fp": false,
            "lesion_fn": missed,
        }

    def _best(self) -> dict[str, float]:
        """Value of each mean where there is no lesion."""
        return {"dice": 1.0, "hd95_mm": 0.0}

    def _nothing(self) -> Values:
        """Scores of a missed or a false lesion."""
        return {"dice": 0.0, "hd95_mm": self.parameters.penalty_mm}

    def _pair(
        self, mask: Mask, near: Mask, distances: "_Distances", lesion: int, belong: NDArray[Any]
    ) -> Values:
        if not len(belong):
            return self._nothing()
        shared = 2.0 * np.count_nonzero(mask & near)
        dice = shared / (np.count_nonzero(mask) + np.count_nonzero(near))
        return {"dice": float(dice), "hd95_mm": distances.hd95(lesion, belong)}


@dataclass(frozen=True)
class Brats2025(Brats2024):
    """As 2024, with the surface Dice of lesions at 0.5 and 1 mm."""

    name = "brats2025"
    year: ClassVar[int] = 2025

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.challenge == "met":
            raise EvaluationError(
                "metastases of BraTS 2025 were scored by panoptica",
                field="task",
                got=self.task,
                expected=", ".join(name for name in PARAMETERS if name != "met"),
                hint="take --rules brats2026, which has panoptica's instances",
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Lesion-wise values, and the surface Dice of lesions."""
        return (*METRICS, "lesion_nsd_05", "lesion_nsd_10")

    @property
    def _surface_text(self) -> str:
        return (
            f"{super()._surface_text} lesion_nsd_05, lesion_nsd_10: of lesions, the mean of both"
            " surfaces' share of voxels within 0.5 and 1 mm."
        )

    def _best(self) -> dict[str, float]:
        return {**super()._best(), "lesion_nsd_05": 1.0, "lesion_nsd_10": 1.0}

    def _nothing(self) -> Values:
        return {**super()._nothing(), "lesion_nsd_05": 0.0, "lesion_nsd_10": 0.0}

    def _pair(
        self, mask: Mask, near: Mask, distances: "_Distances", lesion: int, belong: NDArray[Any]
    ) -> Values:
        values = super()._pair(mask, near, distances, lesion, belong)
        if not len(belong):
            return values
        surfaces = SurfaceDistances.of(
            Surface.voxels(near), Surface.voxels(mask), distances.spacing
        )
        shares = (surfaces.surface_dice_of_directions(tolerance) for tolerance in NSD_MM)
        return {**values, **dict(zip(("lesion_nsd_05", "lesion_nsd_10"), shares, strict=True))}


class _Distances:
    """Measured once between the whole surfaces; a lesion's are a part of them."""

    def __init__(self, predicted: Labels, true: Labels, region: Region) -> None:
        self.spacing = region.spacing
        masks = predicted > 0, true > 0
        self.empty = not (masks[0].any() or masks[1].any())
        self.whole: SurfaceDistances | None = None
        if masks[0].any() and masks[1].any():
            first, second = (Surface.patches(mask, region.spacing) for mask in masks)
            self.whole = SurfaceDistances.of(first, second, region.spacing)
            self.predicted, self.true = first.labels(predicted), second.labels(true)

    def hd95(self, lesion: int, near: NDArray[Any]) -> float:
        assert self.whole is not None
        chosen = np.isin(self.predicted, near), self.true == lesion
        return self.whole.between(*chosen).hd95_by_area()

    def surface_dice(self, tolerance: float) -> float:
        return self.whole.surface_dice(tolerance) if self.whole is not None else float(self.empty)


def _join(labels: Labels, others: Labels) -> Labels:
    """The labels with lesions joined that touch the same lesion of ``others``: each takes the
    number of the first that it touches. One touching pair alone changes nothing.
    """
    pairs = _touching(labels, others)
    if len(pairs) < 2:
        return labels
    first: dict[int, int] = {}
    for own, other in sorted(pairs):
        first.setdefault(own, other)
    table = np.arange(int(labels.max()) + 1)
    for own, other in first.items():
        table[own] = len(table) + other
    joined: Labels = table[labels]
    return joined


def _touching(labels: Labels, others: Labels) -> set[tuple[int, int]]:
    """Pairs of labels whose voxels are equal or neighbours across faces and edges (18)."""
    found: set[tuple[int, int]] = set()
    own, other = np.pad(labels, 1), np.pad(others, 1)
    for x, y, z in np.ndindex(3, 3, 3):
        if abs(x - 1) + abs(y - 1) + abs(z - 1) > 2:
            continue
        moved = np.roll(other, (x - 1, y - 1, z - 1), (0, 1, 2))
        both = (own > 0) & (moved > 0)
        if both.any():
            found |= set(
                map(tuple, np.unique(np.stack([own[both], moved[both]]), axis=1).T.tolist())
            )
    return found


def _told(general: float, own: Mapping[str, float]) -> str:
    special = ", ".join(f"{name} {value:g}" for name, value in own.items())
    return f"{general:g}" + (f" ({special})" if special else "")
