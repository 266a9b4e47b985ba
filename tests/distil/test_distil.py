"""Who validates a distilled student, and what is refused before anything is trained (the command
itself: ``tests/docs/test_teacher_pages.py``)."""

import json
import shutil

import pytest

from gliodistill.cli.main import run
from gliodistill.distil.split import validation_of, with_one_fold
from gliodistill.errors import GliodistillError
from gliodistill.studies.cohort import open_cohort
from gliodistill.teachers import parse_teacher
from nnunet_folders import write_nnunet

NAME = "Dataset901_Regions"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_nnunet(tmp_path_factory.mktemp("nnunet"), NAME)


def teacher(root, **options):
    return parse_teacher({"nnunet": str(root / "nnUNet_results" / NAME), **options}, "teacher")


def test_no_patient_that_taught_the_teacher_validates(root, tmp_path):
    data = root / "nnUNet_raw" / NAME
    cohort = open_cohort(data)
    named = with_one_fold(teacher(root))
    assert named.options == {"folds": [0]}
    assert validation_of(named, cohort, data, None) == ("tiny_2", "tiny_3")
    with pytest.raises(GliodistillError, match="unseen by all folds"):
        validation_of(teacher(root, folds=[0, 1]), cohort, data, None)
    with pytest.raises(GliodistillError, match="fold is not in the splits"):
        validation_of(teacher(root, folds=[3]), cohort, data, None)
    (tmp_path / "splits.json").write_text(json.dumps([{"train": ["a"], "val": ["b"]}]))
    with pytest.raises(GliodistillError, match="not among the studies"):
        validation_of(named, cohort, data, tmp_path / "splits.json")
    away = shutil.copytree(root / "nnUNet_results", tmp_path / "elsewhere" / "results")
    moved = parse_teacher({"nnunet": str(away / NAME), "folds": [0]}, "teacher")
    with pytest.raises(GliodistillError, match="split is not found"):
        validation_of(moved, cohort, tmp_path, None)


def test_a_share_of_a_teacher_without_a_network_is_refused(root, tmp_path, capsys):
    (tmp_path / "maps").mkdir()
    words = ["distil", "--teacher", f"files:{tmp_path / 'maps'}", "-o", str(tmp_path / "out")]
    words += ["--data", str(root / "nnUNet_raw" / NAME), "--budget", "params<=10%"]
    assert run([*words, "--set", "sampling.patch=[16,16,16]"]) == 1
    said = capsys.readouterr().err
    assert "network is not known" in said and "is not known: where validation patients" in said
    assert not (tmp_path / "out").exists()
