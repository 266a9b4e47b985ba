"""Names from data, and what a command may overwrite or remove: a study's id names files, and a
command touches only what it made.
"""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

import tiny_cohort
from field.edits import evaluate, predictions, prepare, segment
from field.table import Table, files_under

SRC = Path(__file__).parents[2] / "src" / "gliodistill"

table = Table()


def study(b, id: str, like: str = "case_0", root: Path | None = None) -> Path:
    """One of the good studies under another name; BraTS naming."""
    folder = (root or b.root / "named") / id
    folder.mkdir(parents=True)
    for kind in ("t1", "t1ce", "t2", "flair", "seg"):
        shutil.copyfile(b.file(kind, like), folder / f"{id}_{kind}.nii.gz")
    return folder


def manifest(b, *ids: object, name: str = "studies.json") -> Path:
    """A manifest with the files of ``case_0`` under each of ``ids``."""
    file = b.root / name
    rows = [
        {"id": id, **{kind: str(b.file(kind)) for kind in ("t1", "t1ce", "t2", "flair", "seg")}}
        for id in ids
    ]
    file.write_text(json.dumps({"studies": rows}))
    return file


def segment_all(b, studies: Path, *more: object) -> tuple[object, ...]:
    words = ("-m", b.copy("model") if not (b.root / "model").exists() else b.root / "model")
    return ("segment", studies, *words, "-o", b.out, "--threads", "1", *more)


def label(b, studies: Path, *more: object) -> tuple[object, ...]:
    model = b.root / "model" if (b.root / "model").exists() else b.copy("model")
    return ("pseudo-label", studies, "-m", model, "-o", b.out, "--threads", "1", *more)


def volumes(folder: Path) -> list[str]:
    with (folder / "volumes.csv").open(newline="") as handle:
        return [row["id"] for row in csv.DictReader(handle)]


# A study given by a path that does not end in its name


@table.row("one study given as `..`: what lies beside the cache stays", code=0)
def _(b):
    keep = b.root / "results" / "years of work.txt"
    (b.data / "case_0" / "w").mkdir()
    keep.parent.mkdir()
    keep.write_text("precious")
    os.chdir(b.data / "case_0" / "w")
    yield ("prepare", "..", "-o", keep.parent / "cache", "--jobs", "1", "--labels", "brats2021")
    assert keep.read_text() == "precious"
    assert json.loads((keep.parent / "cache" / "cache.json").read_text())["studies"] == ["case_0"]


@table.row("one study given as `.` is prepared under its own name", code=0)
def _(b):
    os.chdir(b.data / "case_0")
    yield ("prepare", ".", "-o", b.out, "--jobs", "1", "--labels", "brats2021")
    assert sorted(path.name for path in b.out.iterdir()) == ["cache.json", "case_0"]


@table.row("one study given as `..` is segmented under its own name", code=0)
def _(b):
    words = segment_all(b, Path(".."))
    (b.data / "case_0" / "w").mkdir()
    os.chdir(b.data / "case_0" / "w")
    yield words
    assert volumes(b.out) == ["case_0"]


@table.row("one study given as `.` is pseudo-labelled under its own name", code=0)
def _(b):
    words = label(b, Path())
    os.chdir(b.data / "case_0")
    yield words
    assert (b.out / "case_0" / "labels.nii.gz").is_file()


@table.row("loose files given as `.` take the name of their folder", code=0)
def _(b):
    loose = b.root / "patient 7"
    loose.mkdir()
    for kind in ("t1", "t1ce", "t2", "flair"):
        shutil.copyfile(b.file(kind), loose / f"{kind}.nii.gz")
    words = segment_all(b, Path())
    os.chdir(loose)
    yield words
    assert volumes(b.out) == ["patient 7"]


@table.row("a BIDS subject given as `.` keeps its name and its derivatives", '"sub-01"', code=0)
def _(b):
    anatomy = b.root / "bids" / "sub-01" / "anat"
    truth = b.root / "bids" / "derivatives" / "p" / "sub-01" / "anat"
    for folder in (anatomy, truth):
        folder.mkdir(parents=True)
    for kind, name in (("t1", "T1w"), ("t1ce", "ce-gad_T1w"), ("t2", "T2w"), ("flair", "FLAIR")):
        shutil.copyfile(b.file(kind), anatomy / f"sub-01_{name}.nii.gz")
    shutil.copyfile(b.file("seg"), truth / "sub-01_label-tumor_dseg.nii.gz")
    os.chdir(anatomy.parent)
    said = yield ("inspect", ".", "--labels", "brats2021", "--json")
    (found,) = json.loads(said.out)["studies"]
    assert found["id"] == "sub-01" and found["truth"] is not None


