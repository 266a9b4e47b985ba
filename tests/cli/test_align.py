"""The command align: prepared studies pass, scans of a DICOM export are read and aligned."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gliodistill.dicom.synthetic import write_study
from gliodistill.images import read_nifti
from gliodistill.phantom.raw import make_raw, stripped, write_niftis
from gliodistill.studies.sequence import MRSequence


def test_a_prepared_study_passes_and_is_told(program, tmp_path):
    study = stripped(5, 2, 4.0)
    folder = tmp_path / "in" / study.id
    folder.mkdir(parents=True)
    write_niftis(study, folder)
    said = program("align", tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert said.code == 0
    told = json.loads(said.out)["done"][study.id]
    assert told["untouched"]
    written = read_nifti(tmp_path / "out" / study.id / f"{study.id}_t2.nii.gz")
    np.testing.assert_array_equal(written.data, study.images["T2"].data.astype(np.int16))
    again = program("align", tmp_path / "in", "-o", tmp_path / "out")
    assert again.code == 0 and "1 already finished" in again.out


@pytest.mark.slow
def test_a_dicom_export_is_aligned(program, tmp_path):
    export = tmp_path / "export"
    export.mkdir()
    head = make_raw(5, 2, 4.0)
    some = {s: head.images[s] for s in (MRSequence.T1CE, MRSequence.FLAIR)}
    write_study(replace(head, images=some), export, others=False)
    said = program(
        "align", export, "-o", tmp_path / "out", "--spacing", "4", "--space", "mni", "--json"
    )
    assert said.code == 0, said.err
    ((id, told),) = json.loads(said.out)["done"].items()
    assert told["source"] == "DICOM" and len(told["series"]) == 2 and not told["untouched"]
    assert 900 < told["brain_ml"] < 2200
    image = read_nifti(next((tmp_path / "out" / id).glob("*_flair.nii.gz")))
    assert image.orientation == "RAS" and image.spacing == (4.0, 4.0, 4.0)


def test_errors_are_one_line(program, tmp_path):
    study = stripped(5, 2, 6.0)
    folder = tmp_path / "in" / study.id
    folder.mkdir(parents=True)
    write_niftis(study, folder)
    said = program("align", tmp_path / "in", "-o", tmp_path / "out", "--space", "talairach")
    assert said.code == 1 and "no such space" in said.err
    assert not (tmp_path / "out").exists()
