"""From the scanner to the result: DICOM and NIfTI with skull through the command itself, held against
the phantom's truth and against a reader that shares no code with gliodistill.
"""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

import gliodistill as gd
from gliodistill.cli.main import run
from gliodistill.dicom.scan import Scan
from gliodistill.dicom.synthetic import uid, write_study
from gliodistill.images.nifti import read_labels, read_nifti, write_nifti
from gliodistill.inference.batch import SegmentationJob
from gliodistill.inference.cases.finding import find_cases, one_case
from gliodistill.inference.outputs.base import Result
from gliodistill.inference.outputs.dicom import DicomWriter
from gliodistill.phantom.raw import RawStudy, make_raw, stripped
from gliodistill.reports.pages.study import PageWriter
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import load_brain

NUMBERS = {"FLAIR": 201, "T1CE": 401}
"""Series of the head."""

BROKEN = 8
"""Files of the damaged study."""


@dataclass(frozen=True)
class Segmented:
    """One call on a folder of three studies: a head with T1CE and FLAIR, a brain without T2, and a
    damaged one.

    Attributes:
        scans: the folder.
        out: of the results.
        head, brain: the phantoms.
        ids: of their studies.
        code, said, errors: how the call ended, and what it printed.
    """

    scans: Path
    out: Path
    head: RawStudy
    brain: RawStudy
    ids: tuple[str, str]
    code: int
    said: str
    errors: str


def key_of(folder: Path) -> str:
    with Scan(folder) as scan:
        return scan.studies[0].key


def only(study: RawStudy, *names: str) -> RawStudy:
    """Some sequences of a study."""
    return replace(
        study, images={MRSequence[name]: study.images[MRSequence[name]] for name in names}
    )


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segmented]:
    root = tmp_path_factory.mktemp("scans")
    head = only(make_raw(5, 1, spacing=3.0), "T1CE", "FLAIR")
    brain = only(stripped(5, 3, spacing=4.0), "T1", "T1CE", "FLAIR")
    scans = root / "scans"
    for study, others in ((head, True), (brain, False)):
        (scans / study.id).mkdir(parents=True)
        write_study(study, scans / study.id, others=others)
    bad = scans / "bad"
    bad.mkdir()
    for file in sorted((scans / brain.id).iterdir())[:BROKEN]:
        data = pydicom.dcmread(file)
        data.StudyInstanceUID, data.PatientID = uid("bad"), "bad"
        data.PatientName, data.SOPInstanceUID = "bad", uid("bad", data.SOPInstanceUID)
        data.save_as(bad / file.name)
    broken = bad / "IM0007"
    broken.write_bytes(broken.read_bytes()[:600])
    with pytest.MonkeyPatch.context() as patch:
        import io
        import sys

        out, err = io.StringIO(), io.StringIO()
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        words = ["segment", scans, "-o", root / "out", "--seg-on", "all", "--dicom-rtstruct"]
        code = run([*map(str, words), "--threads", "1"])
    yield Segmented(
        scans,
        root / "out",
        head,
        brain,
        (key_of(scans / head.id), key_of(scans / brain.id)),
        code,
        out.getvalue(),
        err.getvalue(),
    )


def account(segmented: Segmented, which: int) -> dict:
    return json.loads((segmented.out / segmented.ids[which] / "study.json").read_text())


def test_every_study_has_its_folder_and_a_damaged_one_stops_no_other(segmented: Segmented) -> None:
    assert segmented.code == 1
    (line,) = [line for line in segmented.errors.splitlines() if line.startswith("error")]
    # The name of the folder is that of the patient.
    assert "files are damaged" in line and "*/IM0007" in line
    top = {path.name for path in segmented.out.iterdir()}
    ids = segmented.ids
    assert top == {
        *ids,
        *(f"{id}.{end}" for id in ids for end in ("nii.gz", "json")),
        "volumes.csv",
    }
    names = {path.name for path in (segmented.out / ids[1]).iterdir()}
    sequences = ("T1", "T1CE", "FLAIR")
    assert names == {
        "study.json",
        "report.html",
        *(f"labels_on_{s}.nii.gz" for s in sequences),
        *(f"{s}_{kind}.dcm" for s in sequences for kind in ("seg", "report", "rtstruct")),
    }
    assert account(segmented, 1)["files"] == sorted(names - {"study.json"})


