"""A series becomes the volume that was written: voxels and places, in every form that scanners and
archives use.
"""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid as uids

from dicom.conftest import small
from gliodistill.dicom.scan import Scan
from gliodistill.dicom.series import Series
from gliodistill.errors import StudyError
from gliodistill.images.qform_sform import distance
from gliodistill.images.volume import Volume

AXES = {
    "axial": np.diag([-0.9, -0.9, 5.0]),
    "sagittal": np.array([[0, 0, 1.2], [-1.0, 0, 0], [0, -1.0, 0]]),
    "coronal": np.array([[-0.8, 0, 0], [0, 0, -3.3], [0, -0.8, 0]]),
}


def only(folder: Path) -> Series:
    with Scan(folder) as scan:
        (series,) = scan.series
    return series


def check(series: Series, expected: Volume) -> None:
    read = series.volume()
    assert read.data.dtype == np.float32
    assert distance(read.affine, expected.affine, expected.shape) < 1e-3
    assert np.array_equal(read.data, expected.data)


@pytest.mark.parametrize("plane", AXES)
def test_planes(write, plane):
    affine = np.eye(4)
    affine[:3, :3] = AXES[plane]
    if np.linalg.det(affine[:3, :3]) < 0:
        affine[:3, 2] *= -1
    volume = Volume(small().data, affine)
    series = only(write(volume))
    assert series.grid.plane == plane
    check(series, volume)


@pytest.mark.parametrize("enhanced", [False, True])
def test_an_oblique_series_of_any_kind_of_file(write, enhanced):
    series = only(write(enhanced=enhanced))
    check(series, small())
    assert series.multiframe is enhanced
    assert len(series.files) == (1 if enhanced else 9)
    assert [data.SeriesNumber for data in series.datasets()] == [4] * len(series.files)
    assert "PixelData" not in series.datasets()[0]


def test_the_order_of_files_and_instances_does_not_count(write):
    def shuffle(k, data):
        data.InstanceNumber = (k * 5) % 9 + 1

    folder = write(change=shuffle)
    for k, file in enumerate(sorted(folder.iterdir())):
        file.rename(folder / f"{(k * 7) % 9}.{k}")
    check(only(folder), small())


def test_slices_are_in_the_order_of_the_files(write):
    """Pixel [row, column] of file k is voxel (column, row, k), which writers of SEG build on."""
    series = only(write())
    voxels = series.volume().data
    for k, file in enumerate(series.files):
        assert np.array_equal(pydicom.dcmread(file).pixel_array.T, voxels[:, :, k])
        place = np.array(pydicom.dcmread(file).ImagePositionPatient, float) * (-1, -1, 1)
        assert np.allclose(place, series.grid.affine[:3, 3] + k * series.grid.affine[:3, 2])


@pytest.mark.parametrize(
    "syntax",
    [
        uids.ImplicitVRLittleEndian,
        uids.ExplicitVRBigEndian,
        uids.DeflatedExplicitVRLittleEndian,
        uids.RLELossless,
        uids.JPEGLSLossless,
    ],
    ids=lambda syntax: syntax.name,
)
def test_transfer_syntaxes(write, syntax):
    folder = write()
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        if syntax.is_compressed and syntax.is_encapsulated:
            if syntax == uids.JPEGLSLossless:
                pytest.importorskip("jpeg_ls")
            data.compress(syntax, generate_instance_uid=False)
            data.save_as(file)
        else:
            if syntax == uids.ExplicitVRBigEndian:
                data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
            data.file_meta.TransferSyntaxUID = syntax
            pydicom.dcmwrite(
                file,
                data,
                implicit_vr=syntax.is_implicit_VR,
                little_endian=syntax.is_little_endian,
                force_encoding=True,
            )
    check(only(folder), small())


