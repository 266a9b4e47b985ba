"""Re-encodings of a study with the same content: axes, voxel types, header scaling, other grids,
other units of intensity.

Files are written by NiBabel, independently of gliodistill's writer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from gliodistill.images.bounds import Box, filled_box, union
from gliodistill.images.volume import Volume
from gliodistill.studies.records import ImageFile, StudyRecord
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

LEVELS = 8191
"""Whole numbers that a sequence is rounded to first, so that every voxel type here holds it
exactly.
"""
MNI_MM = (182, 218, 182)
"""Extent of FSL's MNI152 grid; its first axis runs to the left, its origin lies at (90, −126, −72)
mm.
"""
MNI_ORIGIN = (90.0, -126.0, -72.0)
ABSENT = np.uint8(255)
"""No label convention has this code."""
TURN_DEG, SHIFT_VOXELS = 4.0, (0.5, 0.3, -0.4)
"""How the resampled study lies on its grid: turned about Z and between voxels."""

Images = Mapping[MRSequence, NDArray[Any]]


@dataclass(frozen=True)
class Saved:
    """Files, and where they put each voxel.

    Attributes:
        record: of the files.
        matrix: 4×4, voxel of the study that was saved → voxel of the files.
    """

    record: StudyRecord
    matrix: NDArray[np.float64]


@dataclass(frozen=True)
class Resaving:
    """One way to save a study.

    Attributes:
        name: in words.
        exact: whether nothing is lost, so that the segmentation must be the same voxel for voxel.
        save: study of :func:`whole_numbers`, folder → its files; None where the study does not fit.
    """

    name: str
    exact: bool
    save: Callable[[Study, Path], Saved | None]


def whole_numbers(study: Study) -> Study:
    """The study on RAS+ axes with intensities rounded to 0 … ``LEVELS`` (int16), the brain's own at
    least 1; without truth.
    """
    images = {}
    for sequence, image in study.images.items():
        data = image.canonical().data
        levels = np.clip(np.rint(data * (LEVELS / data.max())), 1, LEVELS)
        images[sequence] = Volume(
            np.where(data != 0, levels, 0).astype(np.int16), image.canonical().affine
        )
    return replace(study, images=images, truth=None, convention=None, whole=None)


def compared(
    labels: NDArray[np.uint8], saved: Saved, reference: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Labels of the files (X Y Z) on the grid of the study that was saved, by nearest neighbour,
    and the reference there.

    Both are 0 outside the grid of the files, where nothing can be segmented.
    """
    from scipy import ndimage

    brought = ndimage.affine_transform(
        labels, saved.matrix[:3, :3], saved.matrix[:3, 3], reference.shape, order=0, cval=ABSENT
    )
    there = brought != ABSENT
    return np.where(there, brought, 0), np.where(there, reference, 0)


def save_plainly(study: Study, folder: Path) -> Saved:
    """As it is: int16, compressed."""
    return _save(study, _images(study), study.grid.affine, folder)


def _images(study: Study) -> Images:
    return {sequence: image.data for sequence, image in study.images.items()}


def _save(
    study: Study,
    images: Images,
    affine: NDArray[np.float64],
    folder: Path,
    *,
    matrix: NDArray[np.float64] | None = None,
    scale: tuple[float, float] | None = None,
    ending: str = ".nii.gz",
) -> Saved:
    """Write arrays as they are; ``scale``: slope and offset that the header tells readers to apply."""
    files = {}
    for sequence, data in images.items():
        image = nib.Nifti1Image(data, affine)
        if scale is not None:
            image.header.set_slope_inter(*scale)
        files[sequence] = ImageFile(folder / f"{sequence}{ending}")
        nib.save(image, files[sequence].path)
    return Saved(
        StudyRecord(study.id, study.patient, files), np.eye(4) if matrix is None else matrix
    )


def _axes(codes: str) -> Resaving:
    def save(study: Study, folder: Path) -> Saved:
        affine = study.grid.affine
        wanted = nib.orientations.axcodes2ornt(codes)
        turn = nib.orientations.ornt_transform(nib.io_orientation(affine), wanted)
        images = {
            s: np.ascontiguousarray(nib.apply_orientation(data, turn))
            for s, data in _images(study).items()
        }
        matrix = np.linalg.inv(nib.orientations.inv_ornt_aff(turn, study.grid.shape))
        return _save(study, images, affine @ np.linalg.inv(matrix), folder, matrix=matrix)

    return Resaving(f"axes {codes}", True, save)


def _typed(dtype: str) -> Resaving:
    def save(study: Study, folder: Path) -> Saved:
        return _save(
            study,
            {s: data.astype(dtype) for s, data in _images(study).items()},
            study.grid.affine,
            folder,
        )

    return Resaving(f"voxels {dtype}", True, save)


def _scaled_header(study: Study, folder: Path) -> Saved:
    stored = {s: (2 * data - 1024).astype(np.int16) for s, data in _images(study).items()}
    return _save(study, stored, study.grid.affine, folder, scale=(0.5, 512.0))


def _uncompressed(study: Study, folder: Path) -> Saved:
    return _save(study, _images(study), study.grid.affine, folder, ending=".nii")


