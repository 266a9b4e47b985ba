"""A prepared study: the network's input, and the way back to the study's grid."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import StudyError
from gliodistill.images.bounds import Box, cut_out, extent, on_grid
from gliodistill.images.resampling import Taps, axis_matrix, resample, resample_by
from gliodistill.images.volume import Volume
from gliodistill.preparation.quantise import dequantise
from gliodistill.studies.image_checks import Note
from gliodistill.studies.labels import REGIONS

UNKNOWN = 8
"""Bit of a prepared reference for voxels whose label is not known."""
TUMOUR = 255 ^ UNKNOWN
"""Its other bits, of the regions."""
REGION_BITS = (0, 1, 2, 4, 5, 6, 7)
"""Place of the bit of each region of a task, in order; three regions were all there once were."""
SLAB = 16
"""Planes interpolated at once on the way back: few enough to stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network's input of a study, and the way back to the study's grid.

    Attributes:
        id, patient: of the study.
        image: uint8 C X Y Z, levels of :mod:`quantise`; a missing sequence is all 0.
        present: which channels the study has.
        truth: uint8 X Y Z: the bits of its regions (:data:`REGION_BITS`), and bit 3 = not known
            (then the others are 0); or None. The bit of a region that the label map does not
            define is 0.
        affine: of the prepared grid, voxel → RAS+ mm.
        native: any volume on the study's own grid (only shape and affine are used on the way back).
        box: the brain's box on the study's canonical grid. The margin may reach beyond that grid,
            so that a brain at the border of its image is prepared as on a larger grid.
        notes: what was corrected when the images were checked.
        regions: of the task, in order.
        known_regions: those of them that the reference defines.
    """

    id: str
    patient: str
    image: NDArray[np.uint8]
    present: tuple[bool, ...]
    truth: NDArray[np.uint8] | None
    affine: NDArray[np.float64]
    native: Volume
    box: Box
    notes: tuple[Note, ...] = ()
    regions: tuple[str, ...] = REGIONS
    known_regions: tuple[str, ...] = REGIONS

    def __repr__(self) -> str:
        present = sum(self.present)
        labelled = ", labelled" if self.truth is not None else ""
        image = repr(Volume(self.image[0], self.affine)).removeprefix("<Volume ").rpartition(",")[0]
        return (
            f"<Prepared {self.id}: {present} of {len(self.present)} sequences, {image}{labelled}>"
        )

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
        """The image as z-scores, float32 C X Y Z; 0.0 outside the brain and if missing."""
        return dequantise(self.image)

    def truth_regions(self) -> NDArray[np.bool_]:
        """The reference as its regions, bool R X Y Z.

        Raises:
            StudyError: the study has no reference.
        """
        if self.truth is None:
            raise StudyError("study has no reference segmentation", file=self.id)
        return unpack_regions(self.truth, len(self.regions))

    @property
    def on_grid(self) -> tuple[Box, Box]:
        """The part of :attr:`box` that lies on the study's canonical grid: its voxels on that grid,
        and in the box.
        """
        return on_grid(self.box, self.native.canonical().shape)

    def to_own_grid(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Values in the box and on the grid (X Y Z, canonical axes) on the study's own grid, in the
        file's order of voxels; 0 elsewhere.
        """
        result = np.zeros(self.native.shape, dtype=np.uint8, order="F")
        view = self.native.with_data(result).canonical().data
        view[self.on_grid[0]] = values  # fills the result
        return result

    def in_box(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Scores (… X Y Z on the prepared grid) interpolated linearly to the voxels of :attr:`box`,
        float32 … X Y Z.
        """
        return np.ascontiguousarray(resample_by(scores, self._way_back()))

    def slabs_in_box(
        self,
        slabs: Iterable[NDArray[np.float32]],
        above: Mapping[int, float] | None = None,
    ) -> Iterator[tuple[Box, NDArray[np.float32]]]:
        """:meth:`in_box` a few planes at a time, so that no map of the whole box is in memory.

        Args:
            slabs: scores K x Y Z on the prepared grid: parts that follow one another along X and
                make up the grid.
            above: channel → limit; where given, only the voxels in which one of these channels may
                exceed its limit are interpolated.

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
                low, high = (
                    along_x.first[rows.start] - start,
                    along_x.last[rows.stop - 1] - start + 1,
                )
                values = held[:, low:high]
                columns, lines = slice(0, len(along_y.first)), slice(0, len(along_z.first))
                if above is not None:
                    # What lies between values that do not exceed it does not exceed it.
                    shadow = np.logical_or.reduce(
                        [(values[channel] > limit).any(axis=0) for channel, limit in above.items()]
                    )
                    if not shadow.any():
                        continue
                    columns = along_y.touched(extent(shadow, 0))
                    lines = along_z.touched(extent(shadow, 1))
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
        """A map on the study's own grid (K X Y Z) on the prepared grid, resampled as the images
        are (float32).
        """
        inside = np.stack(
            [cut_out(self.native.with_data(value).canonical().data, self.box) for value in values]
        )
        matrices = tuple(
            axis_matrix(e, n, f)
            for e, n, f in zip(self._extent(), self.shape, self._factors(), strict=True)
        )
        return resample(inside, matrices)

    def _extent(self) -> list[int]:
        return [side.stop - side.start for side in self.box]

    def _factors(self) -> list[float]:
        """Prepared voxel size in native ones, along each canonical axis."""
        return [
            target / source
            for target, source in zip(self.spacing, self.native.canonical().spacing, strict=True)
        ]


def unpack_regions(mask: NDArray[np.uint8], count: int = 3) -> NDArray[np.bool_]:
    """Bit mask, uint8 X Y Z → its first ``count`` regions, bool on count X Y Z."""
    bits = np.array(REGION_BITS[:count], dtype=np.uint8)
    return (mask[None] >> bits[:, None, None, None] & 1).astype(bool)
