"""Folders of scans: aligned once, whatever happens to one of them."""

import json

import numpy as np
import pytest

from gliodistill.alignment import read_transform
from gliodistill.alignment.batch import align_studies
from gliodistill.alignment.sources import find_sources
from gliodistill.errors import LabelError, OutputError, StudyError
from gliodistill.images import write_nifti
from gliodistill.images.volume import Volume
from gliodistill.phantom.raw import stripped
from gliodistill.studies.sequence import MRSequence
from gliodistill.studies.study import Study

T1, T1CE, T2, FLAIR = MRSequence


def write(folder, images, labels=None):
    folder.mkdir(parents=True)
    for sequence, image in images.items():
        small = image.with_data(image.data.astype(np.int16))
        write_nifti(small, folder / f"{folder.name}_{sequence.lower()}.nii.gz")
    if labels is not None:
        write_nifti(labels, folder / f"{folder.name}_seg.nii.gz")


def test_a_cohort_is_aligned_once_and_a_bad_patient_stops_no_other(tmp_path, head, extract):
    images = {T1CE: head.images[T1CE]}
    write(tmp_path / "scans" / "good", images, head.truth[T1CE])
    write(tmp_path / "scans" / "bad", images)
    damaged = tmp_path / "scans" / "bad" / "bad_t1ce.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    out = tmp_path / "out"
    settings = {"extract": extract, "spacing": 3.0, "labels": True, "space": "mni"}

    with find_sources([tmp_path / "scans"]) as (sources, unusable, _):
        first = align_studies(sources, out, **settings)
        again = align_studies(sources, out, **settings)
        other = align_studies(sources, out, **settings | {"spacing": 4.0})
    assert list(first.done) == ["good"] and not unusable
    assert list(first.failed) == ["bad"] and "bad_t1ce.nii.gz" in str(first.failed["bad"])
    assert again.skipped == ["good"] and not again.done
    assert isinstance(other.failed["good"], OutputError)
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == ["good"]

    study = Study.open(out)
    assert study.sequences == (T1CE,) and study.truth is not None
    voxels = (study.truth.data > 0).sum() * study.truth.voxel_ml
    expected = (head.truth[T1CE].data > 0).sum() * head.truth[T1CE].voxel_ml
    assert voxels == pytest.approx(expected, rel=0.1)
    told = json.loads((out / "good" / "study.json").read_text())
    assert told["labels_from"] == "T1CE" and told["files"]["T1CE"] == "good_t1ce.nii.gz"

    # Synthetic heads are made from the atlas: upright in their own coordinates, and in its space.
    assert study.images[T1CE].orientation == "RAS"
    matrix = read_transform(out / "good" / "t1ce.tfm")
    rotation = (head.motion[T1CE] @ matrix)[:3, :3]
    assert np.degrees(np.arccos((np.trace(rotation) - 1) / 2)) < 6
    assert told["sequences"]["T1CE"]["atlas"]["turned_deg"] >= 0


def test_labels_on_no_scan_are_refused(tmp_path):
    study = stripped(5, 2, 6.0)
    stray = Volume(np.ones((4, 4, 4), np.uint8), np.eye(4))
    write(tmp_path / "scans" / "a", study.images, stray)
    from alignment.test_study import _bare

    with find_sources([tmp_path / "scans"]) as (sources, _, _):
        report = align_studies(sources, tmp_path / "out", extract=_bare, labels=True)
        assert isinstance(report.failed["a"], LabelError)
        # They do not matter where nobody asks for them.
        assert align_studies(sources, tmp_path / "out", extract=_bare).done["a"]["untouched"]


def test_a_series_is_chosen_for_dicom_alone(tmp_path):
    write(tmp_path / "a", {T1: stripped(5, 2, 6.0).images[T1]})
    with (
        pytest.raises(StudyError, match="one DICOM study"),
        find_sources([tmp_path / "a"], series=["T1CE=7"]),
    ):
        pass
