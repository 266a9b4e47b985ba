"""``gliodistill compare`` as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pytest

from made_up_scores import IDS, scores


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two evaluation folders and a loose scores file."""
    base = np.linspace(0.5, 0.8, 24)
    for name, made in (("student", scores(base + 0.05, 4.0)), ("twin", scores(base, 5.0))):
        (tmp_path / name).mkdir()
        made.write(tmp_path / name / "scores.json")
    scores(base + 0.01).write(tmp_path / "other.json")
    return tmp_path


def test_a_folder_a_file_and_a_chosen_name(program, folder):
    said = program(
        "compare",
        folder / "student",
        f"plain={folder / 'twin' / 'scores.json'}",
        folder / "other.json",
        "-o",
        folder / "c.html",
    )
    assert (said.code, said.err) == (0, "")
    for part in (
        "student - plain",
        "student is better than plain in all 6 comparisons",
        "mean rank over 24 patients: 1. student (1.00)",
    ):
        assert part in said.out, part
    page = (folder / "c.html").read_text()
    assert "student, plain and other compared" in page
    assert "not a medical device" in said.out


def test_for_a_script(program, folder):
    said = program("compare", folder / "student", folder / "twin", "--metric", "dice", "--json")
    assert (said.code, said.err) == (0, "")
    facts = json.loads(said.out)
    assert [
        (c["first"], c["second"], c["region"], c["metric"], c["outcome"])
        for c in facts["contrasts"]
    ] == [("student", "twin", region, "dice", "first") for region in ("WT", "TC", "ET")]


def test_against_one_model_and_strata_from_a_table(program, folder):
    (folder / "sites.csv").write_text(
        "id,site\n" + "".join(f"{id},{'N' if id < 's08' else 'S'}\n" for id in IDS)
    )
    words = (
        "compare",
        folder / "student",
        folder / "twin",
        folder / "other.json",
        "--against",
        "twin",
        "--strata",
        folder / "sites.csv",
        "--json",
    )
    facts = json.loads(program(*words).out)
    assert {(c["first"], c["second"]) for c in facts["contrasts"]} == {
        ("student", "twin"),
        ("other", "twin"),
    }
    assert {(s["title"], s["name"], s["studies"]) for s in facts["strata"]} >= {
        ("site", "N", 8),
        ("site", "S", 16),
    }


def test_all_problems_in_one_line(program, folder):
    scores(0.5, ids=IDS[:-1]).write(folder / "fewer.json")
    (folder / "broken.json").write_text("{")
    said = program(
        "compare",
        folder / "student",
        folder / "fewer.json",
        folder / "broken.json",
        folder / "twin",
        f"twin={folder / 'other.json'}",
    )
    assert said.code == 1 and len(said.lines) == 1
    for part in (
        "broken.json: not a scores file",
        "two models are called twin",
        "fewer lacks 1 of 24 studies: s23",
    ):
        assert part in said.err, part


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("student",), "fewer than two models: student"),
        (("student", "missing"), "missing: cannot read scores"),
        (("student", "twin", "--metric", "truth_ml"), "truth_ml has no better direction"),
        (("student", "twin", "--against", "nobody"), "no model nobody to compare with"),
        (("student", "twin", "--strata", "none.csv"), "none.csv: cannot read strata"),
        (("student", "twin", "-o", "no/such/folder.html"), "cannot write"),
        (("student", "twin", "-o", "student"), "got a folder"),
    ],
)
def test_what_cannot_be_compared(program, folder, monkeypatch, words, part):
    monkeypatch.chdir(folder)
    said = program("compare", *words)
    assert said.code == 1 and len(said.lines) == 1
    assert part in said.err
    assert not list(folder.glob("*.html"))