sitk = pytest.importorskip("SimpleITK")
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def by_itk(folder: Path, number: int) -> Any:
    """A series as SimpleITK (GDCM) reads it."""
    reader = sitk.ImageSeriesReader()
    found = next(
        id
        for id in reader.GetGDCMSeriesIDs(str(folder))
        if pydicom.dcmread(reader.GetGDCMSeriesFileNames(str(folder), id)[0]).SeriesNumber == number
    )
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), found))
    return reader.Execute()


def middle(labels: Any) -> NDArray[np.float64]:
    """The middle of all labels, in mm (LPS+)."""
    index = np.argwhere(sitk.GetArrayFromImage(labels) > 0)[:, ::-1].mean(axis=0)
    return np.array(labels.TransformContinuousIndexToPhysicalPoint(index))


@pytest.mark.parametrize("sequence", [MRSequence.FLAIR, MRSequence.T1CE])
def test_labels_lie_on_the_tumour_on_the_grid_of_each_series(
    segmented: Segmented, sequence: MRSequence, tmp_path: Path
) -> None:
    file = segmented.out / segmented.ids[0] / f"labels_on_{sequence}.nii.gz"
    labels, scan = (
        sitk.ReadImage(file),
        by_itk(segmented.scans / segmented.head.id, NUMBERS[sequence]),
    )
    assert labels.GetSize() == scan.GetSize()
    corner = [side - 1 for side in scan.GetSize()]
    for index in ([0, 0, 0], corner):  # the same voxels at the same place
        one, two = (image.TransformIndexToPhysicalPoint(index) for image in (labels, scan))
        np.testing.assert_allclose(one, two, atol=1e-2)
    write_nifti(segmented.head.truth[sequence], tmp_path / "truth.nii.gz")
    truth = sitk.ReadImage(tmp_path / "truth.nii.gz")
    assert np.linalg.norm(middle(labels) - middle(truth)) < 5
    assert np.sign(middle(labels)[0]) == np.sign(middle(truth)[0])  # left is left
    found, wanted = read_labels(file).data > 0, segmented.head.truth[sequence].data > 0
    overlap = read_labels(file).canonical().data > 0
    reference = segmented.head.truth[sequence].canonical().data > 0
    dice = 2 * (overlap & reference).sum() / (found.sum() + wanted.sum())
    assert dice > 0.75


def test_the_seg_belongs_to_the_images_of_its_series(segmented: Segmented) -> None:
    files = [pydicom.dcmread(file) for file in (segmented.scans / segmented.head.id).iterdir()]
    for name, number in NUMBERS.items():
        series = [data for data in files if data.SeriesNumber == number]
        seg = pydicom.dcmread(segmented.out / segmented.ids[0] / f"{name}_seg.dcm")
        assert seg.FrameOfReferenceUID == series[0].FrameOfReferenceUID
        assert seg.StudyInstanceUID == series[0].StudyInstanceUID
        referred = {
            source.ReferencedSOPInstanceUID
            for frame in seg.PerFrameFunctionalGroupsSequence
            for source in frame.DerivationImageSequence[0].SourceImageSequence
        }
        assert referred and referred <= {data.SOPInstanceUID for data in series}
        assert {one.SegmentLabel.split(",")[0] for one in seg.SegmentSequence} <= {"WT", "TC", "ET"}


