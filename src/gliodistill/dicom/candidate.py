"""What may be one of the four sequences: a DICOM series, or an image file of any other kind."""

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gliodistill.dicom.grids import Grid
from gliodistill.dicom.series import Series
from gliodistill.images.volume import Volume


@dataclass(frozen=True, eq=False)
class Candidate:
    """One image of a patient, not yet read.

    Attributes:
        key: how a user names it.
        names: what it is called, the most telling first.
        attributes: how it was made; see :class:`~gliodistill.dicom.series.Series`. None of a file.
        grid: of its voxels; None where it is no volume.
        refused: why it is none.
        frame: images with equal ones share a space (the scanner's, while the patient lies in it).
        load: reads it.
    """

    key: str
    names: tuple[str, ...]
    attributes: Mapping[str, Any]
    grid: Grid | None
    refused: str | None
    frame: Hashable
    load: Callable[[], Volume] = field(repr=False)

    @property
    def extent(self) -> tuple[float, ...]:
        """Along its axes, in mm."""
        if self.grid is None:
            return ()
        return tuple(n * step for n, step in zip(self.grid.shape, self.grid.spacing, strict=True))

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return 0.0 if self.grid is None else math.prod(self.grid.spacing) / 1000

    @property
    def time(self) -> str:
        """When it was acquired: date and time as DICOM writes them, so that texts compare."""
        told = self.attributes
        date = told.get("AcquisitionDate") or told.get("SeriesDate") or ""
        return f"{date}{told.get('AcquisitionTime') or told.get('SeriesTime') or ''}"


def of_series(series: Series) -> Candidate:
    """A DICOM series."""
    grid, told = series.grid, series.attributes
    names = dict.fromkeys((series.description, str(told.get("ProtocolName", ""))))
    return Candidate(
        series.key,
        tuple(name for name in names if name),
        told,
        grid,
        None if grid else (series.refused.problem if series.refused else "no volume"),
        (series.patient, series.frame_of_reference or series.uid),
        series.volume,
    )


def of_file(path: Path) -> Candidate:
    """A NIfTI file."""
    from gliodistill.errors import ImageError
    from gliodistill.images.nifti import read_header, read_nifti

    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    try:
        header = read_header(path)
    except ImageError as error:
        return Candidate(path.name, (stem,), {}, None, error.problem, path, _never)
    if (header.channels or 1) > 1:
        why = f"{header.channels} images in one file"
        return Candidate(path.name, (stem,), {}, None, why, path, _never)
    return Candidate(
        path.name,
        (stem,),
        {},
        Grid(header.shape, header.affine),
        None,
        path.parent,
        lambda: read_nifti(path),
    )


def _never() -> Volume:
    raise AssertionError("read although it is no volume")
