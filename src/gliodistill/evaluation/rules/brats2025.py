"""``brats2025``: as ``brats2024``, with the surface Dice of lesions at two tolerances.

Meningiomas came in, whose lesions of the prediction are not merged; metastases went over to
panoptica, which ``brats2026`` follows.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from gliodistill.evaluation.lesions import Mask
from gliodistill.evaluation.rules.base import METRICS, Values
from gliodistill.evaluation.rules.brats2024 import Brats2024, Distances
from gliodistill.evaluation.surfaces import Surface, SurfaceDistances

NSD_MM = (0.5, 1.0)
"""Tolerances of the surface Dice of lesions."""


@dataclass(frozen=True)
class Brats2025(Brats2024):
    """As 2024, with the surface Dice of lesions at 0.5 and 1 mm."""

    name = "brats2025"
    year: ClassVar[int] = 2025
    challenges: ClassVar[tuple[str, ...]] = ("gli-post", "ped", "ssa", "men-rt", "men")

    def _instead(self) -> str:
        if self.challenge == "met":
            return "panoptica scored metastases in 2025: take --rules brats2026, which follows it"
        if self.challenge == "goat":
            return "2025 scored each case by its own cohort's rules: name that cohort as the task"
        return super()._instead()

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

    def _nothing(self, penalty: float) -> Values:
        return {**super()._nothing(penalty), "lesion_nsd_05": 0.0, "lesion_nsd_10": 0.0}

    def _pair(
        self, mask: Mask, near: Mask, distances: Distances, lesion: int, belong: NDArray[Any]
    ) -> Values:
        values = super()._pair(mask, near, distances, lesion, belong)
        if not len(belong):
            return values
        surfaces = SurfaceDistances.of(
            Surface.voxels(near), Surface.voxels(mask), distances.spacing
        )
        shares = (surfaces.surface_dice_of_directions(tolerance) for tolerance in NSD_MM)
        return {**values, **dict(zip(("lesion_nsd_05", "lesion_nsd_10"), shares, strict=True))}