def test_every_decision_is_told_with_its_reason(segmented: Segmented) -> None:
    head, brain = account(segmented, 0), account(segmented, 1)
    assert "T1CE: 401 rather than 9: it was acquired, the other reformatted" in segmented.said
    assert f"preprocessed: {segmented.ids[0]}: DICOM; aligned to" in segmented.said
    assert head["preprocessing"]["form"] == brain["preprocessing"]["form"] == "DICOM"
    assert head["preprocessing"]["brain_ml"] > 500
    assert set(head["preprocessing"]["steps"]) == set(NUMBERS)
    (other,) = [one for one in head["choice"]["series"] if one["key"] == "8"]
    assert other["evidence"] == ["ImageType says DIFFUSION"] and not other["used"]
    assert brain["sequences"]["absent"] == ["T2"] and head["sequences"]["absent"] == ["T1", "T2"]
    assert brain["preprocessing"]["done"].startswith("none: images are already co-registered")
    flags = {flag["code"] for flag in head["quality"]["flags"]}
    assert "thick_slices" in flags
    page = (segmented.out / segmented.ids[0] / "report.html").read_text()
    for part in ("aligned to", "it was acquired, the other reformatted", "thick slices", "<svg"):
        assert part in page
    report = pydicom.dcmread(segmented.out / segmented.ids[0] / "T1CE_report.dcm")
    words = " ".join(str(one.value) for one in report.iterall() if one.keyword == "TextValue")
    assert "thick slices" in words and "aligned to" in words


def test_volumes_are_those_of_the_label_map_and_of_the_report(segmented: Segmented) -> None:
    id = segmented.ids[0]
    summary = json.loads((segmented.out / f"{id}.json").read_text())
    labels = read_labels(segmented.out / f"{id}.nii.gz")
    reference = summary["preprocessing"]["reference"]
    on_series = read_labels(segmented.out / id / f"labels_on_{reference}.nii.gz")
    assert labels.same_grid(on_series) and np.array_equal(labels.data, on_series.data)
    whole = np.count_nonzero(labels.data) * labels.voxel_ml
    assert summary["volumes_ml"]["WT"] == pytest.approx(whole, abs=1e-3)
    report = str(pydicom.dcmread(segmented.out / id / f"{reference}_report.dcm"))
    assert f"{whole * 1000:.0f}"[:4] in report


def test_nothing_tells_who_the_patient_is(segmented: Segmented) -> None:
    texts = [segmented.said, *segmented.errors.splitlines()]
    for path in segmented.out.rglob("*"):
        assert "Phantom" not in path.name
        if path.suffix in (".json", ".csv", ".html"):
            texts.append(path.read_text())
    assert not [text for text in texts if "Phantom" in text.replace(str(segmented.scans), "")]
    seg = pydicom.dcmread(segmented.out / segmented.ids[0] / "T1CE_seg.dcm")
    assert seg.PatientID == segmented.head.id  # else no archive files it under its patient


@pytest.fixture(scope="module")
def predictor() -> gd.Predictor:
    return gd.load_model(threads=1)


