"""Tumours with real shapes: a label map placed in a synthetic brain, instead of simulated growth.

A label map has no image: brain, contrast and scanner are random as for other phantoms. Real shapes
have features that a growth model lacks: nesting of compartments, satellites, cysts, multilocular
cores.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gliodistill.errors import StudyError
from gliodistill.images.bounds import filled_box
from gliodistill.images.nifti import read_labels
from gliodistill.phantom.anatomy import Anatomy, rotation
from gliodistill.phantom.fields import FIELD_MM, Grid, smooth_noise
from gliodistill.phantom.parameters import ShapeParameters
from gliodistill.phantom.tumour import Tumour
from gliodistill.studies.labels import BRATS2021

Array = NDArray[np.float32]
ENDINGS = (".nii.gz", ".nii")
PAD = 3
"""Voxels around a cropped label map, so that its border can be blurred."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A label map in the BraTS frame, cropped to its tumour.

    Attributes:
        regions: WT, TC, ET, bool 3 X Y Z (RAS+).
        origin_mm: of the first voxel, as the axes of :class:`Grid` count.
        spacing_mm: voxel size.
    """

    regions: NDArray[np.bool_]
    origin_mm: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]

    @property
    def middle_mm(self) -> NDArray[np.float64]:
        """Centre of the crop."""
        middle: NDArray[np.float64] = (
            self.origin_mm + (np.array(self.regions.shape[1:]) - 1) / 2 * self.spacing_mm
        )
        return middle

    @property
    def volumes_ml(self) -> tuple[float, float, float]:
        """Of WT, TC, ET."""
        wt, tc, et = (
            round(float(region.sum() * self.spacing_mm.prod() / 1000), 3) for region in self.regions
        )
        return wt, tc, et


def find_shapes(folder: Path) -> list[Path]:
    """The label maps of a folder, by name.

    Raises:
        StudyError: there is none.
    """
    found = (
        sorted(file for file in folder.glob("*") if file.name.lower().endswith(ENDINGS))
        if folder.is_dir()
        else []
    )
    if not found:
        raise StudyError(
            "no tumour shapes",
            file=folder,
            expected="a folder of label maps, *.nii.gz, codes 0/1/2/4 in the BraTS frame",
        )
    return found


@lru_cache(maxsize=2)
def read_shape(file: Path) -> Shape:
    """A label map of BraTS ≤ 2021 codes on the BraTS field of view, with any voxel size.

    Raises:
        ImageError: it cannot be read.
        LabelError: other codes.
        StudyError: no tumour, or another frame than that of BraTS, in which the tumour's position
            would be wrong.
    """
    volume = read_labels(file).canonical()
    BRATS2021.check(volume.data)
    spacing = np.array(volume.spacing)
    # The BraTS frame counts X from −239 mm; the field of view from 0.
    first = volume.affine[:3, 3] + np.array([FIELD_MM[0] - 1, 0, 0])
    ends = np.stack([first - spacing / 2, first + (np.array(volume.shape) - 0.5) * spacing])
    if np.abs(ends - np.array([[-0.5] * 3, np.array(FIELD_MM) - 0.5])).max() > 5:
        got = " to ".join(str(tuple(round(float(v)) for v in end)) for end in ends)
        raise StudyError(
            "label map in another frame",
            file=file,
            field="affine",
            got=got,
            expected="240×240×155 mm, as BraTS has it",
        )
    box = filled_box(volume.data)
    if box is None:
        raise StudyError("label map without a tumour", file=file)
    low = np.array([side.start for side in box])
    return Shape(BRATS2021.to_regions(volume.data[box]), first + low * spacing, spacing)


def place(
    parameters: ShapeParameters, shape: Shape, grid: Grid
) -> tuple[NDArray[np.bool_], tuple[slice, slice, slice]]:
    """The shape on a grid, mirrored, rotated, scaled, shifted and roughened.

    Returns:
        WT, TC, ET (bool, nested, 3 X Y Z) on the part of ``grid`` that may contain them, and that
        part.
    """
    from scipy import ndimage

    middle = shape.middle_mm
    target = middle.copy()
    if parameters.mirror:
        target[0] = FIELD_MM[0] - 1 - target[0]
    target += parameters.shift_mm
    reach = (
        np.linalg.norm(np.array(shape.regions.shape[1:]) * shape.spacing_mm)
        / 2
        * max(parameters.scale)
        + 3 * parameters.roughness_mm
    )
    box = grid.box_around(target - reach, target + reach)
    part = grid.crop(box)
    offset = np.stack(np.broadcast_arrays(*np.ix_(*part.axes))).astype(np.float32) - _column(target)
    for axis in range(3):
        offset[axis] += np.float32(parameters.roughness_mm) * smooth_noise(
            parameters.seed + axis, 9.0, part
        )
    back = rotation(parameters.rotation_deg) / np.array(parameters.scale)[:, None]
    if parameters.mirror:
        back[0] *= -1
    position = np.einsum("ij,jxyz->ixyz", back.astype(np.float32), offset) + _column(
        middle - shape.origin_mm
    )
    position = position / _column(shape.spacing_mm) + PAD
    regions = []
    for region, volume in zip(shape.regions, shape.volumes_ml, strict=True):
        soft = ndimage.gaussian_filter(np.pad(region, PAD).astype(np.float32), 0.5)
        soft = ndimage.map_coordinates(soft, position, order=1, mode="constant", output=np.float32)
        # The level that preserves the volume: at one half, thin rims would break and small parts
        # shrink.
        wanted = min(
            round(volume * 1000 * float(np.prod(parameters.scale)) / grid.spacing**3), soft.size
        )
        regions.append(
            (soft >= np.partition(soft.ravel(), -wanted)[-wanted]) & (soft > 0)
            if wanted
            else np.zeros(part.shape, bool)
        )
    return np.logical_and.accumulate(np.stack(regions), axis=0), box


def outline(
    regions: NDArray[np.bool_], box: tuple[slice, slice, slice], anatomy: Anatomy
) -> Tumour:
    """The tumour in its brain: cropped to the brain, and fluid inside becomes tissue (``anatomy``
    is changed).
    """
    from scipy import ndimage

    whole, core, enhancing = regions & anatomy.brain[box]
    if not whole.any():
        raise StudyError(
            "tumour outside the brain",
            got="no voxel left",
            hint="the shape is tiny and the jitter large: another seed",
        )
    fluid = np.where(whole, anatomy.fluid[box], 0)
    anatomy.white[box] += fluid
    anatomy.fluid[box] -= fluid
    inner = ndimage.distance_transform_edt(~core) if core.any() else np.ones(whole.shape)
    outer = ndimage.distance_transform_edt(whole)
    distance = np.where(whole & ~core, inner / (inner + outer), 0).astype(np.float32)
    return Tumour(whole, core, enhancing, distance, box)


def _column(vector: NDArray[np.float64]) -> Array:
    """A 3-vector that broadcasts with a 3 X Y Z map."""
    column: Array = vector.astype(np.float32)[:, None, None, None]
    return column
