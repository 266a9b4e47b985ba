"""What is written as DICOM is valid, is where it was, and is read by others as it was meant."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="the extra 'clinical' is not installed")

import pydicom
from matplotlib.path import Path as Polygon

from dicom_series import (
    CONVENTION,
    DIRECTIONS,
    STUDY,
    grid,
    made_series,
    tumour,
    write_series,
)
from dicom_tools import dcmqi_reads, errors_in
from gliodistill.dicom.provenance import Provenance
from gliodistill.dicom.results import preferred, write_results
from gliodistill.dicom.scan import Scan
from gliodistill.errors import GliodistillError, ImageError, LabelError, OutputError, StudyError
from gliodistill.images.volume import Volume

PROVENANCE = Provenance("glioma", "0.9", "ab" * 32, ("T1CE", "FLAIR"), ("T1", "T2"))
SPACING = {
    "axial": (2.0, 2.5, 5.0),
    "sagittal": (2.5, 2.5, 3.0),
    "coronal": (2.0, 2.0, 4.0),
    "oblique": (2.2, 2.0, 4.5),
}
TOO_OLD = (
    "Information Object Not found",
    "SegmentNumber not monotonically increasing",
    "Shall not be present for Referenced SOP Class that is not segmentation",
)
"""What dciodvfy (of 2022) says of a LABELMAP segmentation, which came into the standard later."""


def labels_on(plane: str) -> Volume:
    sizes = {"sagittal": (44, 40, 32), "coronal": (50, 44, 20)}
    return tumour(grid(plane, sizes.get(plane, (48, 40, 16)), SPACING[plane]))


def picture(labels: Volume) -> Volume:
    return Volume(np.arange(labels.data.size).reshape(labels.shape) % 4000, labels.affine)


def region(labels: Volume, name: str) -> Volume:
    codes = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,), "NCR": (1,), "ED": (2,)}
    return labels.with_data(np.isin(labels.data, codes[name]))


def places(mask: Volume) -> np.ndarray:
    index = np.argwhere(mask.data)
    return index @ mask.affine[:3, :3].T + mask.affine[:3, 3]


def same_places(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two sets of points are one, to a hundredth of a millimetre."""
    if len(one) != len(other):
        return False
    from scipy.spatial import KDTree

    return bool(KDTree(one).query(other)[0].max() < 0.01)


@pytest.fixture(scope="module", params=DIRECTIONS)
def plane(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=["slices", "enhanced"])
def written(plane, request, tmp_path_factory) -> tuple[str, Volume, dict[str, Path]]:
    """The results of a tumour on a series in that plane."""
    folder = tmp_path_factory.mktemp("results")
    labels = labels_on(plane)
    series = made_series(folder / "in", picture(labels), enhanced=request.param == "enhanced")
    how = {"rtstruct": True, "empty_frames": plane == "coronal"}
    # The label map may have its axes in any order.
    turned = labels.canonical() if request.param == "enhanced" else labels
    return (
        plane,
        labels,
        write_results(series, turned, CONVENTION, folder / "out", PROVENANCE, **how),
    )


def test_the_standards_own_checker_finds_no_error(written) -> None:
    _, _, files = written
    assert {kind: errors_in(file) for kind, file in files.items()} == {kind: [] for kind in files}


def test_others_read_the_same_voxels_in_the_same_place(written, tmp_path: Path) -> None:
    _, labels, files = written
    images = dcmqi_reads(files["seg"], tmp_path / "read")
    assert len(images) == 3
    for number, name in enumerate(("WT", "TC", "ET"), start=1):
        assert same_places(images[number].places(), places(region(labels, name))), name
    # The tumour was put into the left half; x grows to the right.
    assert images[1].places()[:, 0].max() < 0
    assert images[1].places()[:, 0].mean() == pytest.approx(-25, abs=2)


