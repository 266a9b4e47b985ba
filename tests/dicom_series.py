"""Small DICOM MR series that a test describes by a grid: one file a slice, or one Enhanced file."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gliodistill.dicom.scan import Scan
from gliodistill.dicom.series import Series
from gliodistill.images.volume import Volume
from gliodistill.studies.labels import BRATS2023

AXIAL = ((1, 0, 0), (0, 1, 0))
SAGITTAL = ((0, 1, 0), (0, 0, -1))
CORONAL = ((1, 0, 0), (0, 0, -1))
OBLIQUE = (
    (0.99971222877502, 7.8810308973e-12, 0.02398800104856),
    (-0.0017278126906, 0.99740260839462, 0.07200747728347),
)
DIRECTIONS = {"axial": AXIAL, "sagittal": SAGITTAL, "coronal": CORONAL, "oblique": OBLIQUE}
"""Of a row and of a column, LPS+."""

STUDY, FRAME = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"
MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"


def grid(plane: str, size: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    """Zeros on a grid in that plane (columns, rows, slices), with its middle near the origin."""
    row, column = (np.array(direction, dtype=float) for direction in DIRECTIONS[plane])
    affine = np.eye(4)
    for axis, (direction, step) in enumerate(
        zip((row, column, np.cross(row, column)), spacing, strict=True)
    ):
        affine[:3, axis] = direction * step
    middle = affine[:3, :3] @ ((np.array(size) - 1) / 2)
    affine[:3, 3] = np.array([3.25, -7.5, 11.0]) - middle
    affine[:2] *= -1
    return Volume(np.zeros(size, dtype=np.uint8), affine)


def ball(where: Volume, centre: tuple[float, float, float], radii: tuple[float, ...] | float):
    """Which voxels lie in an ellipsoid: centre and radii in mm, RAS+."""
    index = np.stack(np.meshgrid(*map(np.arange, where.shape), indexing="ij"), axis=-1)
    places = index @ where.affine[:3, :3].T + where.affine[:3, 3]
    return (((places - centre) / np.broadcast_to(radii, 3)) ** 2).sum(axis=-1) <= 1


def tumour(where: Volume) -> Volume:
    """Codes of BraTS 2023: a tumour in the patient's LEFT half, oedema around a rim around
    necrosis, and a small second lesion above.
    """
    codes = np.zeros(where.shape, dtype=np.uint8)
    codes[ball(where, (-25, 5, -8), (20, 26, 18))] = 2
    codes[ball(where, (-28, 5, -8), (12, 16, 12))] = 3
    codes[ball(where, (-28, 5, -8), (6, 8, 7))] = 1
    codes[ball(where, (-12, -20, 24), 6)] = 3
    return Volume(codes, where.affine)


CONVENTION = BRATS2023


def write_series(
    folder: Path, volume: Volume, *, enhanced: bool = False, number: int = 3, **attributes: object
) -> Path:
    """Write a volume on axes (column, row, slice) as DICOM.

    Args:
        folder: for the files.
        volume: integers of 0 to 4095.
        enhanced: one multi-frame file.
        number: of the series.
        attributes: further or other ones of every file; None removes one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    planes = volume.data.transpose(2, 1, 0).astype(np.uint16)
    lps = volume.affine.copy()
    lps[:2] *= -1
    places = [lps @ (0, 0, k, 1) for k in range(len(planes))]
    if enhanced:
        data = _common(volume, ENHANCED_MR, number, 1)
        _enhance(data, lps, volume.spacing, places)
        _save(data, planes, attributes, folder / "enhanced.dcm")
        return folder
    for k, plane in enumerate(planes):
        data = _common(volume, MR, number, k + 1)
        data.ImagePositionPatient = _decimals(places[k][:3])
        data.ImageOrientationPatient = _directions(lps)
        data.PixelSpacing = _decimals([volume.spacing[1], volume.spacing[0]])
        data.SliceThickness = _decimals([volume.spacing[2]])[0]
        _save(data, plane, attributes, folder / f"{k:03d}.dcm")
    return folder


def made_series(folder: Path, volume: Volume, **how: object) -> Series:
    """The series as gliodistill reads it."""
    with Scan(write_series(folder, volume, **how)) as scan:
        (series,) = scan.series
    return series


def _decimals(values: object) -> list:
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(value), auto_format=True) for value in values]


def _directions(lps: NDArray[np.float64]) -> list:
    unit = lps[:3, :2] / np.linalg.norm(lps[:3, :2], axis=0)
    return _decimals(unit.T.ravel())


def _common(volume: Volume, sop_class: str, number: int, instance: int):
    from pydicom import Dataset

    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 100"
    data.SOPClassUID = sop_class
    data.SOPInstanceUID = f"{STUDY}.{number}.{instance}"
    data.StudyInstanceUID, data.SeriesInstanceUID = STUDY, f"{STUDY}.{number}"
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = FRAME, ""
    data.Modality, data.ImageType = "MR", ["ORIGINAL", "PRIMARY", "M", "SE"]
    data.PatientName, data.PatientID = "Müller^Anna", "P-0815"
    data.PatientBirthDate, data.PatientSex = "19500102", "F"
    data.StudyDate, data.StudyTime, data.StudyID = "20240305", "101500", "77"
    data.AccessionNumber, data.ReferringPhysicianName = "A1", "Weiß^Ute"
    data.StudyDescription, data.SeriesDescription = "Schädel", "T1 SE GD"
    data.SeriesNumber, data.InstanceNumber = number, instance
    data.Manufacturer, data.ManufacturerModelName = "Phantom", "One"
    data.ScanningSequence, data.SequenceVariant, data.ScanOptions = "SE", "NONE", ""
    data.MRAcquisitionType, data.EchoTime, data.RepetitionTime = "2D", "12", "500"
    data.Columns, data.Rows = volume.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelRepresentation = 0
    return data


def _enhance(data, lps, spacing, places) -> None:
    from pydicom import Dataset

    def group(**values: object) -> Dataset:
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        return item

    data.NumberOfFrames = len(places)
    data.SharedFunctionalGroupsSequence = [
        group(
            PixelMeasuresSequence=[
                group(
                    PixelSpacing=_decimals([spacing[1], spacing[0]]),
                    SliceThickness=_decimals([spacing[2]])[0],
                )
            ],
            PlaneOrientationSequence=[group(ImageOrientationPatient=_directions(lps))],
        )
    ]
    data.PerFrameFunctionalGroupsSequence = [
        group(
            PlanePositionSequence=[group(ImagePositionPatient=_decimals(place[:3]))],
            FrameContentSequence=[group(StackID="1", InStackPositionNumber=k + 1)],
        )
        for k, place in enumerate(places)
    ]


def _save(data, pixels: NDArray[np.uint16], attributes: dict, file: Path) -> None:
    from pydicom import config
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    data.PixelData = pixels.tobytes()
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword, value in attributes.items():
            if value is None:
                delattr(data, keyword)
            else:
                setattr(data, keyword, value)
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.save_as(file, enforce_file_format=True)
