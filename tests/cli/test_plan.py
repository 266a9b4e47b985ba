"""``gliodistill plan``: what a person reads, what a script reads, what is refused."""

import json

import pytest
import yaml

QUICK = ("--shape", "32,32,32", "--threads", "1", "--seconds", "0")


def test_a_person_reads_the_table_the_rule_and_the_runs(program, tmp_path):
    out = tmp_path / "plan"
    said = program("plan", "--teacher", "fast", "--budget", "params<=4%", *QUICK, "-o", out)
    assert said.code == 0 and said.err == ""
    for part in (
        "GFLOP/s",
        "proposed",
        "widest trunk",
        "channels at a time",
        "of the teacher's",
        "planned_baseline",
        str(out),
    ):
        assert part in said.out
    assert {file.name for file in out.iterdir()} == {
        "student.yaml",
        "recipe.yaml",
        "plan.json",
        "plan.html",
    }
    assert (
        program("plan", "--teacher", "fast", "--budget", "params<=4%", *QUICK, "-o", out).code == 1
    )  # it exists


def test_a_script_reads_the_same(program):
    said = program("plan", "--teacher", "fast", "--budget", "params<=4%", *QUICK, "--json")
    assert said.code == 0 and said.err == ""
    facts = json.loads(said.out)
    assert facts["proposed"]["parameters"] <= 0.04 * facts["teacher"]["params"]
    assert facts["measured"] | {"versions": 0} == {
        "runtime": "openvino", "precision": facts["measured"]["precision"], "threads": 1, "shape": [32, 32, 32], "versions": 0,
    }  # fmt: skip
    assert yaml.safe_load(yaml.safe_dump(facts["runs"])) == facts["runs"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--budget", "latncy<=3s"), "did you mean latency?"),
        (("--budget", "params<=1%", "--shape", "16,16"), "three sides in voxels"),
        (("--budget", "params<=10"), "no student meets the budget"),
    ],
)
def test_an_error_is_one_line(program, words, part):
    said = program("plan", "--teacher", "fast", *words)
    assert said.code == 1 and len(said.lines) == 1 and part in said.err
