"""A series: slices of one patient that lie on one regular grid, or the reason why they do not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gliodistill.dicom.grids import Grid, Slice
from gliodistill.dicom.headers import read_header
from gliodistill.dicom.pixels import read_voxels
from gliodistill.errors import ImageError
from gliodistill.images.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True, eq=False)
class Series:
    """Slices of one DICOM series that belong to one volume.

    Voxel ``(column, row, k)`` of :meth:`volume` is pixel ``[row, column]`` of ``slices[k]``, and
    ``grid.affine`` says where it lies. A DICOM series that holds several volumes (echoes,
    b-values, orientations, repetitions) becomes several of these, which differ in ``part``.

    Attributes:
        key: how a user names it: the series number, or "4.2" for the second part of series 4.
        uid: SeriesInstanceUID.
        study_uid: StudyInstanceUID.
        patient: a short hash of the patient's identity; never the name or the id.
        number: SeriesNumber.
        description: SeriesDescription, else ProtocolName; as written, on one line.
        modality: "MR", "CT", "SEG", …
        sop_class: SOPClassUID of the files.
        frame_of_reference: FrameOfReferenceUID.
        part: what tells it from the other parts of the series, e.g. "echo 2"; "" where whole.
        slices: in the order of the grid's third axis.
        grid: of the voxels; None where they are on no regular grid.
        refused: why there is no grid.
        attributes: what the first slice says of how it was made (keywords of DICOM → plain
            values), without anything that tells who the patient is.
    """

    key: str
    uid: str
    study_uid: str
    patient: str
    number: int | None
    description: str
    modality: str
    sop_class: str
    frame_of_reference: str | None
    part: str
    slices: tuple[Slice, ...]
    grid: Grid | None
    refused: ImageError | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """In slice order; one of a multi-frame image."""
        return tuple(dict.fromkeys(piece.file for piece in self.slices))

    @property
    def multiframe(self) -> bool:
        """Whether one file holds several slices (Enhanced MR)."""
        return len(self.files) < len(self.slices)

    def volume(self) -> Volume:
        """The voxels (float32, rescaled; see :mod:`gliodistill.dicom.pixels`) and their affine.

        Raises:
            ImageError: the slices are on no regular grid, or pixels cannot be decoded.
        """
        if self.grid is None:
            raise self.refused or ImageError("no regular grid", field=f"series {self.key}")
        voxels = read_voxels(self.slices, self.grid.shape, f"series {self.key}")
        return Volume(voxels, self.grid.affine)

    def datasets(self) -> list["Dataset"]:
        """The headers (without pixels) of :attr:`files`, in that order, all attributes.

        Raises:
            ImageError: a file can no longer be read.
        """
        return [read_header(file) for file in self.files]
