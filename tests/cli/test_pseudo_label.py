"""gliodistill pseudo-label as a user runs it."""

import json

import pytest
import yaml

import tiny_cohort


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    return tiny_cohort.write_cohort(
        tmp_path_factory.mktemp("pool") / "unlabelled", 2, labelled=False
    )


def test_labels_and_says_so(program, tmp_path, unlabelled, model):
    words = (
        "pseudo-label",
        unlabelled,
        "-m",
        model,
        "-o",
        tmp_path / "out",
        "--tta",
        "x",
        "--threads",
        1,
    )
    said = program(*words)
    assert said.code == 0 and said.err == ""
    assert "case_0" in said.out and "2 members" in said.out and "not a medical device" in said.out
    again = program(*words, "--resume", "--json")
    assert json.loads(again.out)["skipped"] == ["case_0", "case_1"]
    found = json.loads(program("inspect", tmp_path / "out", "--json").out)
    assert (found["layout"], found["convention"], found["problems"]) == (
        "manifest",
        "brats2021",
        [],
    )


def test_excludes(program, tmp_path, unlabelled, model):
    tiny_cohort.write_study(tmp_path / "labelled", "case_1", 5)
    said = program(
        "pseudo-label",
        unlabelled,
        "-m",
        model,
        "-o",
        tmp_path / "out",
        "--exclude",
        tmp_path / "labelled",
        "--json",
    )
    assert said.code == 0
    assert list(json.loads(said.out)["left_out"]) == ["case_1"]


def test_a_bad_study_fails_the_call_and_not_the_others(program, bench, model):
    bench.file().write_bytes(bench.file().read_bytes()[:200])
    said = program("pseudo-label", bench.data, "-m", model, "-o", bench.out)
    assert said.code == 1
    assert len(said.lines) == 1 and "case_0" in said.err
    assert (bench.out / "case_1" / "labels.nii.gz").is_file() and not (
        bench.out / "case_0"
    ).exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--tta", "lr"), "no such test-time augmentation"),
        (("--agreement", "0.5"), "agreement needs two members"),
        (("--labels", "latin"), "unknown label convention"),
        (("--exclude", "nowhere"), "no such file or folder"),
        (("-m", "nowhere"), "no such model"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(program, tmp_path, unlabelled, model, words, told):
    said = program("pseudo-label", unlabelled, "-m", model, "-o", tmp_path / "out", *words)
    assert said.code == 1
    assert len(said.lines) == 1 and told in said.err
    assert not (tmp_path / "out").exists()


def test_train_learns_from_what_it_wrote(program, tmp_path, unlabelled, cohort, model):
    """Teachers and baseline first, pseudo-labels, then the student into the same folder."""
    runs = {
        "baseline": {"network": tiny_cohort.STUDENT},
        "student": {
            "network": tiny_cohort.STUDENT,
            "method": {"name": "omni"},
            "pseudo": {"share": 0.5},
        },
    }
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(tiny_cohort.values(runs)))
    # The pool of this test is the first two of the three labelled studies: made without --exclude,
    # it must be refused.
    assert program("pseudo-label", unlabelled, "-m", model, "-o", tmp_path / "leaky").code == 0
    pool = tiny_cohort.write_study(tmp_path / "pool", "new", 31, labelled=False).parent
    assert (
        program(
            "pseudo-label", pool, "-m", model, "-o", tmp_path / "pseudo", "--exclude", cohort
        ).code
        == 0
    )
    words = ("train", recipe, "--data", cohort, "-o", tmp_path / "run")
    assert program(*words, "--only", "baseline").code == 0
    missing = program(*words, "--resume")
    assert missing.code == 1 and "--pseudo OUT" in missing.err and len(missing.lines) == 1
    leaky = program(*words, "--resume", "--pseudo", tmp_path / "leaky")
    assert leaky.code == 1 and len(leaky.lines) == 1 and "--exclude" in leaky.err
    done = program(*words, "--resume", "--pseudo", tmp_path / "pseudo", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["runs"]["student"]["pseudo"]["studies"] == 1
