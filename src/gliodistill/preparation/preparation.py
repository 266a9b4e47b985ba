"""The invertible preparation: canonical orientation, crop to the brain, resample, normalise per
sequence.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError, StudyError
from gliodistill.images.bounds import Box, cut_out, filled_box, union
from gliodistill.images.resampling import Taps, axis_matrix, resample_by
from gliodistill.preparation.bias import Correction, corrections
from gliodistill.preparation.prepared import REGION_BITS, UNKNOWN, Prepared
from gliodistill.preparation.quantise import quantise
from gliodistill.preparation.statistics import brain_statistics
from gliodistill.studies.image_checks import usable
from gliodistill.studies.labels import REGIONS
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study
from gliodistill.tasks.catalogue import glioma
from gliodistill.tasks.task import Task

MOST_VOXELS = 2**28
"""Largest prepared study: a cube of 64 cm at 1 mm."""
OPTIONAL = ("bias_mm",)
"""Settings that are written only if set, so that older packages are read unchanged.
"""


@dataclass(frozen=True)
class Preparation:
    """How studies are prepared. Equal settings give equal numbers, in training and inference.

    Attributes:
        sequences: channel order of the image.
        spacing: voxel size in mm along R, A, S; None keeps each study's own.
        margin_mm: margin around the brain's box.
        percentiles: intensities of the brain beyond these are not used for mean and standard
            deviation.
        bias_mm: smoothness of the bias field in the bias-field correction
            (:mod:`gliodistill.preparation.bias`); None corrects none.

    Raises:
        PackageError: no sequence or one twice, a size that is not positive, percentiles out of
            order.
    """

    sequences: tuple[MRSequence, ...] = tuple(MRSequence)
    spacing: tuple[float, float, float] | None = None
    margin_mm: float = 3.0
    percentiles: tuple[float, float] = (1.0, 99.0)
    bias_mm: float | None = None

    def __post_init__(self) -> None:
        low, high = self.percentiles
        for field, got, fits, expected in (
            (
                "sequences",
                [str(s) for s in self.sequences],
                0 < len(set(self.sequences)) == len(self.sequences),
                "one or more, each once",
            ),
            (
                "spacing",
                self.spacing,
                self.spacing is None or all(0.1 <= s <= 50 for s in self.spacing),
                "mm along R, A, S, each from 0.1 to 50",
            ),
            ("margin_mm", self.margin_mm, 0 <= self.margin_mm <= 100, "0 to 100"),
            ("percentiles", self.percentiles, 0 <= low < high <= 100, "0 ≤ low < high ≤ 100"),
            (
                "bias_mm",
                self.bias_mm,
                self.bias_mm is None or 1 <= self.bias_mm <= 1000,
                "1 to 1000 mm, or none",
            ),
        ):
            if not fits:
                raise PackageError(
                    "preparation does not fit",
                    field=f"preparation.{field}",
                    got=got,
                    expected=expected,
                )

    def apply(self, study: Study, task: Task | None = None) -> Prepared:
        """Prepare a study.

        Args:
            study: as read.
            task: whose regions the reference becomes; None = glioma.

        Raises:
            StudyError: none of :attr:`sequences` is there, the images are empty or too large at the
                wanted voxel size, or the brain cannot be separated from the background
                (:func:`~gliodistill.studies.image_checks.usable`).
        """
        study = usable(study)
        present = tuple(sequence in study.images for sequence in self.sequences)
        if not any(present):
            raise StudyError(
                "no usable sequence",
                file=study.id,
                got=", ".join(study.sequences),
                expected=" or ".join(self.sequences),
            )
        grid, part = study.grid.canonical(), next(iter(study.images.values())).canonical()
        # Where the images begin on the study's grid: at 0, unless empty space was cropped in
        # reading.
        cut = np.rint(np.linalg.solve(grid.affine, part.affine[:, 3])[:3]).astype(int)
        there = [channel for channel, is_there in enumerate(present) if is_there]
        images = [study.images[self.sequences[channel]].canonical().data for channel in there]
        box = self._brain_box(images, cut, grid.spacing)
        spacing = self.spacing or grid.spacing
        factors = [target / source for target, source in zip(spacing, grid.spacing, strict=True)]
        extent = [s.stop - s.start for s in box]
        shape = tuple(
            max(1, int(np.ceil(e / f - 1e-6))) for e, f in zip(extent, factors, strict=True)
        )
        if math.prod(shape) > MOST_VOXELS:
            raise StudyError(
                "too many voxels once prepared",
                file=study.id,
                field="spacing",
                got=f"{'×'.join(map(str, shape))} of {'×'.join(f'{s:g}' for s in spacing)} mm",
                expected=f"at most {MOST_VOXELS}",
                hint="check the voxel size in the images' headers",
            )
        taps = tuple(
            Taps.of(axis_matrix(e, n, f)) for e, n, f in zip(extent, shape, factors, strict=True)
        )

        levels = np.zeros((len(self.sequences), *shape), dtype=np.uint8)
        with ThreadPoolExecutor(max_workers=len(there)) as pool:  # NumPy releases the GIL
            boxed = list(pool.map(lambda image: cut_out(image, box, cut.tolist()), images))
            inside = _masks(list(pool.map(lambda image: image != 0, boxed)))
            # Correction and normalisation follow resampling, which is linear: fewer voxels.
            own = {id(mask): mask for mask in inside}
            share_of = dict(
                zip(own, pool.map(resample_by, own.values(), repeat(taps)), strict=True)
            )
            shares = [share_of[id(mask)] for mask in inside]
            means = pool.map(resample_by, boxed, repeat(taps))  # meanwhile, fields are estimated
            found: list[Correction | None] = [None] * len(there)
            if self.bias_mm is not None and not study.normalised:
                found = corrections(boxed, inside, grid.spacing, self.bias_mm)
            filled = pool.map(
                self._levels,
                *(boxed, means, shares, found),
                *map(repeat, (grid.spacing, spacing, study.normalised)),
            )
            for channel, values in zip(there, filled, strict=True):
                levels[channel] = values
        truth = None
        names = known_regions = REGIONS if task is None else task.names
        if study.truth is not None:
            if study.convention is None:
                raise StudyError(
                    "reference segmentation without a label convention",
                    file=study.id,
                    hint="declare it with --labels",
                )
            task = task or glioma()
            known_regions = task.known(study.known_regions, study.convention, study.id)
            masks = task.regions_of(
                cut_out(study.truth.canonical().data, box).astype(np.uint8), study.convention
            )
            truth = np.zeros(shape, dtype=np.uint8)
            for name, bit, mask in zip(names, REGION_BITS, masks, strict=False):
                if name in known_regions:
                    truth |= (resample_by(mask, taps) > 0.5).astype(np.uint8) << bit
            if study.known is not None:
                # A prepared voxel is known if it is made only of known voxels inside the images.
                known = cut_out(study.known.canonical().data, box) != 0
                truth[resample_by(known, taps) < 1 - 1e-4] = UNKNOWN
        affine = grid.affine.copy()
        start = np.array([s.start for s in box]) + (np.asarray(factors) - 1) / 2
        affine[:3, 3] = grid.affine[:3, :3] @ start + grid.affine[:3, 3]
        affine[:3, :3] = grid.affine[:3, :3] * np.asarray(factors)
        return Prepared(
            study.id,
            study.patient,
            levels,
            present,
            truth,
            affine,
            study.grid,
            box,
            study.notes,
            names,
            known_regions,
        )

    def _levels(
        self,
        image: NDArray[np.float32],
        mean: NDArray[np.float32],
        share: NDArray[np.float32],
        correction: Correction | None,
        native: tuple[float, float, float],
        spacing: tuple[float, float, float],
        normalised: bool,
    ) -> NDArray[np.uint8]:
        """Levels of one sequence on the prepared grid (uint8 X Y Z).

        Args:
            image: in the brain's box (float32 X Y Z), scanner units, or z-scores where
                ``normalised``; 0 outside the brain.
            mean: on the prepared grid, what is not brain counted as 0.
            share: of each prepared voxel that is brain.
            correction: of the bias field.
            native: voxel size of ``image`` in mm.
            spacing: of the prepared grid.
            normalised: whether it is in z-scores.
        """
        if not image.any():
            return np.zeros(share.shape, dtype=np.uint8)
        # Averaging over the brain's part of each coarse voxel keeps its rim as bright as its
        # middle.
        values = mean / np.maximum(share, 1e-6)
        if correction is not None:
            values *= correction.at(values.shape, spacing)
        if not normalised:
            middle, deviation = brain_statistics(image, native, correction, self.percentiles)
            values -= middle
            values /= deviation
        return quantise(values, share > 0.5)

    def _brain_box(
        self,
        images: list[NDArray[Any]],
        cut: NDArray[Any],
        spacing: tuple[float, float, float],
    ) -> Box:
        """The brain and a margin, in voxels of the study's canonical grid, beyond whose border it
        may reach.
        """
        filled = [box for image in images if (box := filled_box(image)) is not None]
        margins = [round(self.margin_mm / step) for step in spacing]
        x, y, z = (
            slice(side.start + start - margin, side.stop + start + margin)
            for side, start, margin in zip(union(filled), cut.tolist(), margins, strict=True)
        )
        return x, y, z

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "sequences": [str(s) for s in self.sequences],
            "spacing": None if self.spacing is None else list(self.spacing),
            "margin_mm": self.margin_mm,
            "percentiles": list(self.percentiles),
        } | ({} if self.bias_mm is None else {"bias_mm": self.bias_mm})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preparation":
        """From JSON.

        Raises:
            PackageError: a key is missing, unknown or of the wrong form.
        """
        expected = {"sequences", "spacing", "margin_mm", "percentiles"}
        if set(values) - set(OPTIONAL) != expected:
            raise PackageError(
                "preparation does not fit",
                field="preparation",
                got=sorted(values),
                expected=sorted(expected),
            )
        try:
            spacing = None
            if values["spacing"] is not None:
                x, y, z = (float(v) for v in values["spacing"])
                spacing = x, y, z
            low, high = (float(v) for v in values["percentiles"])
            bias_mm = float(values["bias_mm"]) if "bias_mm" in values else None
            return cls(
                tuple(MRSequence(s) for s in values["sequences"]),
                spacing,
                float(values["margin_mm"]),
                (low, high),
                bias_mm,
            )
        except (TypeError, ValueError) as error:
            raise PackageError(
                "preparation does not fit", field="preparation", got=values
            ) from error


def _masks(masks: list[NDArray[np.bool_]]) -> list[NDArray[np.bool_]]:
    """The masks, equal ones as one array: work on them is done once."""
    return [next(other for other in masks if np.array_equal(other, mask)) for mask in masks]
