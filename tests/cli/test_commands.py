"""The commands as a user runs them, one after the other, and as a script reads them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gliodistill.images.nifti import read_labels


def data(said) -> dict:
    """The one JSON document on standard output; nothing else is said."""
    assert said.code == 0, said.err
    assert said.err == ""
    assert len(said.out.splitlines()) == 1
    return json.loads(said.out)


def test_difficulty_reaches_the_phantoms(program, tmp_path):
    """The same brain and tumour; the noise is another. The study's file says which difficulty it
    was made with.
    """
    studies = {}
    for difficulty in (0, 2):
        out = tmp_path / str(difficulty)
        made = data(
            program(
                "phantom",
                out,
                "-n",
                1,
                "--spacing",
                6,
                "--difficulty",
                difficulty,
                "--jobs",
                1,
                "--json",
            )
        )
        studies[difficulty] = json.loads(
            (out / made["studies"][0] / f"{made['studies'][0]}_phantom.json").read_text()
        )["parameters"]
    assert {difficulty: made["difficulty"] for difficulty, made in studies.items()} == {
        0: 0.0,
        2: 2.0,
    }
    assert studies[0]["tumour"] == studies[2]["tumour"]
    assert studies[0]["artefacts"] != studies[2]["artefacts"]
    said = program(
        "phantom", tmp_path / "0", "-n", 1, "--spacing", 6, "--difficulty", 2, "--jobs", 1
    )
    assert said.code == 1 and "difficulty" in said.err  # a cohort is of one difficulty


def test_the_whole_road(program, tmp_path, recipe):
    studies, run, model, out = (tmp_path / name for name in ("studies", "run", "model", "out"))

    made = data(
        program("phantom", studies, "-n", 2, "--seed", 5, "--spacing", 6, "--jobs", 1, "--json")
    )
    assert made == {"folder": str(studies), "studies": [f"Phantom_005_0000{i}" for i in range(2)]}

    found = data(program("inspect", studies, "--deep", "--json"))
    assert (found["layout"], found["convention"], found["problems"]) == ("brats", "brats2021", [])
    assert [study["id"] for study in found["studies"]] == made["studies"]
    assert found["studies"][0]["sequences"]["T1CE"]["spelling"] == "t1ce"

    prepared = data(
        program("prepare", studies, "-o", tmp_path / "cache", "--recipe", recipe, "--json")
    )
    assert prepared["studies"] == made["studies"]
    assert prepared["bytes"] == sum(
        f.stat().st_size
        for f in (tmp_path / "cache").rglob("*")
        if f.is_file() and f.name != "cache.json"
    )

    trained = data(program("train", recipe, "--data", tmp_path / "cache", "-o", run, "--json"))
    assert set(trained["runs"]) == {"teacher", "distilled"}
    assert sorted(trained["split"]["training"] + trained["split"]["validation"]) == made["studies"]
    assert trained["runs"]["distilled"]["steps"] == 6

    exported = data(program("export", run, "-o", model, "--name", "mine", "--json"))
    assert exported["model"] == "mine"
    assert exported["bytes"] == sum(file.stat().st_size for file in model.iterdir())

    segmented = data(program("segment", studies, "-m", model, "-o", out, "--threads", 1, "--json"))
    assert list(segmented["done"]) == made["studies"]
    assert (segmented["skipped"], segmented["failed"]) == ([], {})
    again = data(program("segment", studies, "-m", model, "-o", out, "--resume", "--json"))
    assert (again["done"], again["skipped"]) == ({}, made["studies"])
    id = made["studies"][0]
    assert read_labels(out / f"{id}.nii.gz").same_grid(
        read_labels(studies / id / f"{id}_seg.nii.gz")
    )

    scores = data(
        program(
            "evaluate",
            out,
            studies,
            "--rules",
            "brats2023",
            "-o",
            tmp_path / "evaluation",
            "--json",
        )
    )
    assert scores == json.loads((tmp_path / "evaluation" / "scores.json").read_text())
    assert sorted(file.name for file in (tmp_path / "evaluation").iterdir()) == [
        "report.html",
        "scores.csv",
        "scores.json",
    ]
    assert scores["rules"]["name"] == "brats2023"
    assert sorted(scores["studies"]) == made["studies"]


def test_what_a_person_reads(program, tmp_path, cohort, model):
    found = program("inspect", cohort)
    assert found.code == 0 and found.err == ""
    for part in (
        "layout     brats: 3 studies of 3 patients",
        "T1CE       3 named t1ce",
        "convention brats2021",
        "codes [1, 2, 4]",
        "26×24×22",
    ):
        assert part in found.out
    assert "no problems found" in found.out
    done = program(
        "segment", cohort / "case_1", "-m", model, "-o", tmp_path / "out", "--threads", 1
    )
    assert done.code == 0
    assert "case_1" in done.out and "not a medical device" in done.out
    perfect = program("evaluate", cohort_truth(cohort, tmp_path), cohort)
    assert perfect.code == 0
    words = " ".join(perfect.out.split())
    for part in (
        "mean WT TC ET",
        "Dice 1.0000 1.0000 1.0000",
        "HD95 mm 0.00 0.00 0.00",
        "false lesions 0 0 0",
    ):
        assert part in words
    assert "ECE" not in words.partition("means over")[0]  # without probabilities
    assert "means over 3 studies; rules plain" in perfect.out
    assert "\x1b" not in found.out + done.out + perfect.out  # no colours where it is not a terminal


def cohort_truth(cohort: Path, root: Path) -> Path:
    folder = root / "truth"
    folder.mkdir()
    for case in cohort.iterdir():
        (folder / f"{case.name}.nii.gz").write_bytes(
            (case / f"{case.name}_seg.nii.gz").read_bytes()
        )
    return folder


def test_inspect_lists_every_problem_and_fails(program, bench):
    bench.file("t1", "case_1").write_bytes(b"")
    bench.file("t2", "case_1").rename(bench.data / "case_1" / "odd.nii.gz")
    (bench.data / "case_3").mkdir()
    found = program("inspect", bench.data)
    assert found.code == 1
    assert "problem: " in found.out and "case_1_t1.nii.gz" in found.out
    assert "note: case_1: odd.nii.gz: not named after its folder" in found.out
    assert "note: case_3" in found.out
    facts = json.loads(program("inspect", bench.data, "--json").out)
    assert [problem["blocking"] for problem in facts["problems"]].count(True) == 1


def test_notes_alone_do_not_fail(program, bench):
    (bench.data / "notes").mkdir()
    found = program("inspect", bench.data)
    assert found.code == 0 and "note: notes" in found.out


def test_labels_that_cannot_be_told_are_a_problem_until_declared(program, bench):
    (bench.root / "studies.csv").write_text(f"id,t1,truth\nx,{bench.file('t1')},mask.nii.gz\n")
    from gliodistill.images.nifti import write_nifti

    truth = read_labels(bench.file("seg"))
    write_nifti(truth.with_data((truth.data > 0).astype("uint8")), bench.root / "mask.nii.gz")
    bench.file("t1").rename(bench.root / "image.nii.gz")
    (bench.root / "studies.csv").write_text("id,t1,truth\nx,image.nii.gz,mask.nii.gz\n")
    found = program("inspect", bench.root / "studies.csv")
    assert found.code == 1
    assert "convention unknown" in found.out and "declare it with --labels" in found.out
    assert program("inspect", bench.root / "studies.csv", "--labels", "msd").code == 0


@pytest.mark.parametrize("path", ["[brackets]", "ünïcode", "[/bold]"])
def test_names_are_printed_as_they_are(program, bench, path):
    strange = bench.root / path
    strange.parent.mkdir(exist_ok=True, parents=True)
    bench.data.rename(strange)
    found = program("inspect", strange)
    assert found.code == 0
    assert str(strange) in found.out


def test_training_stops_and_resumes(program, tmp_path, cohort, recipe):
    words = ("train", recipe, "--data", cohort, "-o", tmp_path / "run")
    assert program(*words, "--only", "teacher").code == 0
    assert not (tmp_path / "run" / "distilled").exists()
    done = program(*words, "--resume")
    assert done.code == 0
    assert "teacher" in done.out and "distilled" in done.out and "gliodistill export" in done.out


def test_bars_on_a_terminal_and_nowhere_else(terminal, tmp_path, cohort, model):
    assert "segmenting studies" in terminal(
        "segment", cohort, "-m", model, "-o", tmp_path / "out", "--threads", 1
    )
    code = "import sys\nfrom gliodistill.cli.main import run\nsys.exit(run(sys.argv[1:]))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    words = [sys.executable, "-c", code, "prepare", str(cohort), "-o", str(tmp_path / "cache")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120)
    assert done.stderr == "" and "3 studies prepared" in done.stdout


def test_a_reader_that_leaves_early_is_no_error(cohort):
    code = "import sys\nfrom gliodistill.cli.main import run\nsys.exit(run(sys.argv[1:]))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    words = [sys.executable, "-c", code, "inspect", str(cohort)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""


def test_a_bug_is_one_line_with_a_way_to_see_more(program, monkeypatch, cohort):
    import gliodistill.studies.inspection

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(gliodistill.studies.inspection, "inspect", broken)
    said = program("inspect", cohort)
    assert said.code == 1
    assert (
        said.err
        == "error: unforeseen ZeroDivisionError (got two lines); this is a bug; see where with:"
        " gliodistill --traceback …\n"
    )
    with pytest.raises(ZeroDivisionError):
        program("--traceback", "inspect", cohort)


def test_interrupt_is_one_line(program, monkeypatch, cohort):
    import gliodistill.studies.inspection

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gliodistill.studies.inspection, "inspect", interrupted)
    said = program("inspect", cohort)
    assert (said.code, said.err) == (130, "error: interrupted\n")


def test_version_and_bare_call(program):
    assert program("--version").out.startswith("gliodistill 0.")
    bare = program()
    assert bare.code == 0 and "Commands" in bare.out