@table.row("links to studies keep their own names", code=0)
def _(b):
    (b.root / "links").mkdir()
    for name, case in (("case_0", "case_0"), ("second", "case_1")):
        (b.root / "links" / name).symlink_to(b.data / case)
    said = yield ("inspect", b.root / "links", "--labels", "brats2021", "--json")
    assert [s["id"] for s in json.loads(said.out)["studies"]] == ["case_0", "second"]


@table.row("synthetic studies given as `..` to --pseudo: what was trained stays", code=0)
def _(b):
    tiny_cohort.write_study(b.root, "other", 9)
    (b.root / "other" / "other_phantom.json").write_text("{}")
    recipe = yaml.safe_load(b.copy("recipe").read_text())
    run = b.copy("training")
    recipe["runs"]["more"] = {
        "network": tiny_cohort.STUDENT,
        "pseudo": {"share": 0.5},
        "training": {"steps": 1},
    }
    (b.root / "tiny.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    (b.root / "other" / "w").mkdir()
    os.chdir(b.root / "other" / "w")
    before = {
        name: digest for name, digest in files_under(run).items() if name.startswith("teacher")
    }
    yield (
        "train",
        b.root / "tiny.yaml",
        "--data",
        b.data,
        "--pseudo",
        "..",
        "-o",
        run,
        "--resume",
        "--labels",
        "brats2021",
    )
    assert before.items() <= files_under(run).items() and len(before) > 3
    assert (run / "cache-pseudo" / "other").is_dir()
    assert (run / "more" / "summary.json").is_file()


# Ids that cannot name a file


def unusable(story: str, id: object, *says: str) -> None:
    commands = {
        "inspect": lambda b, file: ("inspect", file),
        "prepare": lambda b, file: ("prepare", file, "-o", b.out),
        "segment": segment_all,
        "pseudo-label": label,
    }

    def enter(command: str) -> None:
        @table.row(
            f"{command}: {story}", "studies.json", *(says or ("field id", "expected letters"))
        )
        def _(b):
            return commands[command](b, manifest(b, id))

    for command in commands:
        enter(command)


unusable("an id that climbs out of the output", "..")
unusable("an id with folders", "../../elsewhere")
unusable("an id with a NUL", "case\0", "field studies.0.id", "without NUL")
unusable("an id with a lone surrogate", "case\ud800", "field studies.0.id", "lone surrogates")
unusable("an id with a byte that is not UTF-8", "Andr\udce9")
unusable("an id with an escape sequence", "case\x1b]0;title\x07")
unusable("an id that turns the direction of writing", "case\u202e0")
unusable("an id longer than a file name", "é" * 101)
unusable("an id that is hidden", ".case")
unusable("an id with a backslash", "a\\b")


@table.row("an id that is empty", "row without an id", "row 1")
def _(b):
    return ("prepare", manifest(b, ""), "-o", b.out)


@table.row("a patient with control characters", "studies.csv", "field patient")
def _(b):
    file = b.root / "studies.csv"
    file.write_text(f"id,patient,t1\na,p\x1b[2J,{b.file('t1')}\n")
    return ("inspect", file)


@table.row("a study's folder with an escape sequence in its name", "field id", r"\x1b")
def _(b):
    study(b, "bad\x1b[31m")
    return segment_all(b, b.root / "named")


@table.row("a study's folder whose name is not UTF-8", "field id", r"\udce9", "rename")
def _(b):
    study(b, os.fsdecode(b"Andr\xe9"))
    return segment_all(b, b.root / "named")


@table.row("loose files in a folder with a control character in its name", "field id", r"\x07")
def _(b):
    (b.root / "loose\x07").mkdir()
    for kind in ("t1", "t1ce", "t2", "flair"):
        shutil.copyfile(b.file(kind), b.root / "loose\x07" / f"{kind}.nii.gz")
    return ("prepare", b.root / "loose\x07", "-o", b.out)


@table.row("an MSD case with a control character", "field id", r"\x9b")
def _(b):
    root = b.root / "msd"
    (root / "imagesTr").mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4, 1)), np.eye(4)), root / "imagesTr" / "a\x9bc.nii.gz")
    (root / "dataset.json").write_text('{"modality": {"0": "FLAIR"}}')
    return ("inspect", root)