def test_gdcm_reads_the_frames_of_each_segment(written) -> None:
    """Frames come segment by segment, against the direction of the slices."""
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    plane, labels, files = written
    image = sitk.ReadImage(str(files["seg"]))
    expected = [
        (k, frame)
        for name in ("WT", "TC", "ET")
        for k, frame in reversed(list(enumerate(region(labels, name).data.transpose(2, 1, 0))))
        if frame.any() or plane == "coronal"  # written with empty frames
    ]
    frames = sitk.GetArrayFromImage(image) > 0
    assert np.array_equal(frames, [frame for _, frame in expected])
    lps = labels.affine @ (0, 0, expected[0][0], 1) * (-1, -1, 1, 1)
    assert image.GetOrigin() == pytest.approx(lps[:3], abs=1e-3)


def test_every_frame_refers_to_the_image_that_it_lies_on(written) -> None:
    _, labels, files = written
    seg = pydicom.dcmread(files["seg"])
    lps = labels.affine.copy()
    lps[:2] *= -1
    for group in seg.PerFrameFunctionalGroupsSequence:
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        k = round((np.linalg.inv(lps) @ (*position, 1))[2])
        instance = source.get("ReferencedFrameNumber") or int(
            source.ReferencedSOPInstanceUID.rpartition(".")[2]
        )
        assert (instance, source.SpatialLocationsPreserved) == (k + 1, "YES")
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == f"{STUDY}.3"
    assert seg.StudyInstanceUID == STUDY


def test_contours_enclose_the_same_voxels(written) -> None:
    _, labels, files = written
    data = pydicom.dcmread(files["rtstruct"])
    names = [item.ROIName for item in data.StructureSetROISequence]
    assert names == ["WT", "TC", "ET"]
    to_index = np.linalg.inv(labels.affine)
    columns, rows = np.meshgrid(*map(np.arange, labels.shape[:2]), indexing="ij")
    centres = np.column_stack([columns.ravel(), rows.ravel()])
    for name, structure in zip(names, data.ROIContourSequence, strict=True):
        expected = region(labels, name).data
        mask, pixels = np.zeros(labels.shape, dtype=int), 0.0
        for contour in structure.ContourSequence:
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3) * (-1, -1, 1)
            index = points @ to_index[:3, :3].T + to_index[:3, 3]
            k = round(index[0, 2])
            assert index[:, 2] == pytest.approx(k, abs=1e-3)
            image = contour.ContourImageSequence[0]
            number = image.get("ReferencedFrameNumber") or int(
                image.ReferencedSOPInstanceUID.rpartition(".")[2]
            )
            assert number == k + 1
            x, y = index[:, :2].T
            pixels += abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
            closed = Polygon(np.vstack([index[:, :2], index[:1, :2]]))
            mask[:, :, k] += closed.contains_points(centres).reshape(labels.shape[:2])
        assert np.array_equal(mask, expected)
        assert pixels == pytest.approx(expected.sum(), rel=1e-3)


def content(data: pydicom.Dataset) -> list[tuple[str, object]]:
    """Names and values in a report, from top to bottom."""
    found = []
    for item in data.get("ContentSequence", []):
        name = (
            item.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in item else ""
        )
        if item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0]
            units = value.MeasurementUnitsCodeSequence[0].CodeValue
            found.append((name, (float(value.NumericValue), units)))
        elif item.ValueType == "TEXT":
            found.append((name, item.TextValue))
        elif item.ValueType == "IMAGE":
            reference = item.ReferencedSOPSequence[0]
            found.append((name, reference.get("ReferencedSegmentNumber")))
        found += content(item)
    return found


def test_the_report_says_how_large_and_from_what(written) -> None:
    _, labels, files = written
    data = pydicom.dcmread(files["report"])
    assert data.PreliminaryFlag == "PRELIMINARY"
    found = content(data)
    volumes = [value for name, value in found if name == "Volume"]
    voxel = labels.voxel_ml * 1000
    assert volumes == [
        (pytest.approx(region(labels, name).data.sum() * voxel, abs=0.1), "mm3")
        for name in ("WT", "TC", "ET")
    ]
    assert [value for name, value in found if name == "Referenced Segment"] == [1, 2, 3]
    longest = [value for name, value in found if name == "Long axis"]
    # Of the oedema, 40 × 52 mm on the axial plane through its middle.
    assert longest[0] == (pytest.approx(52, abs=4), "mm")
    comments = " ".join(str(value) for name, value in found if name == "Comment")
    assert "Research use, not a medical device." in comments
    assert "Sequences used: T1CE, FLAIR. Sequences absent: T1, T2." in comments


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory):
    return made_series(tmp_path_factory.mktemp("series"), picture(labels_on("axial")))