def test_jpeg_lossless_is_decoded_by_gdcm(write):
    gdcm = pytest.importorskip("gdcm")
    folder = write()
    for file in folder.iterdir():
        reader, writer = gdcm.ImageReader(), gdcm.ImageWriter()
        reader.SetFileName(str(file))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetFileName(str(file))
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    assert pydicom.dcmread(folder / "IM4_0_000").file_meta.TransferSyntaxUID == uids.JPEGLosslessSV1
    check(only(folder), small())


def test_files_without_preamble(write):
    folder = write()
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        del data.file_meta
        data.preamble = None
        pydicom.dcmwrite(file, data, implicit_vr=True, little_endian=True)
        assert file.read_bytes()[128:132] != b"DICM"
    check(only(folder), small())


# What the header says of pixels


def test_every_slice_is_rescaled_by_its_own_numbers(write):
    def rescale(k, data):
        data.RescaleSlope, data.RescaleIntercept = str(1 + k / 2), str(-k)

    read = only(write(change=rescale)).volume().data
    slopes = 1 + np.arange(9) / 2
    assert np.allclose(read, small().data * slopes - np.arange(9))


def test_bits_that_are_not_stored_are_no_intensity(write):
    def overlay(k, data):
        stored = np.frombuffer(data.PixelData, "<u2")
        data.PixelData = (stored | 0x8000 | 0x2000).tobytes()

    check(only(write(change=overlay)), small())


def test_signed_and_eight_bit_pixels(write):
    def signed(k, data):
        stored = np.frombuffer(data.PixelData, "<u2").astype(int) - 2000
        data.PixelData = (stored & 0xFFF).astype("<u2").tobytes()
        data.PixelRepresentation = 1

    assert np.array_equal(only(write(change=signed)).volume().data, small().data - 2000)


