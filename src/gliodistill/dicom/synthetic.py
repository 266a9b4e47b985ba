"""Phantoms as DICOM: what a scanner would have sent, with the series that nobody wants among them.

So that reading, classification and everything after them is tested without a patient.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gliodistill.dicom.frames import ENHANCED, MR
from gliodistill.extras import load
from gliodistill.images.volume import Volume
from gliodistill.phantom.raw import Protocol, RawStudy
from gliodistill.studies.sequence import MRSequence

if TYPE_CHECKING:
    from pydicom import Dataset

DATE = "20200102"
ROOT = "1.2.826.0.1.3680043.10.1.24."
"""Of UIDs, below the root that Medical Connections gives to pydicom's users; made from hashes."""

NAMES = {
    MRSequence.T1: ("t1_se_tra", "t1_mprage_sag_p2_iso"),
    MRSequence.T1CE: ("t1_se_tra_KM", "Ax 3D T1 MPRAGE post Gd"),
    MRSequence.T2: ("t2_tse_tra_512", "T2W_TSE_cor"),
    MRSequence.FLAIR: ("t2_tirm_tra_dark-fluid", "3D FLAIR sag"),
}
"""Sequence → how a thick and how a thin series of it is called."""

TIMES: dict[MRSequence, dict[str, Any]] = {
    MRSequence.T1: {"RepetitionTime": 520, "EchoTime": 9},
    MRSequence.T1CE: {"RepetitionTime": 520, "EchoTime": 9},
    MRSequence.T2: {"RepetitionTime": 4500, "EchoTime": 102},
    MRSequence.FLAIR: {"RepetitionTime": 9000, "EchoTime": 110, "InversionTime": 2500},
}
GRADIENT_ECHO: dict[str, Any] = {"RepetitionTime": 2000, "EchoTime": 3.1, "InversionTime": 900}
AGENT = "Gadobutrol"


@dataclass(frozen=True, eq=False)
class Acquisition:
    """One series to write.

    Attributes:
        number: SeriesNumber.
        name: SeriesDescription and ProtocolName.
        volume: integers from 0 to 4095.
        attributes: keyword → value, for every image of it.
        enhanced: whether it becomes one multi-frame file.
    """

    number: int
    name: str
    volume: Volume
    attributes: dict[str, Any]
    enhanced: bool = False


def write_study(study: RawStudy, folder: Path, enhanced: bool = False, others: bool = True) -> None:
    """Write ``folder/IM0001``, …: files without ending, series mixed, as exports have them.

    Args:
        study: a phantom as scanned.
        folder: is there, empty.
        enhanced: whether the four sequences are Enhanced multi-frame images.
        others: whether to add what is none of the four: localiser, diffusion with its ADC map, a
            reformatted T1CE, a drawn region.
    """
    series = list(_sequences(study, enhanced))
    if others:
        series += _others(study)
    number = 0
    for one in series:
        for data in datasets(study.id, one):
            number += 1
            save(data, folder / f"IM{number:04d}")


def _sequences(study: RawStudy, enhanced: bool) -> Iterator[Acquisition]:
    for place, sequence in enumerate(
        (MRSequence.T2, MRSequence.FLAIR, MRSequence.T1, MRSequence.T1CE), 1
    ):
        if sequence not in study.images:
            continue
        protocol = study.protocols[sequence]
        name = NAMES[sequence][protocol.thin]
        yield Acquisition(
            100 * place + 1,
            name,
            study.images[sequence],
            attributes_of(sequence, protocol) | {"AcquisitionTime": f"10{place:02d}00"},
            enhanced,
        )


def attributes_of(sequence: MRSequence, protocol: Protocol) -> dict[str, Any]:
    """How a sequence is made, in keywords of DICOM."""
    t1 = sequence in (MRSequence.T1, MRSequence.T1CE)
    found: dict[str, Any] = dict(GRADIENT_ECHO if t1 and protocol.thin else TIMES[sequence])
    found |= {
        "ScanningSequence": ["GR", "IR"] if "EchoTime" in found and found["EchoTime"] < 5 else "SE",
        "MRAcquisitionType": "3D" if protocol.thin else "2D",
        "SliceThickness": protocol.thickness_mm,
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"],
        "SequenceVariant": "SK",
        "FlipAngle": 90,
        "EchoTrainLength": 1 if t1 else 16,
    }
    if sequence is MRSequence.FLAIR:
        found["ScanningSequence"] = ["SE", "IR"]
    if sequence is MRSequence.T1CE:
        found["ContrastBolusAgent"] = AGENT
    return found


