"""The invertible preparation: canonical orientation, crop to the brain, resample, normalise per sequence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError, StudyError
from gliodistill.images.volume import Volume
from gliodistill.preparation.quantise import dequantise, quantise
from gliodistill.preparation.resampling import axis_matrix, resample
from gliodistill.studies.sequence import Sequence
from gliodistill.studies.study import Study

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a network sees of a study, and the way back.

    Attributes:
        id, patient: of the study.
        image: uint8 C X Y Z, levels of :mod:`quantise`; a missing sequence is all 0.
        present: which channels the study has.
        truth: uint8 X Y Z, bit 0 = WT, 1 = TC, 2 = ET; or None.
        affine: of the prepared grid, voxel → RAS+ mm.
        native: any volume on the study's own grid (only shape and affine are used on the way back).
        box: the brain's box on the study's canonical grid.
    """

    id: str
    patient: str
    image: NDArray[np.uint8]
    present: tuple[bool, ...]
    truth: NDArray[np.uint8] | None
    affine: NDArray[np.float64]
    native: Volume
    box: Box

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        _, x, y, z = self.image.shape
        return x, y, z

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm."""
        return Volume(self.image[0], self.affine).spacing

    def values(self) -> NDArray[np.float32]:
        """The image as z-scores, float32 C X Y Z; 0.0 outside the brain and for missing sequences."""
        return dequantise(self.image)

    def truth_regions(self) -> NDArray[np.bool_]:
        """The truth as WT, TC, ET, bool 3 X Y Z.

        Raises:
            StudyError: the study has no truth.
        """
        if self.truth is None:
            raise StudyError("study has no truth", file=self.id)
        return regions_of(self.truth)

    def to_native(self, scores: NDArray[np.floating[Any]], threshold: float) -> NDArray[np.bool_]:
        """Scores above a threshold, on the study's own grid.

        Args:
            scores: K X Y Z on the prepared grid (logits or probabilities); interpolated linearly inside the brain's box.
            threshold: in the unit of the scores.

        Returns:
            bool, K X Y Z on the study's own axes; False outside the box.
        """
        canonical = self.native.canonical()
        result = np.zeros((len(scores), *canonical.shape), dtype=bool)
        for channel, score in enumerate(scores):
            result[channel][self.box] = self.in_box(score) > threshold
        return np.ascontiguousarray(self.native.from_canonical(result))

    def in_box(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Scores (… X Y Z on the prepared grid) interpolated linearly to the voxels of :attr:`box`, float32 … X Y Z."""
        factors = [1 / factor for factor in self._factors()]
        matrices = tuple(axis_matrix(n, e, f) for n, e, f in zip(self.shape, self._extent(), factors, strict=True))
        return resample(scores, matrices)

    def from_native(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """What lies on the study's own grid (K X Y Z) on the prepared grid, resampled as the images are (float32)."""
        inside = np.stack([self.native.with_data(value).canonical().data[self.box] for value in values])
        matrices = tuple(axis_matrix(e, n, f) for e, n, f in zip(self._extent(), self.shape, self._factors(), strict=True))
        return resample(inside, matrices)

    def _extent(self) -> list[int]:
        return [side.stop - side.start for side in self.box]

    def _factors(self) -> list[float]:
        """Prepared voxel size in native ones, along each canonical axis."""
        return [target / source for target, source in zip(self.spacing, self.native.canonical().spacing, strict=True)]


@dataclass(frozen=True)
class Preparation:
    """How studies are prepared. Equal settings give equal numbers, in training and in use.

    Attributes:
        sequences: channel order of the image.
        spacing: voxel size in mm along R, A, S; None keeps each study's own.
        margin_mm: kept around the brain's box.
        percentiles: intensities of the brain beyond these are not used for mean and standard deviation.

    Raises:
        PackageError: no sequence or one twice, a size that is not positive, percentiles out of order.
    """

    sequences: tuple[Sequence, ...] = tuple(Sequence)
    spacing: tuple[float, float, float] | None = None
    margin_mm: float = 3.0
    percentiles: tuple[float, float] = (1.0, 99.0)

    def __post_init__(self) -> None:
        low, high = self.percentiles
        for field, got, fits, expected in (
            ("sequences", [str(s) for s in self.sequences], 0 < len(set(self.sequences)) == len(self.sequences), "one or more, each once"),
            ("spacing", self.spacing, self.spacing is None or all(0 < s < np.inf for s in self.spacing), "mm along R, A, S, each above 0"),
            ("margin_mm", self.margin_mm, 0 <= self.margin_mm < np.inf, "0 or more"),
            ("percentiles", self.percentiles, 0 <= low < high <= 100, "0 ≤ low < high ≤ 100"),
        ):
            if not fits:
                raise PackageError("preparation does not fit", field=f"preparation.{field}", got=got, expected=expected)

    def apply(self, study: Study) -> Prepared:
        """Prepare a study.

        Raises:
            StudyError: none of :attr:`sequences` is there, or the images are empty (all zero).
        """
        present = tuple(sequence in study.images for sequence in self.sequences)
        if not any(present):
            raise StudyError(
                "no usable sequence",
                file=study.id,
                got=", ".join(study.sequences),
                expected=" or ".join(self.sequences),
            )
        images = [study.images[s].canonical() if s in study.images else None for s in self.sequences]
        grid = next(image for image in images if image is not None)
        box = self._brain_box(study.id, [image.data for image in images if image is not None], grid.spacing)
        spacing = self.spacing or grid.spacing
        factors = [target / source for target, source in zip(spacing, grid.spacing, strict=True)]
        extent = [s.stop - s.start for s in box]
        shape = tuple(max(1, int(np.ceil(e / f - 1e-6))) for e, f in zip(extent, factors, strict=True))
        matrices = tuple(axis_matrix(e, n, f) for e, n, f in zip(extent, shape, factors, strict=True))

        levels = np.zeros((len(images), *shape), dtype=np.uint8)
        for channel, image in enumerate(images):
            if image is not None:
                levels[channel] = self._levels(np.asarray(image.data[box], dtype=np.float32), matrices)
        truth = None
        if study.truth is not None:
            if study.convention is None:
                raise StudyError("truth without a label convention", file=study.id, hint="declare it with --labels")
            regions = study.convention.to_regions(study.truth.canonical().data[box])
            truth = np.zeros(shape, dtype=np.uint8)
            for bit, region in enumerate(regions):
                truth |= (resample(region, matrices) > 0.5).astype(np.uint8) << bit
        affine = grid.affine.copy()
        start = np.array([s.start for s in box]) + (np.asarray(factors) - 1) / 2
        affine[:3, 3] = grid.affine[:3, :3] @ start + grid.affine[:3, 3]
        affine[:3, :3] = grid.affine[:3, :3] * np.asarray(factors)
        return Prepared(study.id, study.patient, levels, present, truth, affine, study.grid, box)

    def _levels(self, image: NDArray[np.float32], matrices: tuple[NDArray[np.float32], ...]) -> NDArray[np.uint8]:
        """One cropped sequence (X Y Z, scanner units) → levels on the prepared grid."""
        inside = image != 0
        if not inside.any():
            return np.zeros(tuple(len(m) for m in matrices), dtype=np.uint8)
        brain = image[inside]
        low, high = np.percentile(brain, self.percentiles)
        kept = brain[(brain >= low) & (brain <= high)]
        mean, deviation = float(kept.mean(dtype=np.float64)), float(kept.std(dtype=np.float64))
        z = np.where(inside, (image - mean) / (deviation or 1.0), 0.0).astype(np.float32)
        # Averaging over the brain's part of each coarse voxel keeps its rim as bright as its middle.
        share = resample(inside, matrices)
        return quantise(resample(z, matrices) / np.maximum(share, 1e-6), share > 0.5)

    def _brain_box(self, id: str, images: list[NDArray[Any]], spacing: tuple[float, float, float]) -> Box:
        inside = np.zeros(images[0].shape, dtype=bool)
        for image in images:
            inside |= image != 0
        if not inside.any():
            raise StudyError("images are empty", file=id, got="all voxels 0", expected="a brain on a background of 0")
        box = []
        for axis in range(3):
            line = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
            margin = round(self.margin_mm / spacing[axis])
            box.append(slice(max(0, int(line[0]) - margin), min(inside.shape[axis], int(line[-1]) + 1 + margin)))
        return box[0], box[1], box[2]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "sequences": [str(s) for s in self.sequences],
            "spacing": None if self.spacing is None else list(self.spacing),
            "margin_mm": self.margin_mm,
            "percentiles": list(self.percentiles),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preparation":
        """From JSON.

        Raises:
            PackageError: a key is missing, unknown or of the wrong form.
        """
        expected = {"sequences", "spacing", "margin_mm", "percentiles"}
        if set(values) != expected:
            raise PackageError("preparation does not fit", field="preparation", got=sorted(values), expected=sorted(expected))
        try:
            spacing = None
            if values["spacing"] is not None:
                x, y, z = (float(v) for v in values["spacing"])
                spacing = x, y, z
            low, high = (float(v) for v in values["percentiles"])
            return cls(tuple(Sequence(s) for s in values["sequences"]), spacing, float(values["margin_mm"]), (low, high))
        except (TypeError, ValueError) as error:
            raise PackageError("preparation does not fit", field="preparation", got=values) from error


def regions_of(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Bit mask (WT 1, TC 2, ET 4), uint8 X Y Z → WT, TC, ET, bool 3 X Y Z."""
    return (mask[None] >> np.arange(3, dtype=np.uint8)[:, None, None, None] & 1).astype(bool)