def test_a_labelmap_is_read_by_others_too(series, tmp_path: Path) -> None:
    labels = labels_on("axial")
    files = write_results(series, labels, CONVENTION, tmp_path, PROVENANCE, form="LABELMAP")
    known = [
        error
        for kind, file in files.items()
        for error in errors_in(file)
        if not any(said in error for said in TOO_OLD)
    ]
    assert known == []
    images = dcmqi_reads(files["seg"], tmp_path / "read")
    (image,) = images.values()
    for number, name in enumerate(("NCR", "ED", "ET"), start=1):
        assert same_places(image.places(number), places(region(labels, name))), name
    found = content(pydicom.dcmread(files["report"]))
    assert [value for name, value in found if name == "Tracking Identifier"] == [
        f"gliodistill {name}" for name in ("NCR", "ED", "ET", "WT", "TC")
    ]
    assert [value for name, value in found if name == "Referenced Segment"] == [1, 2, 3]


def test_a_region_without_a_voxel_is_in_the_report_and_on_request_in_the_segmentation(
    series, tmp_path: Path
) -> None:
    labels = labels_on("axial")
    labels = labels.with_data(np.where(labels.data == 3, 0, labels.data))
    for empty, expected in ((False, ["WT", "TC"]), (True, ["WT", "TC", "ET"])):
        files = write_results(
            series, labels, CONVENTION, tmp_path, PROVENANCE, empty_frames=empty, rtstruct=True
        )
        seg = pydicom.dcmread(files["seg"])
        assert [item.SegmentLabel for item in seg.SegmentSequence] == expected
        assert not empty or seg.NumberOfFrames == 3 * 16
        volumes = [v for n, v in content(pydicom.dcmread(files["report"])) if n == "Volume"]
        assert volumes[2] == (0, "mm3")
        assert all(errors_in(file) == [] for file in files.values())


def test_no_tumour_at_all_is_a_result_too(series, tmp_path: Path) -> None:
    labels = labels_on("axial")
    nothing = labels.with_data(np.zeros_like(labels.data))
    files = write_results(series, nothing, CONVENTION, tmp_path, PROVENANCE, rtstruct=True)
    assert not pydicom.dcmread(files["seg"]).pixel_array.any()
    assert all(errors_in(file) == [] for file in files.values())


BAD = {
    "a sex that is none": {"PatientSex": "0000"},
    "no patient": dict.fromkeys(("PatientName", "PatientID", "PatientBirthDate", "PatientSex")),
    "no study attributes": dict.fromkeys(
        ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName")
    ),
    "no frame of reference": {"FrameOfReferenceUID": None, "PositionReferenceIndicator": None},
    "dates that are none": {"PatientBirthDate": "1950-01-02", "StudyDate": "20241399"},
    "a time that is none": {"StudyTime": "25:61"},
    "texts that are too long": {
        "PatientID": "9" * 90,
        "AccessionNumber": "A" * 40,
        "StudyID": "B" * 33,
        "StudyDescription": "C" * 150,
        "PatientName": "D" * 120 + "^E^F^G^H^I^J",
    },
    "several values where one may be": {"PatientID": ["1", "2"], "StudyDescription": ["a", "b"]},
    "control characters": {"PatientName": "A\x00B^C\n", "PatientID": "a\tb\x1b"},
    "letters of another set": {"SpecificCharacterSet": "ISO_IR 6", "PatientName": "Żółć^Ewa"},
    "an unknown set of letters": {"SpecificCharacterSet": "NOTHING"},
    "no slice thickness": {"SliceThickness": None},
    "a negative slice thickness": {"SliceThickness": "-1"},
    "a frame of reference that is no UID": {"FrameOfReferenceUID": "x y"},
    "no scanner": dict.fromkeys(("Manufacturer", "ManufacturerModelName")),
    "no modality": {"Modality": ""},
    "a modality that is none": {"Modality": "a long text, not a code"},
    "removed identity without a method": {"PatientIdentityRemoved": "YES"},
}