def test_a_zip_gives_the_same_and_python_too(
    segmented: Segmented, predictor: gd.Predictor, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for file in (segmented.scans / segmented.brain.id).iterdir():
            archive.write(file, f"deep/{file.name}")
    id = segmented.ids[1]
    with one_case(tmp_path / "export.zip") as case:
        ready = case.ready()
        answer = predictor.segment_ready(ready)
        result = Result(answer, ready.scan, answer.labels)
        DicomWriter(deidentify=True).write(result, tmp_path)
    assert case.id == answer.id == id
    answer.save(tmp_path / "labels.nii.gz")
    written = (segmented.out / f"{id}.nii.gz").read_bytes()
    assert (tmp_path / "labels.nii.gz").read_bytes() == written
    assert list(answer.on_series) == [MRSequence.T1, MRSequence.T1CE, MRSequence.FLAIR]
    for sequence, labels in answer.on_series.items():
        on_series = read_labels(segmented.out / id / f"labels_on_{sequence}.nii.gz")
        assert labels.same_grid(on_series) and np.array_equal(labels.data, on_series.data)
    assert [str(sequence) for sequence in answer.absent] == ["T2"]
    assert {file.name for file in tmp_path.glob("*.dcm")} == {"T1CE_seg.dcm", "T1CE_report.dcm"}
    assert segmented.brain.id not in str(pydicom.dcmread(tmp_path / "T1CE_seg.dcm"))


def test_resume_keeps_what_was_made_so_and_makes_again_what_was_not(
    segmented: Segmented, predictor: gd.Predictor, tmp_path: Path
) -> None:
    same = DicomWriter("all", rtstruct=True)
    other = DicomWriter("all", rtstruct=True, deidentify=True)
    shutil.copytree(segmented.out, tmp_path / "out")
    (tmp_path / "out" / segmented.ids[0] / "study.json").unlink()
    convention = predictor.package.convention
    with find_cases([segmented.scans]) as found:

        def finished(writer: DicomWriter, out: Path = segmented.out) -> set[str]:
            job = SegmentationJob(predictor, out, convention, False, [writer, PageWriter()])
            return {case.id for case in found.cases if job.summary(case) is not None}

        assert finished(same) == set(segmented.ids)
        assert finished(other) == set()
        assert finished(same, tmp_path / "out") == {segmented.ids[1]}


def test_prepared_nifti_passes_to_the_same_bits(
    cohort: Path, model: Path, tmp_path: Path, program: Callable
) -> None:
    said = program("segment", cohort, "-m", model, "-o", tmp_path / "out", "--threads", 1)
    assert said.code == 0 and "co-registered and skull-stripped: 3" in said.out
    predictor = gd.load_model(model, threads=1)
    for record in open_cohort(cohort).studies:
        # The way that has no scans in it.
        prepared = predictor.prepare(load_brain(record))
        predictor.segment_prepared(prepared).save(tmp_path / "plain.nii.gz")
        written = tmp_path / "out" / f"{record.id}.nii.gz"
        assert written.read_bytes() == (tmp_path / "plain.nii.gz").read_bytes()
        assert not (tmp_path / "out" / record.id).exists()
        summary = json.loads((tmp_path / "out" / f"{record.id}.json").read_text())
        assert summary["preprocessing"]["form"] == "prepared study"


def test_a_sequence_of_which_there_is_no_series_is_refused_before_the_network(
    segmented: Segmented, tmp_path: Path, program: Callable
) -> None:
    folder = segmented.scans / segmented.brain.id
    said = program("segment", folder, "-o", tmp_path / "out", "--seg-on", "T2", "--threads", 1)
    assert said.code == 1 and len(said.lines) == 1
    assert "T2, which is absent" in said.err
    assert not list((tmp_path / "out").glob("*.nii.gz"))
    told = program("segment", folder, "-o", tmp_path / "out", "--seg-on", "PD")
    assert told.code == 1 and "expected T1CE, FLAIR, T2, T1, all" in told.err


@pytest.mark.slow
def test_nifti_as_scanned_is_segmented_on_every_grid(tmp_path: Path, program: Callable) -> None:
    assert program("phantom", tmp_path / "ph", "-n", 1, "--raw", "--spacing", 3).code == 0
    id = "Phantom_000_00000"
    for name in ("t1", "t2"):  # fewer to align
        (tmp_path / "ph" / "scans" / id / f"{id}_{name}.nii.gz").unlink()
    said = program("segment", tmp_path / "ph" / "scans", "-o", tmp_path / "out", "--probabilities")
    assert said.code == 0, said.err
    assert f"preprocessed: {id}: NIfTI as scanned; aligned to" in said.out
    for sequence in (MRSequence.T1CE, MRSequence.FLAIR):
        image = read_nifti(tmp_path / "ph" / "scans" / id / f"{id}_{sequence.lower()}.nii.gz")
        labels = read_labels(tmp_path / "out" / id / f"labels_on_{sequence}.nii.gz")
        assert labels.same_grid(image)
    whole = nibabel.load(tmp_path / "out" / f"{id}_prob.nii.gz").get_fdata()[..., 0]
    labels = read_labels(tmp_path / "out" / f"{id}.nii.gz").data > 0
    assert ((whole > 0.5) & labels).sum() > 0.8 * labels.sum()
