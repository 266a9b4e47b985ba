"""Who the patient is stays in the files, unless the user asks."""

import json
import os
import subprocess
import sys

import pytest

from gliodistill.dicom.identity import Mask
from gliodistill.dicom.scan import Scan

NAMES = ("Doe^John^Q", "MRN123456", "19550317")


def identify(k, data):
    data.PatientName, data.PatientID, data.PatientBirthDate = NAMES
    data.SeriesDescription = "T2 tse tra DOE MRN123456"
    data.ProtocolName = "t2_tse John_19550317"


@pytest.fixture
def named(write):
    return write(change=identify)


def tells(text: str) -> list[str]:
    return [part for part in ("doe", "john", "mrn123456", "19550317") if part in text.casefold()]


def test_series_carry_no_identity(named):
    with Scan(named) as scan:
        (series,) = scan.series
        told = json.dumps([series.description, *map(str, series.attributes.values())])
        assert not tells(told)
        assert series.description == "T2 tse tra * *"
        assert not tells(f"{scan.patients[0].key} {scan.studies[0].key}")


def test_identity_is_kept_where_it_is_asked_for(named):
    with Scan(named, keep_identity=True) as scan:
        assert len(tells(scan.patients[0].identity)) == 4


def test_the_program_shows_none(program, named):
    for words in (("inspect", named), ("inspect", named, "--json")):
        said = program(*words)
        assert said.code == 0, said.err
        assert not tells(said.out + said.err)
    assert "MRN123456" in program("inspect", named, "--keep-identity").out


def test_errors_name_no_patient(program, named):
    def broken(name):
        (named / name).write_bytes((named / "IM4_0_003").read_bytes()[:600])

    broken("DOE_JOHN_MRN123456.dcm")
    said = program("inspect", named)
    assert said.code == 1 and "damaged" in said.err
    assert not tells(said.err)


def test_words_of_sequences_are_not_masked():
    mask = Mask([("T1CE", "flair brain", "")])
    assert mask.hide("T1CE FLAIR of Brain") == "T1CE FLAIR of Brain"


def test_parts_of_words_stay():
    assert Mask([("", "max li", "")]).hide("maximal Max LI") == "maximal * LI"


def test_without_pydicom_the_user_is_told_what_to_install(tmp_path, named):
    """And everything else starts: nothing imports it before a DICOM file is opened."""
    (tmp_path / "hide").mkdir()
    for name in ("pydicom", "highdicom"):
        (tmp_path / "hide" / f"{name}.py").write_text(
            f"raise ModuleNotFoundError('no', name='{name}')"
        )
    path = os.pathsep.join([str(tmp_path / "hide"), *filter(None, sys.path)])
    code = "import sys\nfrom gliodistill.cli.main import run\nsys.exit(run(sys.argv[1:]))"
    for words, expected in ((("inspect", str(named)), 1), (("--version",), 0)):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == expected, done.stderr
        if expected:
            assert "pip install 'gliodistill[clinical]'" in done.stderr
            assert len(done.stderr.splitlines()) == 1