@table.row("an nnU-Net case with a control character", "field id", r"\x9b")
def _(b):
    root = b.root / "nnunet"
    (root / "imagesTr").mkdir(parents=True)
    shutil.copyfile(b.file("flair"), root / "imagesTr" / "a\x9bc_0000.nii.gz")
    (root / "dataset.json").write_text('{"channel_names": {"0": "FLAIR"}}')
    return ("inspect", root)


def in_cache(story: str, *says: str, **changes: object) -> None:
    @table.row(f"cache: {story}", *says)
    def _(b, program):
        assert program(*prepare(b)).code == 0
        index = b.out / "cache.json"
        index.write_text(json.dumps(json.loads(index.read_text()) | changes))
        return ("train", b.copy("recipe"), "--data", b.out, "-o", b.root / "run")


in_cache("an id that leads out of it", "cache.json", "field id", "prepare again", studies=["../x"])
in_cache("an absolute id", "cache.json", "field id", studies=["/tmp"])
in_cache("an id that is the cache itself", "cache.json", "field id", studies=["."])
in_cache("an id that is no text", "cache.json", "field studies", studies=[["case_0"]])
in_cache("an id with a NUL", "cache.json", "field studies.0", studies=["case\0"])
in_cache("studies that are no list", "cache.json", "not a preparation cache", studies=None)


