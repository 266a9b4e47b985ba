"""gliodistill pseudo-label as a user runs it."""

import json

import pytest

import tiny_cohort


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    return tiny_cohort.write_cohort(tmp_path_factory.mktemp("pool") / "unlabelled", 2, labelled=False)


def test_labels_and_says_so(program, tmp_path, unlabelled, model):
    words = ("pseudo-label", unlabelled, "-m", model, "-o", tmp_path / "out", "--flips", "x", "--threads", 1)
    said = program(*words)
    assert said.code == 0 and said.err == ""
    assert "case_0" in said.out and "2 members" in said.out and "not a medical device" in said.out
    again = program(*words, "--resume", "--json")
    assert json.loads(again.out)["skipped"] == ["case_0", "case_1"]
    found = json.loads(program("inspect", tmp_path / "out", "--json").out)
    assert (found["layout"], found["convention"], found["problems"]) == ("manifest", "brats2021", [])


def test_excludes(program, tmp_path, unlabelled, model):
    tiny_cohort.write_study(tmp_path / "labelled", "case_1", 5)
    said = program("pseudo-label", unlabelled, "-m", model, "-o", tmp_path / "out", "--exclude", tmp_path / "labelled", "--json")
    assert said.code == 0
    assert list(json.loads(said.out)["left_out"]) == ["case_1"]


def test_a_bad_study_fails_the_call_and_not_the_others(program, bench, model):
    bench.file().write_bytes(bench.file().read_bytes()[:200])
    said = program("pseudo-label", bench.data, "-m", model, "-o", bench.out)
    assert said.code == 1
    assert len(said.lines) == 1 and "case_0" in said.err
    assert (bench.out / "case_1" / "labels.nii.gz").is_file() and not (bench.out / "case_0").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--flips", "lr"), "no such flips"),
        (("--agreement", "0.5"), "one member cannot agree"),
        (("--labels", "latin"), "unknown label convention"),
        (("--exclude", "nowhere"), "no such file or folder"),
        (("-m", "nowhere"), "not a model package"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(program, tmp_path, unlabelled, model, words, told):
    said = program("pseudo-label", unlabelled, "-m", model, "-o", tmp_path / "out", *words)
    assert said.code == 1
    assert len(said.lines) == 1 and told in said.err
    assert not (tmp_path / "out").exists()