def test_eight_bits(write):
    def narrow(k, data):
        values = np.frombuffer(data.PixelData, "<u2") // 16
        data.PixelData = values.astype("u1").tobytes()
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        data["PixelData"].VR = "OB"

    assert np.array_equal(only(write(change=narrow)).volume().data, small().data // 16)


def test_monochrome1_is_turned_so_that_more_is_brighter(write):
    def turn(k, data):
        data.PhotometricInterpretation = "MONOCHROME1"

    assert np.array_equal(only(write(change=turn)).volume().data, 4095 - small().data)


def test_padding_becomes_the_lowest_intensity(write):
    padded = small()
    padded.data[:3] = 4095
    padded.data[3:][padded.data[3:] < 7] = 7

    def pad(k, data):
        data.PixelPaddingValue = 4095

    read = only(write(padded, change=pad)).volume().data
    assert (read[:3] == read[3:].min()).all()
    assert np.array_equal(read[3:], padded.data[3:])


# Several volumes in one series


def parts(folder: Path) -> dict[str, Series]:
    with Scan(folder) as scan:
        return {series.part: series for series in scan.series}


def test_echoes_at_the_same_places_become_two_volumes(write):
    write(small(1), EchoTime=20, AcquisitionNumber=1)
    found = parts(write(small(2), EchoTime=90, AcquisitionNumber=2))
    assert set(found) == {"echo 20", "echo 90"}
    check(found["echo 20"], small(1))
    check(found["echo 90"], small(2))


def test_repetitions_that_differ_in_time_alone_become_volumes(write):
    for n in (1, 2, 3):
        folder = write(small(n), AcquisitionNumber=n, stem=f"A{n}")
    found = parts(folder)
    assert len(found) == 3
    for n in (1, 2, 3):
        check(found[f"acquisition {n}"], small(n))


def test_acquisitions_that_share_no_place_stay_one_volume(write):
    """Interleaved packages of slices have acquisition numbers of their own."""

    def interleave(k, data):
        data.AcquisitionNumber = 1 + k % 2

    check(only(write(change=interleave)), small())


def test_orientations_become_volumes(write):
    turned = Volume(small(2).data, small().affine @ np.diag([1.0, -1.0, -1.0, 1.0]))
    write(small(1), AcquisitionNumber=1)
    found = parts(write(turned, AcquisitionNumber=2))
    assert set(found) == {"orientation 1", "orientation 2"}


def test_frames_of_reference_are_not_mixed(write):
    def other(k, data):
        data.FrameOfReferenceUID = "1.2.3"

    write(small(1), AcquisitionNumber=1)
    found = parts(write(small(2), change=other, AcquisitionNumber=2))
    assert set(found) == {"frame of reference 1", "frame of reference 2"}


def test_exact_copies_are_passed_over(write):
    folder = write()
    shutil.copy(folder / "IM4_0_003", folder / "again")
    with Scan(folder) as scan:
        assert "1 exact copies" in " ".join(scan.notes)
        (series,) = scan.series
    check(series, small())


def test_a_screenshot_among_the_slices_is_told_apart(write):
    folder = write()

    def screenshot(k, data):
        data.SOPClassUID, data.Modality = "1.2.840.10008.5.1.4.1.1.7", "OT"
        return k == 0

    found = parts_by_key(write(small(3), change=screenshot, AcquisitionNumber=9, stem="shot"))
    check(found["4.1"], small())
    assert "Secondary Capture" in str(found["4.2"].refused)
    assert folder.exists()


def parts_by_key(folder: Path) -> dict[str, Series]:
    with Scan(folder) as scan:
        return {series.key: series for series in scan.series}


def test_a_study_finds_its_series_by_key(write):
    with Scan(write()) as scan:
        (study,) = scan.studies
        assert study.find("4") is study.series[0]
        with pytest.raises(StudyError, match="no such series"):
            study.find("5")


def test_two_series_of_one_number_have_two_keys(write):
    def other(k, data):
        data.SeriesInstanceUID = "1.2.3.4"

    write(small(1))
    found = parts_by_key(write(small(2), change=other, AcquisitionNumber=2, stem="B"))
    assert set(found) == {"4", "4b"}


# Where the files are


def test_a_zip_gives_the_same_and_leaves_nothing(write, tmp_path):
    folder = write()
    archive = tmp_path / "scan.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for file in folder.iterdir():
            made.write(file, f"DOE^JOHN/{file.name}")
    with Scan(archive) as scan:
        (series,) = scan.series
        check(series, small())
        assert all("DOE" not in str(file) for file in series.files)
    assert not any(file.exists() for file in series.files)


def test_a_dicomdir_names_its_files(dicomdir):
    check(only(dicomdir), small())
    check(only(dicomdir.parent), small())


def test_what_is_no_dicom_is_passed_over(write):
    folder = write()
    (folder / "README.txt").write_text("hello")
    (folder / "empty").write_bytes(b"")
    (folder / "out").symlink_to("/etc/passwd")
    with Scan(folder) as scan:
        assert len(list(scan.series)) == 1
        assert any("2 files that are no DICOM" in note for note in scan.notes)
        assert any("1 links" in note for note in scan.notes)


# Geometry against an independent reader


def itk_affine(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    sitk = pytest.importorskip("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine, sitk.GetArrayFromImage(image).transpose(2, 1, 0)


@pytest.mark.parametrize("seed", range(4))
def test_geometry_is_that_of_simpleitk(write, seed):
    """Any rotation, any voxel size."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(rng.uniform(0.4, 6, 3))
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    series = only(folder := write(Volume(small(seed).data, affine)))
    expected, voxels = itk_affine(folder)
    read = series.volume()
    assert distance(read.affine, expected, read.shape) < 1e-3
    assert np.array_equal(read.data, voxels)


@pytest.mark.real
def test_brainix_lies_where_simpleitk_puts_it(real_data):
    with Scan(real_data / "dicom" / "BRAINIX") as scan:
        assert len(scan.patients) == 1
        found = {series.number: series for series in scan.series}
        assert sorted(found) == [301, 401, 601, 5339]
        for series in found.values():
            expected, voxels = itk_affine(series.files[0].parent)
            read = series.volume()
            assert distance(read.affine, expected, read.shape) < 1e-3
            assert np.array_equal(read.data, voxels)
