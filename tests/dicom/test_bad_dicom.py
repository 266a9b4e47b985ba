"""Bad DICOM, kind by kind: each ends in one line that says what is wrong, and none becomes a volume
that is not there.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dicom.conftest import small
from gliodistill.dicom import source
from gliodistill.dicom.scan import Scan
from gliodistill.errors import GliodistillError, ImageError, StudyError

# Series that are no volume: what is done to slice k of nine, and what is said.

Change = Callable[[int, Any], Any]
SERIES: dict[str, tuple[Change, str]] = {}


def series(story: str, says: str) -> Callable[[Change], Change]:
    def enter(change: Change) -> Change:
        SERIES[story] = (change, says)
        return change

    return enter


def _set(**values: Any) -> Change:
    def change(k: int, data: Any) -> None:
        for keyword, value in values.items():
            setattr(data, keyword, value)

    return change


def _drop(*keywords: str) -> Change:
    def change(k: int, data: Any) -> None:
        for keyword in keywords:
            delattr(data, keyword)

    return change


series("no position", "the place of a slice is not told")(_drop("ImagePositionPatient"))
series("no orientation", "the place of a slice is not told")(_drop("ImageOrientationPatient"))
series("no pixel spacing", "the place of a slice is not told")(_drop("PixelSpacing"))
series("huge rows", "65535 rows")(_set(Rows=65535))
series("a colour image", "a colour image")(
    _set(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
)
series("a palette image", "a colour image")(_set(PhotometricInterpretation="PALETTE COLOR"))
series("no photometric interpretation", "a colour image")(_drop("PhotometricInterpretation"))
series("zero pixel spacing", "a voxel size that cannot be")(_set(PixelSpacing=[0, 0]))
series("negative pixel spacing", "a voxel size that cannot be")(_set(PixelSpacing=[-1, 1]))
series("huge pixel spacing", "a voxel size that cannot be")(_set(PixelSpacing=[1e6, 1]))
series("one pixel spacing", "the place of a slice is not told")(_set(PixelSpacing=[1]))
series("directions of length 0", "directions of rows and columns that cannot be")(
    _set(ImageOrientationPatient=[0, 0, 0, 0, 0, 0])
)
series("directions that are not at a right angle", "directions of rows and columns")(
    _set(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0])
)
series("directions that are one", "directions of rows and columns")(
    _set(ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
)
series("a position of two numbers", "the place of a slice is not told")(
    _set(ImagePositionPatient=[1, 2])
)
series("a Siemens mosaic", "a Siemens mosaic")(
    _set(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
)
series("CT", "no MR image")(_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT"))
series("an unknown SOP class", "no MR image")(_set(SOPClassUID="1.2.3"))
series("several frames in a classic image", "several frames, without a position for each")(
    _set(NumberOfFrames=3)
)
series("a million frames", "1000000 frames")(_set(NumberOfFrames=1000000))
series("13 of 8 bits", "pixels cannot be decoded")(_set(BitsAllocated=8))
series("7 bits allocated", "pixels cannot be decoded")(_set(BitsAllocated=7))


@series("all slices at one place", "several slices at one place")
def _(k, data):
    data.ImagePositionPatient = [0, 0, 0]


@series("a position that is no number", "the place of a slice is not told")
def _(k, data):
    data["ImagePositionPatient"]._value = ["north", "0", "0"]


@series("an infinite position", "the place of a slice is not told")
def _(k, data):
    data["ImagePositionPatient"]._value = ["inf", "0", "0"]


@series("a slice light years away", "a place that cannot be")
def _(k, data):
    data.ImagePositionPatient = [0, 0, 1e7 * k]


@series("a slice is missing", "slices are missing")
def _(k, data):
    return k != 4


@series("slices at uneven distances", "slices at uneven distances")
def _(k, data):
    x, y, z = map(float, data.ImagePositionPatient)
    normal = np.array([0.0, -0.6, 0.8]) if k > 5 else np.zeros(3)
    data.ImagePositionPatient = list(np.array([x, y, z]) + 1.3 * normal)


@series("a tilted gantry", "slices are sheared")
def _(k, data):
    direction = np.array(data.ImageOrientationPatient[3:], float)
    data.ImagePositionPatient = list(np.array(data.ImagePositionPatient, float) + k * direction)


@series("one slice alone", "one slice is no volume")
def _(k, data):
    return k == 0


@series("no pixels", "pixels cannot be decoded")
def _(k, data):
    data.PixelData = b""


@series("pixels cut short", "pixels cannot be decoded")
def _(k, data):
    if k == 3:
        data.PixelData = data.PixelData[:50]


@series("rescaled to infinity", "intensities that are no numbers")
def _(k, data):
    data.RescaleSlope, data.RescaleIntercept = "1e300", "0"


@series("one slice of another size", "")
def _(k, data):
    if k == 4:
        data.Rows = 6
        data.PixelData = data.PixelData[: 6 * 10 * 2]


@pytest.mark.parametrize("story", SERIES)
def test_a_series_that_is_no_volume(write, story):
    change, says = SERIES[story]
    folder = write(change=change)
    with Scan(folder) as scan:
        found = list(scan.series)
        assert found
        errors = []
        for one in found:
            with pytest.raises(ImageError) as raised:
                one.volume()
            errors.append(str(raised.value))
    assert any(says in error for error in errors), errors
    assert all("\n" not in error and str(folder) not in error for error in errors)


# Exports that are refused as a whole


def refused(path: Path, *says: str) -> None:
    with pytest.raises(GliodistillError) as raised, Scan(path):
        pass
    line = str(raised.value)
    assert "\n" not in line
    for part in says:
        assert part in line, line


def test_nothing_there(tmp_path):
    refused(tmp_path / "nowhere", "no such file or folder")


def test_an_empty_folder(tmp_path):
    refused(tmp_path, "no files in it")


def test_no_dicom_in_a_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path, "no DICOM in it")


def test_a_truncated_header(write):
    folder = write()
    file = folder / "IM4_0_003"
    file.write_bytes(file.read_bytes()[:400])
    refused(folder, "damaged", "IM4_0_003")


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "StudyInstanceUID", "SeriesInstanceUID"])
def test_an_image_without(write, keyword):
    def change(k, data):
        if k == 8:  # the last slice: without it, the rest would still be regular
            delattr(data, keyword)

    refused(write(change=change), "damaged", keyword, "IM4_0_008")


def test_only_a_preamble(write):
    folder = write()
    (folder / "IM4_0_003").write_bytes(b"\0" * 128 + b"DICM")
    refused(folder, "damaged")


def test_random_bytes_after_the_preamble(write):
    folder = write()
    noise = np.random.default_rng(0).bytes(2000)
    (folder / "IM4_0_003").write_bytes(b"\0" * 128 + b"DICM" + noise)
    refused(folder, "damaged")


def test_two_different_files_of_one_instance(write):
    folder = write()
    data = pydicom.dcmread(folder / "IM4_0_003")
    data.PixelData = b"\1" * len(data.PixelData)
    data.save_as(folder / "other")
    refused(folder, "two different files with one SOPInstanceUID")


def test_a_deflated_bomb(tmp_path, monkeypatch):
    from gliodistill.dicom import headers

    monkeypatch.setattr(headers, "MOST_HEADER", 2**20)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(b"\0" * 2**23) + packer.flush()
    syntax = b"1.2.840.10008.1.2.1.99"
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax)) + syntax
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(element))
    (tmp_path / "bomb").write_bytes(b"\0" * 128 + b"DICM" + length + element + packed)
    refused(tmp_path, "grows without end")


def test_folders_without_end(tmp_path):
    deep = tmp_path.joinpath(*["d"] * (source.MOST_DEPTH + 2))
    deep.mkdir(parents=True)
    refused(tmp_path, "folders too deep")


def test_too_many_files(write, monkeypatch):
    monkeypatch.setattr(source, "MOST_FILES", 5)
    refused(write(), "too many files")


# Zips


def zipped(tmp_path: Path, *names: str, content: bytes = b"x") -> Path:
    archive = tmp_path / "scan.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for name in names:
            made.writestr(name, content)
    return archive


@pytest.mark.parametrize("name", ["../../out", "/etc/out", "..\\out", "C:\\out", "a/../../b"])
def test_a_zip_that_climbs_out(tmp_path, name):
    archive = zipped(tmp_path, name)
    refused(archive, "leave its folder")
    assert [file.name for file in tmp_path.iterdir()] == ["scan.zip"]


def test_a_zip_with_a_link(tmp_path):
    archive = tmp_path / "scan.zip"
    with zipfile.ZipFile(archive, "w") as made:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "/etc/passwd")
    refused(archive, "links or devices")


def test_a_zip_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "FREE_BYTES", 2**20)
    refused(zipped(tmp_path, "a", "b", content=b"\0" * 2**21), "a zip bomb")


def test_a_zip_that_lies_about_its_size(tmp_path):
    archive = zipped(tmp_path, "a", content=b"\0" * 2**16)
    content = archive.read_bytes()
    archive.write_bytes(content.replace(struct.pack("<I", 2**16), struct.pack("<I", 10)))
    refused(archive, "zip")


def test_a_zip_cut_short(write, tmp_path):
    archive = zipped(tmp_path, "a", content=b"hello" * 1000)
    archive.write_bytes(archive.read_bytes()[:60])
    refused(archive, "damaged zip")


def test_a_zip_with_a_flipped_bit(tmp_path):
    archive = zipped(tmp_path, "a", content=np.random.default_rng(0).bytes(5000))
    content = bytearray(archive.read_bytes())
    content[2000] ^= 8
    archive.write_bytes(content)
    refused(archive, "damaged zip")


def test_an_encrypted_zip(tmp_path):
    archive = zipped(tmp_path, "a")
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # of the local header
    content[content.index(b"PK\1\2") + 8] |= 1  # of the central directory
    archive.write_bytes(content)
    refused(archive, "an encrypted zip")


def test_an_empty_zip(tmp_path):
    refused(zipped(tmp_path), "no files in it")


def test_a_zip_of_no_dicom(tmp_path):
    refused(zipped(tmp_path, "a.txt"), "no DICOM in it")


# DICOMDIR


def test_a_dicomdir_whose_files_are_gone(dicomdir):
    file = dicomdir
    next(path for path in file.parent.rglob("*") if path.is_file() and path != file).unlink()
    refused(file, "files of the DICOMDIR are missing", "1 missing, 8 there")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_dicomdir_that_climbs_out(dicomdir):
    data = pydicom.dcmread(dicomdir)
    for record in data.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", "..", "SECRET"]
    data.save_as(dicomdir)
    refused(dicomdir, "names a file outside its folder")


# Patients


def test_two_patients_are_named_by_hashes(write):
    def other(k, data):
        data.PatientID, data.PatientName = "MRN99887", "Roe^Richard"
        data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.4"

    write(small(1))
    folder = write(small(2), change=other, stem="B", AcquisitionNumber=2)
    with Scan(folder) as scan:
        assert len(scan.patients) == 2
        assert [len(patient.studies[0].series) for patient in scan.patients] == [1, 1]
        with pytest.raises(StudyError) as raised:
            scan.one_patient()
    line = str(raised.value)
    assert all(patient.key in line for patient in scan.patients)
    assert "MRN99887" not in line and "Roe" not in line and "Phantom" not in line


def test_two_patients_in_one_series_are_never_mixed(write):
    """Even where an archive gave their files one series."""

    def other(k, data):
        if k % 2:
            data.PatientID, data.PatientName = "MRN99887", "Roe^Richard"

    with Scan(write(change=other)) as scan:
        assert len(scan.patients) == 2
        for patient, slices in zip(scan.patients, (5, 4), strict=True):
            (one,) = patient.studies[0].series
            assert len(one.slices) == slices


def test_one_patient_with_a_field_left_out_stays_one(write):
    def anonymous(k, data):
        if k % 2:
            data.PatientID = ""
            data.PatientBirthDate = "19700101"

    with Scan(write(change=anonymous)) as scan:
        assert len(scan.patients) == 1


def test_patients_without_any_identity_are_told_apart_by_their_studies(write):
    def nobody(number):
        def change(k, data):
            data.PatientID = data.PatientName = ""
            data.StudyInstanceUID, data.SeriesInstanceUID = f"1.2.{number}", f"1.2.{number}.4"

        return change

    write(small(1), change=nobody(1))
    with Scan(write(small(2), change=nobody(2), AcquisitionNumber=2)) as scan:
        assert len(scan.patients) == 2


# Values that are wrong, and do not matter


@pytest.mark.parametrize(
    "keyword, value",
    [
        ("PatientSex", "0000"),
        ("PatientBirthDate", "yesterday"),
        ("PatientAge", "old"),
        ("SeriesNumber", None),
        ("InstanceNumber", None),
        ("EchoTime", "none"),
        ("RepetitionTime", "1e999"),
        ("SliceThickness", "-5"),
        ("SpacingBetweenSlices", "0"),
        ("SliceLocation", "7"),
        ("SpecificCharacterSet", "ISO_IR 999"),
        ("PatientName", "\x1b$B;3ED^\x00\x01"),
        ("WindowCenter", "x"),
    ],
)
def test_values_that_do_not_matter_stop_nothing(write, keyword, value):
    def change(k, data):
        data.add_new(keyword, pydicom.datadict.dictionary_VR(keyword), None)
        data[keyword]._value = value
        if keyword == "PatientName":
            data[keyword].VR = "LO"

    with Scan(write(change=change)) as scan:
        (one,) = scan.series
        assert np.array_equal(one.volume().data, small().data)


@pytest.mark.parametrize("seed", range(12))
def test_files_with_flipped_bytes_end_in_one_line_or_a_volume(write, seed):
    """Whatever the bytes: nothing but our own errors, and no volume that is not finite."""
    rng = np.random.default_rng(seed)
    folder = write()
    for file in folder.iterdir():
        content = bytearray(file.read_bytes())
        for place in rng.integers(0, len(content), 6):
            content[place] = int(rng.integers(256))
        file.write_bytes(content)
    try:
        with Scan(folder) as scan:
            for one in scan.series:
                try:
                    assert np.isfinite(one.volume().data).all()
                except ImageError as error:
                    assert "\n" not in str(error)
    except GliodistillError as error:
        assert "\n" not in str(error)
