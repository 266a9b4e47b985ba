"""Folders of references and predictions as people have them: flat or a folder a case, with and
without ``_seg``, packed or not, with or without images beside them.
"""

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np

from field.edits import edit_voxels, predictions
from field.table import Table

table = Table()

CASES = ("case_0", "case_1", "case_2")
MSD = {"background": 0, "edema": 1, "non-enhancing tumor": 2, "enhancing tumour": 3}


def maps(b, pattern: str, name: str = "truth", codes: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Path:
    """The three label maps alone, each written as ``pattern`` says, perhaps with other codes."""
    root = b.root / name
    for case in CASES:
        file = root / pattern.format(id=case)
        file.parent.mkdir(parents=True, exist_ok=True)
        image = nib.load(b.file("seg", case))
        data = np.array(codes, dtype=np.uint8)[np.asarray(image.dataobj).astype(np.uint8)]
        plain = file.with_name(file.name.lower())
        nib.save(nib.Nifti1Image(data, image.affine), plain)
        plain.rename(file)
    return root


def shifted(b, pattern: str = "{id}.nii.gz") -> Path:
    """Predictions one voxel off, so that the right pair has a score of its own."""
    root = maps(b, pattern, "shifted")
    for n, case in enumerate(CASES):
        edit_voxels(root / pattern.format(id=case), lambda data, n=n: np.roll(data, n, axis=0))
    return root


def dice(said) -> dict[str, float]:
    """Study → Dice of the whole tumour."""
    return {id: one["WT"]["dice"] for id, one in json.loads(said.out)["studies"].items()}


def paired(said) -> bool:
    """Whether each of the :func:`shifted` predictions met its own reference."""
    found = dice(said)
    return list(found) == list(CASES) and 1 == found["case_0"] > found["case_1"] > found["case_2"]


def accepted(story: str, truth: str, prediction: str) -> None:
    """A row that pairs references and predictions of two patterns."""

    @table.row(story, code=0)
    def _(b):
        said = yield ("evaluate", shifted(b, prediction), maps(b, truth), "--json")
        assert paired(said)


accepted("flat references, as nnU-Net has labelsTs", "{id}.nii.gz", "{id}.nii.gz")
accepted("a folder a case that holds the label map alone", "{id}/{id}_seg.nii.gz", "{id}.nii.gz")
accepted("a folder a case on both sides", "{id}/{id}-seg.nii.gz", "{id}/{id}.nii.gz")
accepted("flat references that end in _seg", "{id}_seg.nii.gz", "{id}.nii.gz")
accepted("flat predictions that end in _seg", "{id}.nii.gz", "{id}_seg.nii.gz")
accepted("-seg against _seg", "{id}-seg.nii.gz", "{id}_seg.nii.gz")
accepted("references that are not packed", "{id}.nii", "{id}.nii.gz")
accepted("references in capitals", "{id}.NII.GZ", "{id}.nii.gz")
accepted("a folder a case whose map is called seg", "{id}/seg.nii.gz", "{id}.nii.gz")
accepted("cases sorted into HGG and LGG", "HGG/{id}/{id}_seg.nii.gz", "{id}.nii.gz")
accepted("references called _label", "{id}_label.nii.gz", "{id}.nii.gz")


@table.row("predictions in capitals against whole studies", code=0)
def _(b):
    folder = shifted(b)
    for case in CASES:
        (folder / f"{case}.nii.gz").rename(folder / f"{case}.NII.GZ")
    said = yield ("evaluate", folder, b.data, "--json")
    assert paired(said)


@table.row("references in a manifest without images", code=0)
def _(b):
    maps(b, "{id}.nii.gz")
    rows = ["id,truth", *(f"{case},truth/{case}.nii.gz" for case in CASES)]
    (b.root / "references.csv").write_text("\n".join(rows) + "\n")
    said = yield ("evaluate", shifted(b), b.root / "references.csv", "--json")
    assert paired(said)


@table.row("a report over label maps alone", code=0)
def _(b):
    yield ("evaluate", shifted(b), maps(b, "{id}.nii.gz"), "-o", b.out)
    assert "case_2" in (b.out / "report.html").read_text()
    assert (b.out / "scores.csv").read_text().count("case_") == 9


@table.row("images of some studies, label maps of all", code=0)
def _(b):
    for kind in ("t1", "t1ce", "t2", "flair"):
        b.file(kind, "case_1").unlink()
    said = yield ("evaluate", shifted(b), b.data, "--json")
    assert paired(said)


@table.row("file names in Latin-1", code=0)
def _(b):
    folders = [maps(b, "{id}.nii.gz", name) for name in ("truth", "predictions")]
    for folder in folders:
        for case in CASES:
            name = os.fsdecode(b"M\xfcller_" + case.encode() + b".nii.gz")
            (folder / f"{case}.nii.gz").rename(folder / name)
    yield ("evaluate", folders[1], folders[0], "-o", b.out)
    assert json.loads((b.out / "scores.json").read_text())["studies"].keys() == {
        f"Müller_{case}" for case in CASES
    }
    assert "Müller_case_1" in (b.out / "scores.csv").read_text()


# nnU-Net's own description


@table.row("dataset.json beside labelsTs says what the codes mean", code=0)
def _(b):
    root = maps(b, "labelsTs/{id}.nii.gz", "Dataset137", (0, 2, 1, 0, 3))
    (root / "dataset.json").write_text(json.dumps({"labels": MSD}))
    folder = maps(b, "{id}.nii.gz", "predictions")
    said = yield (
        *("evaluate", folder, root / "labelsTs", "--prediction-labels", "brats2021"),
        "--json",
    )
    assert set(dice(said).values()) == {1}
    assert json.loads(said.out)["provenance"]["truth_labels"] == "msd (detected)"


@table.row("dataset.json among nnU-Net's predictions says what theirs mean", code=0)
def _(b):
    folder = maps(b, "{id}.nii.gz", "predictions", (0, 2, 1, 0, 3))
    (folder / "dataset.json").write_text(json.dumps({"labels": MSD}))
    (folder / "plans.json").write_text("{}")
    said = yield ("evaluate", folder, b.data, "--json")
    scores = json.loads(said.out)
    assert all(scores["summary"][region]["dice"]["mean"] == 1 for region in ("WT", "TC", "ET"))
    assert scores["provenance"]["prediction_labels"] == "msd (named in dataset.json)"


@table.row(
    "references that are low grades all: what would enhance is open",
    "ambiguous label convention",
    "--labels NAME",
)
def _(b):
    return ("evaluate", shifted(b), maps(b, "{id}.nii.gz", codes=(0, 1, 2, 3, 1)))


# Unpaired


@table.row(
    "a reference without a prediction, and a prediction without a reference",
    "case_1: no prediction",
    "case_9: prediction without a reference",
)
def _(b):
    folder = shifted(b)
    (folder / "case_1.nii.gz").rename(folder / "case_9.nii.gz")
    return ("evaluate", folder, maps(b, "{id}.nii.gz"))


@table.row(
    "a subset: what has no prediction is told",
    "note: 1 studies left out, no prediction: case_1",
    code=0,
)
def _(b):
    folder = shifted(b)
    (folder / "case_1.nii.gz").unlink()
    said = yield ("evaluate", folder, maps(b, "{id}.nii.gz"), "--subset", "--json")
    assert list(dice(said)) == ["case_0", "case_2"]


@table.row("one reference twice, flat and in a folder", "two label maps of one id", "field case_0")
def _(b):
    root = maps(b, "{id}.nii.gz")
    (root / "case_0").mkdir()
    shutil.copyfile(root / "case_0.nii.gz", root / "case_0" / "case_0_seg.nii.gz")
    return ("evaluate", shifted(b), root)


@table.row("one prediction twice, packed and not", "case_0: two predictions")
def _(b):
    folder = shifted(b)
    nib.save(nib.load(folder / "case_0.nii.gz"), folder / "case_0.nii")
    return ("evaluate", folder, maps(b, "{id}.nii.gz"))


@table.row("references without any label map", "no reference to compare with")
def _(b):
    for case in CASES:
        b.file("seg", case).unlink()
    return ("evaluate", shifted_alone(b), b.data)


def shifted_alone(b) -> Path:
    """A folder with a file that could be a prediction."""
    folder = b.root / "predictions"
    folder.mkdir()
    shutil.copyfile(b.file("t1"), folder / "case_0.nii.gz")
    return folder


# What cannot be read


@table.row("a prediction with fractional codes", "case_0: prediction", "interpolated")
def _(b):
    folder = predictions(b)
    edit_voxels(folder / "case_0.nii.gz", lambda data: data.astype(np.float32) * 0.7)
    return ("evaluate", folder, b.data)


@table.row("a prediction that is a probability map", "case_0: prediction", "probabilities, not")
def _(b):
    folder = predictions(b)
    edit_voxels(folder / "case_0.nii.gz", lambda data: (data > 0).astype(np.float32) / 3)
    return ("evaluate", folder, b.data)


@table.row("a prediction with negative codes", "case_0: prediction", "negative codes")
def _(b):
    folder = predictions(b)
    edit_voxels(folder / "case_0.nii.gz", lambda data: data.astype(np.int16) - 1)
    return ("evaluate", folder, b.data)


@table.row("a prediction of 0 and 255", "case_0: prediction", "unknown label codes", "got [255]")
def _(b):
    folder = predictions(b)
    edit_voxels(folder / "case_0.nii.gz", lambda data: np.where(data > 0, 255, 0).astype(np.uint8))
    return ("evaluate", folder, b.data)


@table.row("references as .hdr/.img pairs", "no study found", "an .hdr/.img pair", "convert it")
def _(b):
    root = b.root / "truth"
    root.mkdir()
    for case in CASES:
        for ending in ("hdr", "img"):
            (root / f"{case}.{ending}").write_bytes(b"\0" * 352)
    return ("evaluate", predictions(b), root)


@table.row("predictions as .hdr/.img pairs", "no predictions", "an .hdr/.img pair", "convert it")
def _(b):
    root = b.root / "predictions"
    root.mkdir()
    for ending in ("hdr", "img"):
        (root / f"case_0.{ending}").write_bytes(b"\0" * 352)
    return ("evaluate", root, b.data)


# Comparing what was scored


def scores(b, program) -> Path:
    """Scores of the shifted predictions."""
    assert program("evaluate", shifted(b), b.data, "-o", b.out).code == 0
    return b.out


@table.row(
    "a table of strata with an id that nobody knows",
    "note: ",
    "rows ignored, of studies that are not compared: case_7",
    'studies without a row, in group "not given": case_1',
    code=0,
)
def _(b, program):
    first = scores(b, program)
    second = b.root / "second"
    shutil.copytree(first, second)
    (b.root / "strata.csv").write_text("id,site\ncase_0,A\ncase_7,A\ncase_2,B\n")
    strata = ("--strata", b.root / "strata.csv", "--json")
    said = yield ("compare", f"a={first}", f"b={second}", *strata)
    groups = {one["name"]: one["studies"] for one in json.loads(said.out)["strata"]}
    assert groups["A"] == groups["B"] == groups["not given"] == 1


@table.row("a table of strata with a column named twice", "column 'site'", "each column once")
def _(b, program):
    first = scores(b, program)
    second = b.root / "second"
    shutil.copytree(first, second)
    (b.root / "strata.csv").write_text("id,site,site\ncase_0,A,B\n")
    return ("compare", f"a={first}", f"b={second}", "--strata", b.root / "strata.csv")


test_evaluate_layouts = table.test()
