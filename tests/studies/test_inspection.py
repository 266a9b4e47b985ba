"""Inspection shows what was understood and why, and finds every problem at once."""

import json

import pytest

from gliodistill.studies import Study, inspect


def test_a_sound_folder(brats, make):
    inspection = inspect(brats(codes=make.tumour(1, 2, 4)))
    assert (inspection.layout, inspection.convention, inspection.problems) == (
        "brats",
        "brats2021",
        (),
    )
    assert any("codes [1, 2, 4]" in line for line in inspection.evidence)
    content = json.loads(json.dumps(inspection.as_dict()))
    study = content["studies"][0]
    assert (study["id"], study["patient"], study["codes"]) == ("case_1", "case_1", None)
    assert study["sequences"]["T1CE"] == {
        "file": "case_1/case_1_t1ce.nii.gz",
        "channel": None,
        "spelling": "t1ce",
        "shape": [12, 13, 14],
        "spacing": [1.0, 1.0, 1.0],
        "orientation": "LPS",
    }
    assert study["truth"]["file"] == "case_1/case_1_seg.nii.gz"


def test_deep_reads_the_codes_and_what_headers_hide(brats, make):
    root = brats(["case"], make.tumour(1, 2, 4))
    path = root / "case" / "case_t2.nii.gz"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # the checksum
    path.write_bytes(content)
    assert inspect(root).problems == ()
    deep = inspect(root, deep=True)
    assert deep.studies[0].codes == (1, 2, 4)
    assert ["corrupt gzip" in str(problem) for problem in deep.problems] == [True]


def test_every_problem_at_once(brats, make):
    root = brats(["a", "b"], make.tumour(1, 2, 0), ("T1w", "t1gd", "T2w", "fla"))
    make.image(root / "a" / "a_t1.nii.gz")
    make.image(root / "a" / "stray_t1.nii.gz")
    make.image(root / "a" / "a_dwi.nii.gz")
    make.image(root / "b" / "b_T2w.nii.gz", shape=(5, 5, 5))
    (root / "c").mkdir()
    make.labels(root / "d" / "d_seg.nii.gz", make.tumour(1, 2, 4))
    inspection = inspect(root)
    assert inspection.convention is None
    found = {
        (p.study, p.blocking, p.problem.split(":")[0].split(" (")[0]) for p in inspection.problems
    }
    assert (None, False, "10 label maps") not in found
    for study, blocking, start in (
        ("a", True, "two files for T1"),
        ("a", False, "not named after its folder"),
        ("a", False, "dwi, none of the four sequences"),
        ("b", True, "T2 lies on another grid than T1"),
        ("c", False, "no NIfTI file"),
        ("d", True, "no sequence found"),
    ):
        assert any(
            p.study == study and p.blocking is blocking and p.problem.startswith(start)
            for p in inspection.problems
        ), start
    assert any("ambiguous label convention" in p.problem for p in inspection.problems)


def test_truth_of_unknown_convention_does_not_stop_a_study(brats, make):
    study = Study.open(brats(["case"], make.tumour(1, 2, 0), ("T1w", "t1gd", "T2w", "fla")))
    assert study.truth is not None
    assert study.convention is None


@pytest.mark.real
def test_native_grids_differ_and_are_told(real_data):
    inspection = inspect(real_data / "native")
    assert {name: image.spelling for name, image in inspection.studies[0].sequences.items()} == {
        "T1": "T1W",
        "T2": "T2W",
        "FLAIR": "FLAIR",
    }
    assert [problem.blocking for problem in inspection.problems] == [True, True]