@pytest.mark.parametrize("name", BAD)
def test_bad_attributes_of_the_source_do_not_stop_a_result(name: str, tmp_path: Path) -> None:
    labels = tumour(grid("axial", (24, 20, 8), (4, 5, 8)))
    series = made_series(tmp_path / "in", picture(labels), **BAD[name])
    files = write_results(series, labels, CONVENTION, tmp_path / "out", PROVENANCE, rtstruct=True)
    assert {kind: errors_in(file) for kind, file in files.items()} == {kind: [] for kind in files}
    seg = pydicom.dcmread(files["seg"])
    assert seg.pixel_array.sum() == sum(
        region(labels, name).data.sum() for name in ("WT", "TC", "ET")
    )
    assert seg.PatientSex in ("", "F")


def test_the_patient_is_copied_so_that_an_archive_files_the_result(series, tmp_path: Path) -> None:
    files = write_results(
        series, labels_on("axial"), CONVENTION, tmp_path, PROVENANCE, rtstruct=True
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "T1CE_report.dcm",
        "T1CE_rtstruct.dcm",
        "T1CE_seg.dcm",
    ]
    for file in files.values():
        data = pydicom.dcmread(file)
        assert (str(data.PatientName), data.PatientID) == ("Müller^Anna", "P-0815")
        assert (data.PatientSex, data.PatientBirthDate) == ("F", "19500102")
        assert (data.StudyInstanceUID, data.AccessionNumber) == (STUDY, "A1")


def test_on_request_no_result_says_who_the_patient_is(series, tmp_path: Path) -> None:
    files = write_results(
        series,
        labels_on("axial"),
        CONVENTION,
        tmp_path,
        PROVENANCE,
        rtstruct=True,
        deidentify=True,
    )
    for file in files.values():
        content = file.read_bytes()
        for secret in ("Müller", "Anna", "P-0815", "19500102", "20240305", "Weiß", "Schädel"):
            assert secret.encode() not in content
            assert secret.encode("latin-1") not in content
        assert pydicom.dcmread(file).PatientIdentityRemoved == "YES"
        assert errors_in(file) == []


def test_frames_of_another_echo_are_not_taken_for_sources(tmp_path: Path) -> None:
    labels = labels_on("axial")
    write_series(tmp_path / "in", picture(labels), enhanced=True)
    file = tmp_path / "in" / "enhanced.dcm"
    data = pydicom.dcmread(file)
    pixels = data.pixel_array
    groups = []
    for group in data.PerFrameFunctionalGroupsSequence:
        for echo in (90.0, 20.0):
            copy = pydicom.Dataset.from_json(group.to_json())
            timing = pydicom.Dataset()
            timing.EffectiveEchoTime = echo
            copy.MREchoSequence = [timing]
            groups.append(copy)
    data.PerFrameFunctionalGroupsSequence, data.NumberOfFrames = groups, len(groups)
    data.PixelData = np.repeat(pixels, 2, axis=0).tobytes()
    data.save_as(file)
    with Scan(tmp_path / "in") as scan:
        series = next(s for s in scan.series if "20" in s.part)
        files = write_results(series, labels, CONVENTION, tmp_path / "out", PROVENANCE)
    seg = pydicom.dcmread(files["seg"])
    referred = {
        source.ReferencedFrameNumber
        for group in seg.PerFrameFunctionalGroupsSequence
        for source in group.DerivationImageSequence[0].SourceImageSequence
    }
    present = np.flatnonzero(labels.data.any(axis=(0, 1)))
    assert referred == {2 * k + 2 for k in present.tolist()}


def refused(series, folder: Path, **how: object) -> GliodistillError:
    options = {"labels": labels_on("axial"), "convention": CONVENTION} | how
    with pytest.raises(GliodistillError) as error:
        write_results(series, folder=folder, provenance=PROVENANCE, **options)
    assert not folder.is_dir() or not list(folder.iterdir())
    assert "\n" not in str(error.value)
    return error.value