def _times(name: str, factors: Mapping[MRSequence, float], exact: bool) -> Resaving:
    def save(study: Study, folder: Path) -> Saved:
        images = {
            s: data.astype(np.float32) * np.float32(factors[s])
            for s, data in _images(study).items()
        }
        return _save(study, images, study.grid.affine, folder)

    return Resaving(name, exact, save)


def _all(factor: float) -> dict[MRSequence, float]:
    return dict.fromkeys(MRSequence, factor)


def _cropped(study: Study, folder: Path) -> Saved:
    box = _brain(study)
    return _placed(
        study, folder, box, np.eye(4), [side.stop - side.start for side in box], moved=None
    )


def _on_mni(study: Study, folder: Path) -> Saved | None:
    """In the middle of FSL's MNI grid by whole voxels, its header and its left-running axis
    included.
    """
    box = _brain(study)
    shape, affine = _mni(study)
    if not _fits(study, shape):
        return None
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = shape[0] - 1
    return _placed(study, folder, box, flip, shape, moved=affine)


def _placed(
    study: Study,
    folder: Path,
    box: Box,
    flip: NDArray[np.float64],
    shape: list[int],
    *,
    moved: NDArray[np.float64] | None,
) -> Saved:
    """What lies in ``box`` in the middle of a grid of ``shape``, then flipped; ``moved``: another
    affine than the voxels' own.
    """
    start = [
        (length - (side.stop - side.start)) // 2 for side, length in zip(box, shape, strict=True)
    ]
    place = tuple(slice(s, s + side.stop - side.start) for s, side in zip(start, box, strict=True))
    images = {}
    for sequence, data in _images(study).items():
        images[sequence] = np.zeros(shape, data.dtype)
        images[sequence][place] = data[box]
        if flip[0, 0] < 0:
            images[sequence] = images[sequence][::-1].copy()
    matrix = np.eye(4)
    matrix[:3, 3] = [s - side.start for s, side in zip(start, box, strict=True)]
    matrix = flip @ matrix
    affine = study.grid.affine @ np.linalg.inv(matrix) if moved is None else moved
    return _save(study, images, affine, folder, matrix=matrix)


def _resampled(study: Study, folder: Path) -> Saved | None:
    """Interpolated linearly to the MNI grid, turned and between voxels: what a registration does."""
    from scipy import ndimage

    shape, affine = _mni(study)
    if not _fits(study, shape, spare=12):
        return None
    angle = np.radians(TURN_DEG)
    matrix = np.eye(4)
    matrix[:2, :2] = [
        [-np.cos(angle), np.sin(angle)],
        [np.sin(angle), np.cos(angle)],
    ]  # the first axis runs to the left
    box = _brain(study)
    middle = np.array([(side.start + side.stop - 1) / 2 for side in box])
    matrix[:3, 3] = (np.array(shape) - 1) / 2 + SHIFT_VOXELS - matrix[:3, :3] @ middle
    way = np.linalg.inv(matrix)
    images = {}
    for sequence, data in _images(study).items():
        values, share = (
            ndimage.affine_transform(
                np.asarray(part, np.float32), way[:3, :3], way[:3, 3], tuple(shape), order=1
            )
            for part in (data, data != 0)
        )
        # Of voxels at the brain's rim only its own part counts, so that the rim is not darkened by
        # the background.
        images[sequence] = np.where(share > 0.5, values / np.maximum(share, 0.5), 0).astype(
            np.float32
        )
    return _save(study, images, affine, folder, matrix=matrix)


def _brain(study: Study) -> Box:
    return union([box for data in _images(study).values() if (box := filled_box(data)) is not None])


def _fits(study: Study, shape: list[int], spare: int = 0) -> bool:
    return all(
        side.stop - side.start + spare <= length
        for side, length in zip(_brain(study), shape, strict=True)
    )


def _mni(study: Study) -> tuple[list[int], NDArray[np.float64]]:
    """Shape and affine of FSL's grid at the study's voxel size."""
    spacing = study.grid.spacing
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    affine[:3, 3] = MNI_ORIGIN
    return [round(mm / step) for mm, step in zip(MNI_MM, spacing, strict=True)], affine


OWN_UNITS = dict(zip(MRSequence, (0.01, 1000.0, 0.3, 7.0), strict=True))

RESAVINGS = (
    *(_axes(codes) for codes in ("LPS", "LAS", "PIR", "SLA", "ASR")),
    *(_typed(dtype) for dtype in ("float32", "float64", "uint16", "int32")),
    Resaving("int16 with slope and offset", True, _scaled_header),
    Resaving("not compressed", True, _uncompressed),
    Resaving("cut to the brain", True, _cropped),
    Resaving("on the MNI grid, whole voxels", True, _on_mni),
    _times("intensities × 2⁻⁷", _all(2.0**-7), True),
    _times("intensities × 2¹⁰", _all(2.0**10), True),
    # Factors that are no powers of 2 round the last of float32's 24 bits, so a voxel on the border
    # of two levels may change.
    _times("intensities × 0.01", _all(0.01), False),
    _times("intensities × 1000", _all(1000.0), False),
    _times("each sequence in units of its own", OWN_UNITS, False),
    Resaving("resampled to the MNI grid", False, _resampled),
)
