"""The series that a result belongs to: whose it is, where its planes lie, how they are referred to.

DICOM files a result under its patient and study, so these attributes are copied from the source,
cleaned: whatever is of a wrong form there (PatientSex "0000", a date that is none, a text that is
too long) is left out or cut, and never stops a result.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import DSfloat

from gliodistill.dicom.frames import Frame, facts_of
from gliodistill.dicom.headers import number, numbers, read_header, text, words
from gliodistill.dicom.series import Series
from gliodistill.errors import ImageError
from gliodistill.images.volume import Volume

LENGTHS = {"LO": 64, "SH": 16, "PN": 64}
"""Characters of a text; of a name, in each of its groups."""

IDENTITY = {
    "PatientName": "PN",
    "PatientID": "LO",
    "IssuerOfPatientID": "LO",
    "PatientBirthDate": "DA",
    "PatientSex": "SEX",
    "StudyDate": "DA",
    "StudyTime": "TM",
    "StudyID": "SH",
    "StudyDescription": "LO",
    "AccessionNumber": "SH",
    "ReferringPhysicianName": "PN",
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "LO",
}
"""What is copied: attribute → its form."""

REQUIRED = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
]
"""What has to be there, if empty (type 2)."""

EQUIPMENT = {"Manufacturer": "LO", "ManufacturerModelName": "LO"}
UTF_8 = "ISO_IR 192"
CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
ELSEWHERE_MM = 1e6


@dataclass(frozen=True)
class Reference:
    """To a plane of a series: the UIDs of its class and instance, and the number of its frame (from
    1; None of a file with one plane).
    """

    sop_class: str
    instance: str
    frame: int | None

    def item(self) -> Dataset:
        """As the standard's image reference."""
        item = Dataset()
        item.ReferencedSOPClassUID = self.sop_class
        item.ReferencedSOPInstanceUID = self.instance
        if self.frame is not None:
            item.ReferencedFrameNumber = self.frame
        return item