def test_what_cannot_be_written_is_one_error_and_no_file(series, tmp_path: Path) -> None:
    labels = labels_on("axial")
    folder = tmp_path / "out"
    moved = labels.affine.copy()
    moved[0, 3] += 3
    error = refused(series, folder, labels=Volume(labels.data, moved))
    assert isinstance(error, ImageError) and "not on the grid of the series" in str(error)
    assert "3 mm" in str(error)
    error = refused(series, folder, labels=Volume(labels.data[:-1], labels.affine))
    assert "47×40×16 voxels, not 48×40×16" in str(error)
    strange = labels.with_data(np.where(labels.data == 3, 9, labels.data))
    assert isinstance(refused(series, folder, labels=strange), LabelError)
    from gliodistill.dicom.codes import REGION_SEGMENTS

    error = refused(series, folder, form="LABELMAP", segments=REGION_SEGMENTS)
    assert isinstance(error, LabelError) and "segments overlap" in str(error)
    assert isinstance(refused(series, folder, name="../x"), OutputError)
    assert isinstance(refused(series, folder, form="FRACTIONAL"), OutputError)
    (tmp_path / "file").write_text("")
    assert isinstance(refused(series, tmp_path / "file"), OutputError)


def test_a_series_on_no_regular_grid_has_no_results(tmp_path: Path) -> None:
    labels = labels_on("axial")
    folder = write_series(tmp_path / "in", picture(labels))
    (folder / "007.dcm").unlink()
    with Scan(folder) as scan:
        (series,) = scan.series
        assert "slices are missing" in str(refused(series, tmp_path / "out"))


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_images_that_cannot_be_referred_to_have_no_results(keyword: str, tmp_path: Path) -> None:
    labels = tumour(grid("axial", (24, 20, 8), (4, 5, 8)))
    write_series(tmp_path / "in", picture(labels), enhanced=True, **{keyword: ["1.2", "1.3"]})
    with pytest.raises(GliodistillError, match=keyword), Scan(tmp_path / "in") as scan:
        (series,) = scan.series
        write_results(series, labels, CONVENTION, tmp_path / "out", PROVENANCE)
    assert not (tmp_path / "out").exists()


def test_losses_of_compression_are_passed_on(tmp_path: Path) -> None:
    labels = tumour(grid("axial", (24, 20, 8), (4, 5, 8)))
    lossy = {"Compression": "01", "CompressionRatio": "8.5", "CompressionMethod": "ISO_15444_1"}
    said = {f"LossyImage{name}": value for name, value in lossy.items()}
    series = made_series(tmp_path / "in", picture(labels), **said)
    files = write_results(series, labels, CONVENTION, tmp_path / "out", PROVENANCE)
    seg = pydicom.dcmread(files["seg"])
    assert {name: str(seg[name].value) for name in said} == said
    assert errors_in(files["seg"]) == []


def test_results_are_drawn_on_the_enhanced_t1_else_on_flair() -> None:
    assert preferred(dict.fromkeys(("FLAIR", "T1", "T1CE"))) == "T1CE"
    assert preferred(dict.fromkeys(("T2", "FLAIR"))) == "FLAIR"
    with pytest.raises(StudyError, match="no series"):
        preferred({})


@pytest.mark.real
@pytest.mark.parametrize("name", ["FLAIR", "T1"])
def test_a_real_series(real_data: Path, name: str, tmp_path: Path) -> None:
    """PatientSex is "0000" there, and the planes are tilted in two directions."""
    with Scan(real_data / "dicom" / "BRAINIX" / name) as scan:
        (series,) = scan.series
        volume = series.volume()
        labels = tumour(volume)
        files = write_results(series, labels, CONVENTION, tmp_path, PROVENANCE, rtstruct=True)
    assert {kind: errors_in(file) for kind, file in files.items()} == {kind: [] for kind in files}
    images = dcmqi_reads(files["seg"], tmp_path / "read")
    for number, region_name in enumerate(("WT", "TC", "ET"), start=1):
        assert same_places(images[number].places(), places(region(labels, region_name)))


def test_the_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    labels = labels_on("axial")
    write_series(tmp_path / "export", picture(labels), number=5)
    page = (request.config.rootpath / "docs" / "dicom_output.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(code, {"labels": labels})
    assert len(list((tmp_path / "out").iterdir())) == 3