@table.row("cache: a patient's name with an escape sequence", "study.json", "field patient")
def _(b, program):
    assert program(*prepare(b)).code == 0
    file = b.out / "case_1" / "study.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"patient": "p\x1b[2J"}))
    return ("train", b.copy("recipe"), "--data", b.out, "-o", b.root / "run")


@table.row("pseudo-labels: an id that leads out of the folder", "manifest.json", "field id")
def _(b, program):
    study(b, "other", "case_2")
    assert program(*label(b, b.root / "named")).code == 0
    file = b.out / "manifest.json"
    file.write_text(file.read_text().replace('"id": "other"', '"id": "../other"'))
    return ("prepare", b.out, "-o", b.root / "cache")


# Names from data on a terminal


@table.row("a file name with an escape sequence is shown as text", r"\x1b[31m", code=0)
def _(b):
    shutil.copyfile(b.file(), b.data / "case_0" / "case_0_\x1b[31mscan.nii.gz")
    said = yield ("inspect", b.data, "--labels", "brats2021")
    assert "\x1b" not in said.out + said.err


@table.row(
    "a damaged file whose name has an escape sequence", r"x\x1b]0;owned\x07.nii.gz", "not gzip"
)
def _(b):
    file = b.root / "x\x1b]0;owned\x07.nii.gz"
    file.write_bytes(b"no image")
    rows = [{"id": "case_0", "t1": file.name}]
    (b.root / "studies.json").write_text(json.dumps(rows))
    return ("prepare", b.root / "studies.json", "-o", b.out)


@table.row("JSON stays JSON, and prints no control character", code=0)
def _(b):
    shutil.copyfile(b.file(), b.data / "case_0" / "case_0_\x1b\x9b\u202escan.nii.gz")
    said = yield ("inspect", b.data, "--labels", "brats2021", "--json")
    (problem,) = json.loads(said.out)["problems"]
    assert problem["file"].endswith("case_0_\x1b\x9b\u202escan.nii.gz")
    assert said.out.strip().isprintable()


# Outputs of one name


def one_name(story: str, *says: str, ids: tuple[str, ...], words=segment_all) -> None:
    @table.row(story, "outputs of one name", "field id", *says)
    def _(b):
        return words(b, manifest(b, *ids))


def to_cache(b, file: Path) -> tuple[object, ...]:
    return ("prepare", file, "-o", b.out, "--labels", "brats2021")


one_name(
    "segment: one study's probabilities are another's labels",
    "x_prob.nii.gz",
    "of study x_prob and of study x,",
    ids=("x", "x_prob"),
)
one_name("segment: ids that differ by case", "a.nii.gz", "A.nii.gz", ids=("A", "a"))
one_name("segment: ids that differ by how an accent is written", ids=("Andre\u0301", "Andr\u00e9"))
one_name(
    "prepare: ids that differ by case", "study b and of study B", ids=("B", "b"), words=to_cache
)
one_name("prepare: an id that is our table", "cache.json", ids=("cache.json",), words=to_cache)
one_name("prepare: an id that is nearly our table", ids=("Cache.JSON",), words=to_cache)
one_name("pseudo-label: ids that differ by case", ids=("B", "b"), words=label)
one_name("pseudo-label: an id that is our manifest", ids=("manifest.json",), words=label)
one_name("pseudo-label: an id that is our other table", ids=("pseudo.json",), words=label)


@table.row(
    "segment: labels where an earlier call's probabilities lie", "x_prob.nii.gz", "study x and"
)
def _(b, program):
    assert program(*segment_all(b, manifest(b, "x"), "--probabilities")).code == 0
    return segment_all(b, manifest(b, "x_prob"), "--resume")


@table.row("segment: probabilities where an earlier call's labels lie", "outputs of one name")
def _(b, program):
    assert program(*segment_all(b, manifest(b, "x_prob"))).code == 0
    return segment_all(b, manifest(b, "x"), "--resume")


@table.row("segment: a table of the user's own under our name", "volumes.csv", "another file")
def _(b):
    b.out.mkdir()
    (b.out / "volumes.csv").write_text("patient,ml\nme,3\n")
    return segment(b)


@table.row("segment: studies of one id from two folders", "two studies with the same id", "case_0")
def _(b):
    study(b, "case_0")
    return (*segment_all(b, b.data), b.root / "named")


# volumes.csv


@table.row("two calls, one after the other: the table holds all", code=0)
def _(b, program):
    assert program(*segment_all(b, b.data / "case_1")).code == 0
    yield segment_all(b, b.data / "case_0")
    assert volumes(b.out) == ["case_0", "case_1"]


@table.row("what is no summary of ours does not enter the table", code=0)
def _(b):
    b.out.mkdir()
    for name, text in {
        "notes.json": '{"id": "notes"}',
        "deep.json": "[" * 100_000,
        "list.json": "[1]",
        "bytes.json": "\udcff",
        "case_9.json": '{"id": "case_8", "volumes_ml": {"WT": 1, "TC": 1, "ET": 1}}',
    }.items():
        (b.out / name).write_bytes(text.encode(errors="surrogateescape"))
    yield segment(b)
    assert volumes(b.out) == ["case_0"]


# Removing


@table.row("a cache in which the user keeps a file", "something else", "case_1")
def _(b, program):
    assert program(*prepare(b)).code == 0
    (b.out / "case_1" / "notes.txt").write_text("mine")
    return (*prepare(b), "--spacing", "2")


@table.row("a study of the cache that is a link", "something else", "case_1")
def _(b, program):
    assert program(*prepare(b)).code == 0
    (b.out / "case_1").rename(b.root / "elsewhere")
    (b.out / "case_1").symlink_to(b.root / "elsewhere")
    return (*prepare(b), "--spacing", "2")


@table.row("arrays of the user's own where a cache shall be", "something else", "case_0")
def _(b):
    (b.out / "case_0").mkdir(parents=True)
    np.save(b.out / "case_0" / "image.npy", np.zeros(3))
    return prepare(b)


@table.row("pseudo-labels to be continued in a folder of the user's", "something else")
def _(b):
    b.out.mkdir()
    (b.out / "manifest.json").write_text(manifest(b, "mine").read_text())
    return label(b, b.data, "--resume")


@table.row("a cache of other settings is replaced, study by study", code=0)
def _(b, program):
    assert program(*prepare(b)).code == 0
    before = json.loads((b.out / "case_1" / "study.json").read_text())["shape"]
    yield (*prepare(b), "--spacing", "2")
    assert json.loads((b.out / "case_1" / "study.json").read_text())["shape"] != before
    assert sorted(path.name for path in b.out.iterdir()) == [
        "cache.json",
        "case_0",
        "case_1",
        "case_2",
    ]


# Work in progress of another process


@contextmanager
def writer(folder: Path, name: str) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A half-written file, and the process that writes it."""
    code = (
        "import sys, time; from pathlib import Path; from gliodistill.files import atomic_file\n"
        "with atomic_file(sys.argv[1]) as path:\n"
        "    path.write_text('half'); print(path, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / name)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with child:
        assert child.stdout is not None
        path = Path(child.stdout.readline().decode().strip())
        assert path.read_text() == "half"
        try:
            yield path, child
        finally:
            child.kill()


def beside(story: str, words, made=None) -> None:
    @table.row(f"{story}: what a living process writes stays, what a dead one left goes", code=0)
    def _(b, program):
        if made is not None:
            assert program(*made(b)).code == 0
        b.out.mkdir(exist_ok=True)
        with writer(b.out, "a") as (dead, _):
            pass
        assert dead.exists()
        with writer(b.out, "b") as (alive, child):
            yield words(b)
            assert alive.exists() and not dead.exists() and child.poll() is None


beside("prepare", prepare)
beside("segment --resume", lambda b: segment(b, "--resume"))
beside("pseudo-label --resume", lambda b: label(b, b.data / "case_0", "--resume"))
beside("phantom", lambda b: ("phantom", b.out, "-n", "1", "--spacing", "6", "--jobs", "1"))


# Tables for spreadsheets


@table.row("an id that a spreadsheet would compute", code=0)
def _(b):
    study(b, "=1+1")
    study(b, "'@x", "case_1")
    yield segment_all(b, b.root / "named")
    assert volumes(b.out) == ["''@x", "'=1+1"]
    assert json.loads((b.out / "=1+1.json").read_text())["id"] == "=1+1"


@table.row("scores of such ids, and groups of studies read back from them", code=0)
def _(b, program):
    studies = b.root / "named"
    for id, like in (("=a", "case_0"), ("-b", "case_1"), ("c", "case_2")):
        study(b, id, like)
    (b.root / "predictions").mkdir()
    for folder in studies.iterdir():
        name = folder.name
        shutil.copyfile(folder / f"{name}_seg.nii.gz", b.root / "predictions" / f"{name}.nii.gz")
    out = b.root / "evaluation"
    assert program("evaluate", b.root / "predictions", studies, "-o", out).code == 0
    with (out / "scores.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["study"] for row in rows} == {"'=a", "'-b", "c"}
    assert {float(row["dice"]) for row in rows} == {1.0}
    with (b.root / "strata.csv").open("w") as handle:
        handle.write("id,scanner\n" + "".join(f"{id},{id}\n" for id in ("'=a", "-b", "c")))
    said = yield (
        "compare",
        f"one={out}",
        f"two={out}",
        "--strata",
        b.root / "strata.csv",
        "--json",
    )
    groups = json.dumps(json.loads(said.out))
    assert '"=a"' in groups and "not given" not in groups


@table.row("a manifest that was saved from such a table", code=0)
def _(b):
    file = b.root / "studies.csv"
    file.write_text(f"id,t1\n'=a,{b.file('t1')}\n'b,{b.file('t1')}\n")
    said = yield ("inspect", file, "--json")
    assert [s["id"] for s in json.loads(said.out)["studies"]] == ["'b", "=a"]


@table.row("segment: a folder in which an output has the name of an input", "imagesTr", "overwrite")
def _(b):
    images = b.root / "msd" / "imagesTr"
    images.mkdir(parents=True)
    kinds = ("flair", "t1", "t1ce", "t2")
    data = np.stack([nib.load(b.file(kind)).get_fdata() for kind in kinds], -1)
    nib.save(nib.Nifti1Image(data, nib.load(b.file()).affine), images / "case.nii.gz")
    modality = {str(channel): kind for channel, kind in enumerate(kinds)}
    (b.root / "msd" / "dataset.json").write_text(json.dumps({"modality": modality}))
    return ("segment", b.root / "msd", "-m", b.copy("model"), "-o", images, "--resume")


@table.row("segment: predictions where the reference of a study lies", "overwrite", "case_0_seg")
def _(b):
    file = manifest(b, "case_0_seg")
    out = b.data / "case_0"
    return ("segment", file, "-m", b.copy("model"), "-o", out, "--resume")


@table.row("segment: a summary where the manifest of the studies lies", "another file", "rename")
def _(b):
    file = manifest(b, "studies")
    return ("segment", file, "-m", b.copy("model"), "-o", b.root, "--resume")


@table.row("evaluate: scores where the summary of a study called scores lies", "overwrite")
def _(b, program):
    study(b, "scores")
    assert program(*segment_all(b, b.root / "named")).code == 0
    return ("evaluate", b.out, b.root / "named", "-o", b.out)


@table.row("compare: the page where the scores lie", "scores.json", "overwrite")
def _(b, program):
    assert program(*evaluate(b)).code == 0
    file = b.root / "evaluation" / "scores.json"
    return ("compare", f"one={file}", f"two={file}", "-o", file)


@table.row("pseudo-labels of images below a folder whose name is not UTF-8", code=0)
def _(b, program):
    latin = b.root / os.fsdecode(b"Andr\xe9")
    study(b, "other", "case_1", latin)
    yield label(b, latin)
    assert program("prepare", b.out, "-o", b.root / "cache").code == 0
    assert (b.root / "cache" / "other" / "truth.npy").is_file()


@table.row("segmenting images below a folder whose name is not UTF-8", code=0)
def _(b):
    latin = b.root / os.fsdecode(b"Andr\xe9")
    study(b, "other", "case_1", latin)
    yield segment_all(b, latin)
    assert volumes(b.out) == ["other"]


# Outputs that are taken or cannot be written: told before the work


def taken(story: str, *says: str, words) -> None:
    @table.row(f"taken: {story}", *says)
    def _(b):
        (b.out / "mine").mkdir(parents=True)
        (b.out / "mine" / "notes.txt").write_text("mine")
        return words(b)


def unfinished(b) -> Path:
    folder = b.copy("training")
    (folder / "distilled" / "summary.json").unlink()  # would be noticed only after the output
    return folder


taken(
    "export",
    "output exists",
    "new or empty",
    words=lambda b: ("export", unfinished(b), "-o", b.out),
)
taken(
    "export of a bundle",
    "output exists",
    words=lambda b: ("export", unfinished(b), "-o", b.out, "--format", "monai"),
)
taken(
    "plan",
    "output exists",
    words=lambda b: ("plan", "--teacher", b.root / "none", "--budget", "size<=9MB", "-o", b.out),
)
taken(
    "train",
    "output exists",
    words=lambda b: ("train", b.copy("recipe"), "--data", b.root / "none", "-o", b.out),
)
taken("pseudo-label", "output exists", words=lambda b: label(b, b.data))
taken("prepare", "something else", words=prepare)
taken("compare", "a folder", words=lambda b: ("compare", "none", "nor", "-o", b.out))


def here(story: str, words) -> None:
    @table.row(f"taken: {story} into the folder one works in", "works in", "a new folder below")
    def _(b):
        b.out.mkdir()
        made = words(b)
        os.chdir(b.out)
        return made


here("export", lambda b: ("export", unfinished(b), "-o", "."))
here("plan", lambda b: ("plan", "--teacher", "unet", "--budget", "size<=9MB", "-o", "."))


@table.row("taken: an evaluation whose table's name is a folder", "scores.csv", "a folder")
def _(b):
    (b.root / "evaluation" / "scores.csv").mkdir(parents=True)
    return evaluate(b)


def below_a_file(story: str, words) -> None:
    @table.row(f"cannot be written: {story}", "out/below", "cannot write")
    def _(b):
        b.out.write_text("a file")
        return words(b, b.out / "below")


below_a_file("phantom", lambda b, out: ("phantom", out, "-n", "1", "--spacing", "6"))
below_a_file("prepare", lambda b, out: ("prepare", b.data, "-o", out))
below_a_file("segment", lambda b, out: ("segment", b.data, "-m", b.copy("model"), "-o", out))
below_a_file(
    "pseudo-label", lambda b, out: ("pseudo-label", b.data, "-m", b.copy("model"), "-o", out)
)
below_a_file("export", lambda b, out: ("export", unfinished(b), "-o", out))
below_a_file("train", lambda b, out: ("train", b.copy("recipe"), "--data", b.data, "-o", out))
below_a_file("evaluate", lambda b, out: ("evaluate", predictions(b), b.data, "-o", out))
below_a_file("compare", lambda b, out: ("compare", "none", "nor", "-o", out / "page.html"))
below_a_file(
    "plan", lambda b, out: ("plan", "--teacher", "none", "--budget", "size<=9MB", "-o", out)
)


test_ids_and_outputs = table.test()


def test_the_table_holds_the_others_where_a_study_fails(bench, program):
    bench.file("t1", "case_1").write_bytes(b"no image")
    assert program(*segment_all(bench, bench.data)).code == 1
    assert volumes(bench.out) == ["case_0", "case_2"]


# What needs processes of their own


ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    "OMP_NUM_THREADS": "1",
}


def start(*words: object, shell: str = "", **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gliodistill", *map(str, words)]
    if shell:
        command = ["/bin/sh", "-c", f'exec "$@" {shell}', "sh", *command]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, env=ENVIRONMENT, **options)


def ended(child: subprocess.Popen[bytes], code: int = 0) -> str:
    _, said = child.communicate(timeout=120)
    text = (said or b"").decode()
    assert child.returncode == code, text
    assert "Traceback" not in text and "this is a bug" not in text, text
    return text


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_two_segment_side_by_side(bench, resume):
    """Of the same cohort or of two halves: every study once, all of them in the table."""
    one = segment_all(bench, bench.data, *resume)
    two = one if resume else segment_all(bench, study(bench, "case_9"))
    children = [start(*one), start(*two)]
    for child in children:
        ended(child)
    everyone = ["case_0", "case_1", "case_2"] + ([] if resume else ["case_9"])
    assert volumes(bench.out) == everyone
    assert len(list(bench.out.iterdir())) == 2 * len(everyone) + 1


def test_two_prepare_side_by_side(bench):
    """The second waits and finds the work done."""
    for seed in range(3, 12):
        tiny_cohort.write_study(bench.data, f"case_{seed}", seed, shape=(48, 46, 44))
    words = ("prepare", bench.data, "-o", bench.out, "--jobs", "1", "--labels", "brats2021")
    children = [start(*words), start(*words)]
    for child in children:
        ended(child)
    index = json.loads((bench.out / "cache.json").read_text())
    assert len(index["studies"]) == 12 == len(list(bench.out.glob("case_*/study.json")))
    assert not list(bench.out.glob(".*"))


def test_resume_beside_a_running_training_is_refused(bench):
    recipe = yaml.safe_load(bench.copy("recipe").read_text())
    recipe["training"]["steps"] = 100_000
    (bench.root / "tiny.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    words = ("train", bench.root / "tiny.yaml", "--data", bench.data, "-o", bench.out)
    words = (*words, "--labels", "brats2021", "--resume")
    running = start(*words)
    try:
        deadline = time.monotonic() + 60
        log = bench.out / "teacher" / "log.jsonl"
        while not log.exists() and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        said = ended(start(*words), 1)
        assert len(said.splitlines()) == 1 and "another process is working on it" in said
        assert f"process {running.pid}" in said and "out/teacher" in said
        assert running.poll() is None
    finally:
        running.send_signal(signal.SIGKILL)
        running.communicate()
    assert not list(bench.out.glob("*.partial.*"))


@pytest.mark.parametrize(
    ("shell", "code"),
    [(">&-", 0), ("2>&-", 0), (">&- 2>&- <&-", 0), (">/dev/full", 1), ("2>/dev/full", 0)],
)
def test_nobody_listens(bench, shell, code):
    """Closed or full streams: results are complete, and no file takes the place of a stream."""
    said = ended(start(*segment_all(bench, bench.data), shell=shell, stdout=None), code)
    assert ("standard output: cannot write" in said) == (shell == ">/dev/full")
    assert volumes(bench.out) == ["case_0", "case_1", "case_2"]
    for name in ("case_0", "case_1", "case_2"):
        assert nib.load(bench.out / f"{name}.nii.gz").shape == tiny_cohort.SHAPE
        assert json.loads((bench.out / f"{name}.json").read_text())["id"] == name


def test_the_reader_leaves(bench):
    """A closed pipe, e.g. of ``head``: results are complete; exit code 1, without words."""
    read, write = os.pipe()
    os.close(read)
    child = start(*segment_all(bench, bench.data), stdout=write)
    os.close(write)
    assert ended(child, 1) == ""
    assert volumes(bench.out) == ["case_0", "case_1", "case_2"]


def test_folders_are_removed_in_one_place():
    """Whatever removes a folder goes through ``files.py``, which looks at what it is."""
    removing = {
        (file.relative_to(SRC).as_posix(), line.strip())
        for file in SRC.rglob("*.py")
        for line in file.read_text().splitlines()
        if re.search(r"rmtree|removedirs|os\.remove\b|shutil\.move", line)
    }
    assert removing == {("files.py", "shutil.rmtree(path, ignore_errors=True)")}