@dataclass(frozen=True, eq=False)
class Target:
    """A series that results are made for.

    Attributes:
        series: it.
        identity: attributes of the patient and of the study, cleaned or, on request, removed.
        equipment: maker and model of the scanner.
        compression: whether the images were compressed with losses, which a result must repeat.
        planes: of the series, in slice order.
        references: to each of them.
        thickness: of a slice, in mm.
        frame_of_reference: UID; one made of the series' UID where it has none that is valid.
    """

    series: Series
    identity: Dataset
    equipment: Dataset
    compression: Dataset
    planes: tuple[Frame, ...]
    references: tuple[Reference, ...]
    thickness: float
    frame_of_reference: str

    @classmethod
    def of(cls, series: Series, deidentify: bool = False) -> Self:
        """Read the headers of a series.

        Args:
            series: on a regular grid.
            deidentify: put a short hash in place of the patient, and leave out names, ids and
                dates. UIDs stay, for without them no viewer finds the images of a result.

        Raises:
            ImageError: the series is on no regular grid, or its files are no longer what they were.
        """
        if series.grid is None:
            raise series.refused or ImageError("no regular grid", field=f"series {series.key}")
        headers = {file: read_header(file) for file in series.files}
        facts = {file: facts_of(file, header) for file, header in headers.items()}
        frames = {frame.piece: frame for one in facts.values() for frame in one.frames}
        missing = [piece for piece in series.slices if piece not in frames]
        if missing:
            raise ImageError("no longer the image that was read", file=missing[0].file)
        planes = tuple(frames[piece] for piece in series.slices)
        first = headers[series.slices[0].file]
        references = tuple(
            Reference(
                facts[plane.piece.file].sop_class,
                facts[plane.piece.file].instance,
                plane.piece.frame + 1 if _multiframe(headers[plane.piece.file]) else None,
            )
            for plane in planes
        )
        _check_uids(series, references)
        thickness = number(first, "SliceThickness") or 0.0
        frame_of_reference = series.frame_of_reference or ""
        return cls(
            series,
            _removed(series) if deidentify else _cleaned(first, IDENTITY),
            Dataset() if deidentify else _cleaned(first, EQUIPMENT),
            _compression(first),
            planes,
            references,
            thickness if thickness > 0 else series.grid.spacing[2],
            frame_of_reference
            if UID(frame_of_reference).is_valid
            else generate_uid(entropy_srcs=[series.uid, "frame of reference"]),
        )

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of a plane."""
        return self.planes[0].size

    @property
    def orientation(self) -> list[DSfloat]:
        """Directions of a row and of a column, LPS+."""
        return decimals(self.planes[0].orientation)

    @property
    def spacing(self) -> list[DSfloat]:
        """Between rows, and between columns, in mm."""
        return decimals(self.planes[0].spacing)

    def to_patient(self) -> NDArray[np.float64]:
        """4×4: column, row and plane → mm in LPS+, the axes of DICOM."""
        assert self.series.grid is not None
        affine = self.series.grid.affine.copy()
        affine[:2] *= -1
        return affine

    def on_planes(self, volume: Volume) -> NDArray[Any]:
        """The voxels of a volume on the grid of this series, whatever the order and direction of
        its axes: planes × rows × columns.

        Raises:
            ImageError: it is on another grid.
        """
        assert self.series.grid is not None
        own = Volume(np.broadcast_to(np.uint8(0), self.series.grid.shape), self.series.grid.affine)
        canonical = volume.canonical()
        if not canonical.same_grid(own.canonical()):
            raise ImageError(
                "not on the grid of the series",
                field=f"series {self.series.key}",
                got=canonical.difference(own.canonical()),
                hint="bring the label map to the grid of the series first",
            )
        return own.from_canonical(canonical.data).transpose(2, 1, 0)

    def sources(self) -> list[Dataset]:
        """Headers with just what highdicom reads of a source: one for each plane, or one for an
        image with several frames.
        """
        if self.references[0].frame is None:
            headers = []
            for plane, reference in zip(self.planes, self.references, strict=True):
                header = self._source(reference)
                header.PixelSpacing = self.spacing
                header.SliceThickness = DSfloat(self.thickness, auto_format=True)
                header.ImagePositionPatient = decimals(plane.position)
                header.ImageOrientationPatient = self.orientation
                headers.append(header)
            return headers
        header = self._source(self.references[0])
        if len({reference.instance for reference in self.references}) > 1:
            raise ImageError(
                "one volume in several multi-frame files",
                field=f"series {self.series.key}",
                expected="one file, or one for each slice",
            )
        shared, measures, orientation = Dataset(), Dataset(), Dataset()
        measures.PixelSpacing = self.spacing
        measures.SliceThickness = DSfloat(self.thickness, auto_format=True)
        orientation.ImageOrientationPatient = self.orientation
        shared.PixelMeasuresSequence = [measures]
        shared.PlaneOrientationSequence = [orientation]
        header.SharedFunctionalGroupsSequence = [shared]
        places = {
            reference.frame: plane.position
            for plane, reference in zip(self.planes, self.references, strict=True)
        }
        header.NumberOfFrames = max(frame for frame in places if frame is not None)
        groups = []
        for frame in range(1, header.NumberOfFrames + 1):
            # Frames of another volume (an echo) must not be taken for sources.
            position = Dataset()
            position.ImagePositionPatient = decimals(places.get(frame, (ELSEWHERE_MM,) * 3))
            group = Dataset()
            group.PlanePositionSequence = [position]
            groups.append(group)
        header.PerFrameFunctionalGroupsSequence = groups
        return [header]

    def _source(self, reference: Reference) -> Dataset:
        header = Dataset()
        for part in (self.identity, self.equipment, self.compression):
            header.update(part)
        header.SpecificCharacterSet = UTF_8
        header.Modality = "MR"
        header.SOPClassUID = reference.sop_class
        header.SOPInstanceUID = reference.instance
        header.StudyInstanceUID = self.series.study_uid
        header.SeriesInstanceUID = self.series.uid
        header.FrameOfReferenceUID = self.frame_of_reference
        header.Rows, header.Columns = self.size
        return header


def decimals(values: tuple[float, ...] | None) -> list[DSfloat]:
    """Numbers as DICOM's decimal strings, in their 16 characters."""
    return [DSfloat(value, auto_format=True) for value in values or ()]


