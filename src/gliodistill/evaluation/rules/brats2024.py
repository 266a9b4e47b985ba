"""``brats2024``: lesion by lesion, as the organisers' scripts of that year do it
(rachitsaluja/BraTS-2024-Metrics). ``brats2025`` differs in :mod:`.brats2025`.

Against 2023, lesions of the prediction are merged by dilation too and small ones of them removed,
and lesions of one tissue are joined where they touch one lesion of another. The values equal those
of the scripts (``tests/evaluation/oracle``).
"""

import math
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True)
class Parameters:
    """How a challenge defines lesions.

    Attributes:
        dilations: by which lesions are merged, and predictions found near them.
        small: lesions up to this size do not count: of the reference in mm³, of the prediction in
            voxels.
        penalty_mm: HD95 of a missed or false lesion; None: the diagonal of the image in voxels.
        joined: region → tissues through which its lesions are joined, in turn.
        own_dilations, own_small: region → where it differs.
        false_lesions: whether false lesions enter the means.
        small_in_mm3: whether small lesions of the prediction are measured in mm³ as well.
        merged_prediction: whether lesions of the prediction are merged, and small ones removed; in
            2023 they were not.
    """

    dilations: int
    small: float
    penalty_mm: float | None = 374.0
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own_dilations: Mapping[str, int] = field(default_factory=dict)
    own_small: Mapping[str, float] = field(default_factory=dict)
    false_lesions: bool = True
    small_in_mm3: bool = False
    merged_prediction: bool = True


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
    "men-rt": Parameters(1, 50.0, None, false_lesions=False, small_in_mm3=True),
    "men": Parameters(1, 50.0, merged_prediction=False),
}
"""Challenge → its parameters. Gliomas before treatment were no challenge of these years."""


@dataclass(frozen=True)
class Brats2024(Rules):
    """Lesions of both merged where they nearly touch, and joined where they touch a third."""

    name = "brats2024"
    year: ClassVar[int] = 2024
    challenges: ClassVar[tuple[str, ...]] = ("gli-post", "ped", "met", "ssa", "men-rt")
    """Scored by lesions in that year."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.challenge not in self.challenges:
            raise EvaluationError(
                f"no challenge of BraTS {self.year} by lesions",
                field="task",
                got=self.task,
                expected=", ".join(self.challenges),
                hint=self._instead(),
            )

    def _instead(self) -> str:
        return "take --rules brats2023, or brats2026"

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
        parts = self.parameters
        small = _told(parts.small, parts.own_small)
        penalty = "the image's diagonal in voxels, taken as mm,"
        if parts.penalty_mm is not None:
            penalty = f"{parts.penalty_mm:g} mm"
        merged = (
            "Reference and prediction are dilated"
            if parts.merged_prediction
            else "The reference is dilated"
        )
        removed = ""
        if parts.merged_prediction:
            unit = "mm³" if parts.small_in_mm3 else "voxels"
            removed = f" Lesions of the prediction of at most {small} {unit} are removed."
        dilations = _told(parts.dilations, parts.own_dilations)
        joined = "; ".join(f"{one} through {', '.join(by)}" for one, by in parts.joined.items())
        return (
            f"BraTS {self.year}, lesion by lesion, task {self.task}, regions"
            f" {', '.join(self.regions)}. {merged} (times: {dilations}; 18 neighbours); what lies"
            f" in one 26-connected component of that is one lesion.{removed} Lesions of the"
            f" reference of at most {small} mm³ are left out."
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
        spacing = next(iter(regions.values())).spacing
        maps = [
            self._lesions(
                {name: getattr(region, side) for name, region in regions.items()}, side, spacing
            )
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
            self._merged(name, mask, side, region.spacing)
            for mask, side in ((region.prediction, "prediction"), (region.truth, "truth"))
        ]
        return self._score(name, region, *lesions)

    def _lesions(
        self, masks: dict[str, Mask], side: str, spacing: Sequence[float]
    ) -> dict[str, Labels]:
        """Region → the labels of its lesions on X Y Z."""
        if {"TC", "ET"} <= masks.keys() and "NETC" not in masks:
            masks = {**masks, "NETC": masks["TC"] & ~masks["ET"]}
        merged = {name: self._merged(name, mask, side, spacing) for name, mask in masks.items()}
        joined = {}
        for name, labels in merged.items():
            for other in self.parameters.joined.get(name, ()):
                if other in merged:
                    labels = _join(labels, merged[other])
            joined[name] = labels
        return joined

    def _merged(self, name: str, mask: Mask, side: str, spacing: Sequence[float]) -> Labels:
        parts = self.parameters
        if side == "prediction" and not parts.merged_prediction:
            return components(mask)[0].astype(np.int64)
        around, _ = components(dilate(mask, parts.own_dilations.get(name, parts.dilations)))
        labels: Labels = (around * mask).astype(np.int64)
        if side == "prediction":
            voxel = math.prod(spacing) if parts.small_in_mm3 else 1.0
            sizes = np.bincount(labels.ravel()) * voxel
            small = np.flatnonzero(sizes <= parts.own_small.get(name, parts.small))
            labels[np.isin(labels, small)] = 0
        return labels

    def _score(self, name: str, region: Region, predicted: Labels, true: Labels) -> Values:
        parts = self.parameters
        times = parts.own_dilations.get(name, parts.dilations)
        distances = Distances(predicted, true, region, parts.penalty_mm)
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
            pairs += [self._nothing(distances.penalty_mm)] * false
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

    def _nothing(self, penalty: float) -> Values:
        """Scores of a missed or a false lesion."""
        return {"dice": 0.0, "hd95_mm": penalty}

    def _pair(
        self, mask: Mask, near: Mask, distances: "Distances", lesion: int, belong: NDArray[Any]
    ) -> Values:
        if not len(belong):
            return self._nothing(distances.penalty_mm)
        shared = 2.0 * np.count_nonzero(mask & near)
        dice = shared / (np.count_nonzero(mask) + np.count_nonzero(near))
        return {"dice": float(dice), "hd95_mm": distances.hd95(lesion, belong)}


class Distances:
    """Measured once between the whole surfaces; a lesion's are a part of them.

    Args:
        predicted, true: lesions on X Y Z by number.
        region: that they are of.
        penalty_mm: of a missed or false lesion; None: the diagonal of the image in voxels.
    """

    def __init__(
        self, predicted: Labels, true: Labels, region: Region, penalty_mm: float | None
    ) -> None:
        self.spacing = region.spacing
        self.penalty_mm = math.hypot(*region.image_shape) if penalty_mm is None else penalty_mm
        masks = predicted > 0, true > 0
        self.empty = not (masks[0].any() or masks[1].any())
        self.whole: SurfaceDistances | None = None
        if masks[0].any() and masks[1].any():
            first, second = (Surface.patches(mask, region.spacing) for mask in masks)
            self.whole = SurfaceDistances.of(first, second, region.spacing)
            self.predicted, self.true = first.labels(predicted), second.labels(true)

    def hd95(self, lesion: int, near: NDArray[Any]) -> float:
        """Between a lesion of the reference and those of the prediction near it, in mm."""
        assert self.whole is not None
        chosen = np.isin(self.predicted, near), self.true == lesion
        return self.whole.between(*chosen).hd95_by_area()

    def surface_dice(self, tolerance: float) -> float:
        """Of the whole region, within ``tolerance`` mm; 1 if both masks are empty."""
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
