"""The invertible preparation: canonical orientation, crop to the brain, resample, normalise per sequence."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import PackageError, StudyError
from gliodistill.images.bounds import Box, filled_box, on_grid, union
from gliodistill.images.volume import Volume
from gliodistill.preparation.bias import take_off_bias
from gliodistill.preparation.quantise import dequantise, quantise
from gliodistill.preparation.resampling import Taps, axis_matrix, resample, resample_by
from gliodistill.studies.sequence import Sequence
from gliodistill.studies.study import Study

OPTIONAL = ("bias_mm",)
"""Settings that are written only where they are set: packages from before there was one are read as they were."""

SLAB = 16
"""Planes interpolated at once on the way back: little enough to stay in the processor's cache."""


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
        box: the brain's box on the study's canonical grid. It reaches beyond that grid where the margin does, so that a brain
            that touches the border of its image looks the same as on a larger grid.
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
        place, part = self.on_grid
        result = np.zeros((len(scores), *self.native.canonical().shape), dtype=bool)
        result[:, *place] = (self.in_box(scores) > threshold)[:, *part]
        return np.ascontiguousarray(self.native.from_canonical(result))

    @property
    def on_grid(self) -> tuple[Box, Box]:
        """The part of :attr:`box` that lies on the study's canonical grid: its voxels on that grid, and in the box."""
        return on_grid(self.box, self.native.canonical().shape)

    def in_box(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Scores (… X Y Z on the prepared grid) interpolated linearly to the voxels of :attr:`box`, float32 … X Y Z."""
        return np.ascontiguousarray(resample_by(scores, self._way_back()))

    def slabs_in_box(self, slabs: Iterable[NDArray[np.float32]], above: float | None = None) -> Iterator[tuple[Box, NDArray[np.float32]]]:
        """:meth:`in_box` a few planes at a time, so that no map of the whole box is ever in memory.

        Args:
            slabs: scores K x Y Z on the prepared grid: parts that follow one another along X and make up the grid.
            above: where given, only the voxels that the first channel may exceed this in are interpolated.

        Yields:
            a part of the box (voxels from its corner) and the scores there (K x y z, float32).
        """
        along_x, along_y, along_z = self._way_back()
        held: NDArray[np.float32] | None = None
        start = done = 0  # first plane held; targets finished
        for slab in slabs:
            held = slab if held is None else np.concatenate([held, slab], axis=1)
            ready = int(np.searchsorted(along_x.last, start + held.shape[1]))
            for first in range(done, ready, SLAB):
                rows = slice(first, min(first + SLAB, ready))
                low, high = along_x.first[rows.start] - start, along_x.last[rows.stop - 1] - start + 1
                values = held[:, low:high]
                columns, lines = slice(0, len(along_y.first)), slice(0, len(along_z.first))
                if above is not None:  # what lies between values that do not exceed it does not exceed it
                    shadow = (values[0] > above).any(axis=0)
                    if not shadow.any():
                        continue
                    y, z = np.flatnonzero(shadow.any(axis=1)), np.flatnonzero(shadow.any(axis=0))
                    columns, lines = along_y.touched(y[0], y[-1]), along_z.touched(z[0], z[-1])
                taps = along_x.part(rows, start + low), along_y.part(columns), along_z.part(lines)
                yield (rows, columns, lines), resample_by(values, taps)
            done = ready
            if done < len(along_x.first):
                drop = int(along_x.first[done]) - start
                held, start = held[:, drop:], start + drop

    def _way_back(self) -> tuple[Taps, ...]:
        """From the prepared grid to the box, along each axis."""
        sizes = zip(self.shape, self._extent(), self._factors(), strict=True)
        return tuple(Taps.of(axis_matrix(n, e, 1 / factor)) for n, e, factor in sizes)

    def from_native(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """What lies on the study's own grid (K X Y Z) on the prepared grid, resampled as the images are (float32)."""
        inside = np.stack([_in_box(self.native.with_data(value).canonical().data, self.box) for value in values])
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
        bias_mm: smoothness of the bias field that is taken off (:mod:`gliodistill.preparation.bias`); None leaves it in.

    Raises:
        PackageError: no sequence or one twice, a size that is not positive, percentiles out of order.
    """

    sequences: tuple[Sequence, ...] = tuple(Sequence)
    spacing: tuple[float, float, float] | None = None
    margin_mm: float = 3.0
    percentiles: tuple[float, float] = (1.0, 99.0)
    bias_mm: float | None = None

    def __post_init__(self) -> None:
        low, high = self.percentiles
        for field, got, fits, expected in (
            ("sequences", [str(s) for s in self.sequences], 0 < len(set(self.sequences)) == len(self.sequences), "one or more, each once"),
            ("spacing", self.spacing, self.spacing is None or all(0 < s < np.inf for s in self.spacing), "mm along R, A, S, each above 0"),
            ("margin_mm", self.margin_mm, 0 <= self.margin_mm < np.inf, "0 or more"),
            ("percentiles", self.percentiles, 0 <= low < high <= 100, "0 ≤ low < high ≤ 100"),
            ("bias_mm", self.bias_mm, self.bias_mm is None or 0 < self.bias_mm < np.inf, "mm above 0, or none"),
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
        grid, part = study.grid.canonical(), next(iter(study.images.values())).canonical()
        # Where the images begin on the study's grid: at 0, unless empty space was cut off when they were read.
        cut = np.rint(np.linalg.solve(grid.affine, part.affine[:, 3])[:3]).astype(int)
        there = [channel for channel, is_there in enumerate(present) if is_there]
        images = [study.images[self.sequences[channel]].canonical().data for channel in there]
        box = self._brain_box(study.id, images, cut, grid.spacing)
        spacing = self.spacing or grid.spacing
        factors = [target / source for target, source in zip(spacing, grid.spacing, strict=True)]
        extent = [s.stop - s.start for s in box]
        shape = tuple(max(1, int(np.ceil(e / f - 1e-6))) for e, f in zip(extent, factors, strict=True))
        taps = tuple(Taps.of(axis_matrix(e, n, f)) for e, n, f in zip(extent, shape, factors, strict=True))

        levels = np.zeros((len(self.sequences), *shape), dtype=np.uint8)
        with ThreadPoolExecutor(max_workers=len(there)) as pool:  # NumPy lets go of the interpreter
            boxed = list(pool.map(lambda image: _in_box(image, box, cut.tolist()), images))
            inside = list(pool.map(lambda image: image != 0, boxed))
            if self.bias_mm is not None:
                take_off_bias(boxed, inside, grid.spacing, self.bias_mm)
            # Skull-stripped together, all sequences have one brain: its share of each voxel is worked out once.
            alike = [next(other for other in range(len(inside)) if np.array_equal(inside[other], mask)) for mask in inside]
            shares = dict(zip(sorted(set(alike)), pool.map(lambda one: resample_by(inside[one], taps), sorted(set(alike))), strict=True))
            found = pool.map(self._levels, boxed, inside, (shares[one] for one in alike), repeat(taps))
            for channel, filled in zip(there, found, strict=True):
                levels[channel] = filled
        truth = None
        if study.truth is not None:
            if study.convention is None:
                raise StudyError("truth without a label convention", file=study.id, hint="declare it with --labels")
            regions = study.convention.to_regions(_in_box(study.truth.canonical().data, box).astype(np.uint8))
            truth = np.zeros(shape, dtype=np.uint8)
            for bit, region in enumerate(regions):
                truth |= (resample_by(region, taps) > 0.5).astype(np.uint8) << bit
        affine = grid.affine.copy()
        start = np.array([s.start for s in box]) + (np.asarray(factors) - 1) / 2
        affine[:3, 3] = grid.affine[:3, :3] @ start + grid.affine[:3, 3]
        affine[:3, :3] = grid.affine[:3, :3] * np.asarray(factors)
        return Prepared(study.id, study.patient, levels, present, truth, affine, study.grid, box)

    def _levels(
        self, image: NDArray[np.float32], inside: NDArray[np.bool_], share: NDArray[np.float32], taps: tuple[Taps, ...]
    ) -> NDArray[np.uint8]:
        """One sequence in the brain's box (X Y Z, scanner units; overwritten) → levels on the prepared grid.

        ``inside``: where it is not 0; ``share``: of each prepared voxel that is inside.
        """
        if not inside.any():
            return np.zeros(share.shape, dtype=np.uint8)
        # Sorted, so that sums do not depend on how the file stores its axes.
        brain = np.sort(image.ravel(order="K")[inside.ravel(order="K")])
        low, high = (_percentile(brain, percent) for percent in self.percentiles)
        kept = brain[bisect_left(brain, low) : bisect_right(brain, high)]
        mean, deviation = float(kept.mean(dtype=np.float64)), float(kept.std(dtype=np.float64))
        image -= mean
        image /= deviation or 1.0
        image *= inside
        if all(along.identity for along in taps):
            return quantise(image, inside)
        # Averaging over the brain's part of each coarse voxel keeps its rim as bright as its middle.
        return quantise(resample_by(image, taps) / np.maximum(share, 1e-6), share > 0.5)

    def _brain_box(self, id: str, images: list[NDArray[Any]], cut: NDArray[Any], spacing: tuple[float, float, float]) -> Box:
        """The brain and a margin, in voxels of the study's canonical grid, beyond whose border it may reach."""
        filled = [box for image in images if (box := filled_box(image)) is not None]
        if not filled:
            raise StudyError("images are empty", file=id, got="all voxels 0", expected="a brain on a background of 0")
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
            raise PackageError("preparation does not fit", field="preparation", got=sorted(values), expected=sorted(expected))
        try:
            spacing = None
            if values["spacing"] is not None:
                x, y, z = (float(v) for v in values["spacing"])
                spacing = x, y, z
            low, high = (float(v) for v in values["percentiles"])
            bias_mm = float(values["bias_mm"]) if "bias_mm" in values else None
            return cls(tuple(Sequence(s) for s in values["sequences"]), spacing, float(values["margin_mm"]), (low, high), bias_mm)
        except (TypeError, ValueError) as error:
            raise PackageError("preparation does not fit", field="preparation", got=values) from error


def _percentile(ordered: NDArray[np.float32], percent: float) -> float:
    """``np.percentile`` (linear) of what is sorted already."""
    position = (len(ordered) - 1) * (percent / 100)
    index = int(position)
    below, above = ordered[index], ordered[min(index + 1, len(ordered) - 1)]
    share, step = position - index, float(above - below)
    return float(below) + step * share if share < 0.5 else float(above) - step * (1 - share)


def _in_box(image: NDArray[Any], box: Box, start: Iterable[int] = (0, 0, 0)) -> NDArray[np.float32]:
    """A new array of what lies in ``box`` of an image that begins at voxel ``start``, 0 where there is no image.

    In the image's own order of memory: turning it over in memory would cost more than all else.
    """
    order = sorted(range(3), key=lambda axis: -abs(image.strides[axis]))
    result = np.zeros([box[axis].stop - box[axis].start for axis in order], dtype=np.float32).transpose(np.argsort(order))
    x, y, z = (slice(side.start - first, side.stop - first) for side, first in zip(box, start, strict=True))
    place, part = on_grid((x, y, z), image.shape)
    result[part] = image[place]
    return result


def regions_of(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Bit mask (WT 1, TC 2, ET 4), uint8 X Y Z → WT, TC, ET, bool 3 X Y Z."""
    return (mask[None] >> np.arange(3, dtype=np.uint8)[:, None, None, None] & 1).astype(bool)