def code_item(code: Code) -> Dataset:
    """A code as an item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def _check_uids(series: Series, references: Iterable[Reference]) -> None:
    """Refuse a source that no result can refer to.

    Raises:
        ImageError: a UID is missing or malformed.
    """
    uids = {"StudyInstanceUID": series.study_uid, "SeriesInstanceUID": series.uid}
    for keyword, uid in [
        *uids.items(),
        *(("SOPInstanceUID", reference.instance) for reference in references),
    ]:
        if not re.fullmatch(r"[0-9.]{1,64}", uid):
            raise ImageError(
                "a UID that is none, so that no result can refer to the images",
                field=f"series {series.key}, {keyword}",
                got=uid or "none",
                expected="digits and dots, at most 64",
            )


def _multiframe(header: Any) -> bool:
    return "PerFrameFunctionalGroupsSequence" in header


def _cleaned(header: Any, forms: Mapping[str, str]) -> Dataset:
    """Those attributes that are of their form; the others empty, or absent where they may be."""
    clean = Dataset()
    for keyword, form in forms.items():
        found = _of_form(text(header, keyword), form)
        if found or (forms is IDENTITY and keyword in REQUIRED):
            setattr(clean, keyword, found)
    if clean.get("PatientIdentityRemoved") == "YES" and "DeidentificationMethod" not in clean:
        clean.DeidentificationMethod = "not told by the source"
    return clean


def _compression(header: Any) -> Dataset:
    """The attributes of lossy compression; none where there was none."""
    found = Dataset()
    if text(header, "LossyImageCompression") == "01":
        found.LossyImageCompression = "01"
        ratios = numbers(header, "LossyImageCompressionRatio")
        methods = [
            word for word in words(header, "LossyImageCompressionMethod") if CODE.fullmatch(word)
        ]
        if ratios and len(ratios) == len(methods):
            found.LossyImageCompressionRatio = decimals(ratios)
            found.LossyImageCompressionMethod = methods
    return found


def _of_form(found: str, form: str) -> str:
    """A text in the form of its value representation; empty where it has another."""
    found = "".join(letter for letter in found.replace("\\", " ") if letter.isprintable()).strip()
    match form:
        case "SEX":
            return found if found in ("M", "F", "O") else ""
        case "YES":
            return found if found in ("YES", "NO") else ""
        case "DA":
            return found if _parses(found, "%Y%m%d") and len(found) == 8 else ""
        case "TM":
            valid = re.fullmatch(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?", found)
            return found if valid else ""
        case "PN":
            groups = ["^".join(group.split("^")[:5]) for group in found.split("=")[:3]]
            return "=".join(group[: LENGTHS["PN"]].strip() for group in groups)
        case _:
            return found[: LENGTHS[form]].strip()


def _parses(found: str, form: str) -> bool:
    try:
        datetime.strptime(found, form)
    except ValueError:
        return False
    return True


def _removed(series: Series) -> Dataset:
    """Who the patient is, removed."""
    identity = Dataset()
    for keyword in REQUIRED:
        setattr(identity, keyword, "")
    identity.PatientID, identity.PatientName = series.patient, f"Anonymous^{series.patient}"
    identity.PatientIdentityRemoved = "YES"
    identity.DeidentificationMethod = "gliodistill: names, ids and dates removed; UIDs kept"
    identity.DeidentificationMethodCodeSequence = [
        code_item(codes.DCM.BasicApplicationConfidentialityProfile),
        code_item(codes.DCM.RetainUidsOption),
    ]
    return identity