def _others(study: RawStudy) -> Iterator[Acquisition]:
    """Series that are none of the four sequences."""
    first = next(iter(study.images.values()))
    for place, axes in enumerate(((0, 1, 2), (1, 2, 0), (0, 2, 1))):
        yield Acquisition(
            1,
            "localizer",
            _planes(first, axes),
            {
                "ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"],
                "RepetitionTime": 7.4,
                "EchoTime": 3.6,
                "ScanningSequence": "GR",
                "AcquisitionNumber": place + 1,
            },
        )
    t2 = study.images.get(MRSequence.T2, first)
    small = Volume(t2.data[::2, ::2], t2.affine @ np.diag([2, 2, 1, 1]))
    echo = {"RepetitionTime": 5200, "EchoTime": 89, "ScanningSequence": "EP"}
    for b, share in ((0.0, 1.0), (1000.0, 0.4)):
        yield Acquisition(
            7,
            "ep2d_diff_3scan_trace",
            small.with_data(np.rint(small.data * share)),
            echo
            | {
                "ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"],
                "DiffusionBValue": b,
                "AcquisitionNumber": 1 + (b > 0),
            },
        )
    yield Acquisition(
        8,
        "ep2d_diff_3scan_trace_ADC",
        small.with_data(np.rint(np.clip(small.data * 0.7, 0, 4095))),
        echo | {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]},
    )
    t1ce = study.images[MRSequence.T1CE]
    yield Acquisition(
        9,
        f"{NAMES[MRSequence.T1CE][0]} MPR",
        Volume(t1ce.data[:, :, ::2], t1ce.affine @ np.diag([1, 1, 2, 1])),
        attributes_of(MRSequence.T1CE, study.protocols[MRSequence.T1CE])
        | {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
    )
    flair = MRSequence.FLAIR
    yield Acquisition(
        5001,
        "FLAIR_ROI",
        study.images[flair].with_data((study.truth[flair].data > 0).astype(np.float32)),
        attributes_of(flair, study.protocols[flair]),
    )


def _planes(volume: Volume, axes: tuple[int, int, int]) -> Volume:
    """Three slices across the middle of a volume."""
    turned = np.transpose(volume.data, axes)
    affine = volume.affine[:, [*axes, 3]]
    middle, step = turned.shape[2] // 2, max(1, turned.shape[2] // 12)
    affine = affine @ np.diag([1, 1, step, 1])
    affine[:3, 3] += affine[:3, 2] / step * (middle - step)
    return Volume(turned[:, :, middle - step : middle + step + 1 : step], affine)


# Files


def uid(*parts: object) -> str:
    """A UID that depends on the parts alone."""
    from hashlib import sha256

    digest = sha256("\n".join(map(str, parts)).encode()).digest()
    return ROOT + str(int.from_bytes(digest[:12], "big"))


def datasets(case: str, one: Acquisition) -> list["Dataset"]:
    """The files of a series.

    Args:
        case: of the study.
        one: the series.
    """
    volume = _right_handed(one.volume)
    places = [_place(volume, k) for k in range(volume.shape[2])]
    if one.enhanced:
        return [_enhanced(case, one, volume, places)]
    return [_single(case, one, volume, place, k) for k, place in enumerate(places)]


def _right_handed(volume: Volume) -> Volume:
    """Slices in the direction of rows × columns."""
    if np.linalg.det(volume.affine[:3, :3]) > 0:
        return volume
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (volume.shape[2] - 1)
    affine[:3, 2] *= -1
    return Volume(volume.data[:, :, ::-1], affine)


def _place(volume: Volume, k: int) -> dict[str, list[str]]:
    """Position, orientation and pixel size of a slice, as DICOM writes them."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine  # to LPS+
    spacing = volume.spacing
    directions = np.concatenate([affine[:3, 0] / spacing[0], affine[:3, 1] / spacing[1]])
    return {
        "ImagePositionPatient": _decimals(affine[:3, 3] + k * affine[:3, 2]),
        "ImageOrientationPatient": _decimals(directions),
        "PixelSpacing": _decimals((spacing[1], spacing[0])),
    }


def _decimals(values: Iterable[float]) -> list[str]:
    """Decimal strings of at most 16 letters."""
    return [f"{value:.10f}"[:16] for value in values]


def _common(case: str, one: Acquisition) -> "Dataset":
    pydicom = load()
    data = pydicom.Dataset()
    data.SpecificCharacterSet = "ISO_IR 100"
    data.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM"]
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = DATE
    data.StudyTime = data.SeriesTime = data.ContentTime = f"{100000 + one.number % 1000:06d}"
    data.AccessionNumber, data.ReferringPhysicianName = "", ""
    data.Modality, data.Manufacturer = "MR", "gliodistill"
    data.ManufacturerModelName, data.MagneticFieldStrength = "phantom", 3
    data.StudyDescription = "Synthetic brain tumour"
    data.SeriesDescription = data.ProtocolName = one.name
    data.PatientName, data.PatientID = case.replace("_", "^"), case
    data.PatientBirthDate, data.PatientSex = "", "O"
    data.StudyInstanceUID, data.SeriesInstanceUID = uid(case), uid(case, one.number)
    data.FrameOfReferenceUID = uid(case, "frame of reference")
    data.StudyID, data.SeriesNumber, data.PositionReferenceIndicator = "1", one.number, ""
    data.PatientPosition, data.BodyPartExamined = "HFS", "HEAD"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    return data


def _stored(plane: NDArray[Any]) -> bytes:
    stored: bytes = np.clip(np.rint(plane.T), 0, 4095).astype("<u2").tobytes()
    return stored


def _single(
    case: str, one: Acquisition, volume: Volume, place: dict[str, list[str]], k: int
) -> "Dataset":
    data = _common(case, one)
    data.SOPClassUID = MR
    acquisition = one.attributes.get("AcquisitionNumber", 1)
    data.SOPInstanceUID = uid(case, one.number, acquisition, k)
    data.InstanceNumber, data.AcquisitionNumber = k + 1, 1
    for keyword, value in (one.attributes | place).items():
        setattr(data, keyword, value)
    data.Columns, data.Rows = volume.shape[:2]
    data.PixelData = _stored(volume.data[:, :, k])
    return data


def _enhanced(
    case: str, one: Acquisition, volume: Volume, places: list[dict[str, list[str]]]
) -> "Dataset":
    pydicom = load()

    def group(**values: Any) -> Any:
        part = pydicom.Dataset()
        for keyword, value in values.items():
            if value is not None:
                setattr(part, keyword, value)
        return pydicom.Sequence([part])

    data, told = _common(case, one), one.attributes
    data.SOPClassUID, data.SOPInstanceUID = ENHANCED[0], uid(case, one.number, 1, 0)
    data.InstanceNumber, data.NumberOfFrames = 1, len(places)
    data.ImageType = [*told.get("ImageType", ["ORIGINAL", "PRIMARY"])[:2], "M", "NONE"]
    data.PulseSequenceName = one.name[:16]
    if agent := told.get("ContrastBolusAgent"):
        data.ContrastBolusAgentSequence = group(CodeMeaning=agent)
    first = places[0]
    shared = pydicom.Dataset()
    shared.PixelMeasuresSequence = group(
        PixelSpacing=first["PixelSpacing"], SliceThickness=told.get("SliceThickness")
    )
    shared.PlaneOrientationSequence = group(
        ImageOrientationPatient=first["ImageOrientationPatient"]
    )
    shared.MRTimingAndRelatedParametersSequence = group(
        RepetitionTime=told.get("RepetitionTime"), FlipAngle=told.get("FlipAngle")
    )
    shared.MREchoSequence = group(EffectiveEchoTime=told.get("EchoTime"))
    inverted = told.get("InversionTime")
    shared.MRModifierSequence = group(
        InversionRecovery="NO" if inverted is None else "YES", InversionTimes=inverted
    )
    data.SharedFunctionalGroupsSequence = pydicom.Sequence([shared])
    frames = []
    for k, place in enumerate(places):
        frame = pydicom.Dataset()
        frame.FrameContentSequence = group(StackID="1", InStackPositionNumber=k + 1)
        frame.PlanePositionSequence = group(ImagePositionPatient=place["ImagePositionPatient"])
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = pydicom.Sequence(frames)
    data.Columns, data.Rows = volume.shape[:2]
    data.PixelData = b"".join(_stored(volume.data[:, :, k]) for k in range(volume.shape[2]))
    return data


def save(data: "Dataset", file: Path) -> None:
    """Write one file, explicit little endian."""
    pydicom, uids = load(), load("pydicom.uid")
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = data.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
    data.file_meta = meta
    data["PixelData"].VR = "OW"
    pydicom.dcmwrite(file, data, enforce_file_format=True)
