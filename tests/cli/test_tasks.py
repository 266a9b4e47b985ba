"""``gliodistill tasks``."""

import json

from gliodistill.tasks import shipped_tasks


def test_tasks_are_listed_shown_and_printed(program, tmp_path):
    listed = program("tasks")
    assert all(name in listed.out for name in shipped_tasks()) and "WT > TC > ET, RC" in listed.out
    facts = json.loads(program("tasks", "--json").out)["tasks"]
    assert list(facts["glioma-post"]["regions"]) == ["WT", "TC", "ET", "RC"]
    shown = program("tasks", "glioma-post").out
    assert "resection cavity" in shown and "brats2024: 1 NCR, 2 ED, 3 ET, 4 RC" in shown
    mine = tmp_path / "mine.yaml"
    mine.write_text(program("tasks", "paediatric", "--yaml").out)
    assert json.loads(program("tasks", mine, "--json").out) == facts["paediatric"]


def test_a_task_that_is_none(program):
    said = program("tasks", "gliomas")
    assert said.code == 1 and "did you mean glioma" in said.err
